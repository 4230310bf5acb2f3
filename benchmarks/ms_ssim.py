"""How fast `metrics ms-ssim` is against the plain transcription, per pair.

python -m benchmarks.ms_ssim [--res 1024] [--pairs 16] [--plain-pairs 4] [--rounds 3] [--jobs 2]
"""

import argparse
import time
from typing import Any

import numpy as np

from benchmarks.plain_ms_ssim import ms_ssim as plain_ms_ssim
from benchmarks.random_images import random_image
from benchmarks.record import Spread, write_results
from metrics.msssim.measure import pair_scores
from metrics.sources import as_image_set


def main() -> None:
    """Interleave both programs and write benchmarks/results/ms_ssim.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--res", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--plain-pairs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = np.stack([random_image(arguments.res, rng) for _ in range(2 * arguments.plain_pairs)])
    source = as_image_set(images)
    numbers = np.arange(2 * arguments.pairs).reshape(-1, 2) % len(images)
    readings: dict[str, list[float]] = {"plain": [], "ours, 1 thread": [], f"ours, {arguments.jobs} threads": []}
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        plain = [plain_ms_ssim(a, b) for a, b in zip(images[::2], images[1::2], strict=True)]
        readings["plain"].append((time.perf_counter() - started) / len(plain))
        for name, jobs in zip(list(readings)[1:], (1, arguments.jobs), strict=True):
            started = time.perf_counter()
            ours = pair_scores(source, numbers, jobs=jobs)
            readings[name].append((time.perf_counter() - started) / len(ours))
    gap = float(np.abs(ours[: len(plain)] - np.array(plain)).max())
    base = Spread.of(readings["plain"]).median
    print(f"ms-ssim, seconds per pair at {arguments.res}²; largest difference of a pair {gap:.1e}")
    results: dict[str, Any] = {"config": vars(arguments), "readings": readings, "largest_difference": gap}
    for name, seconds in readings.items():
        spread = Spread.of(seconds)
        results.setdefault("ratios", {})[name] = base / spread.median
        print(f"  {name:20s} {spread.text(3)} s  {base / spread.median:6.1f}x")
    print(f"written to {write_results('ms_ssim', results)}")


if __name__ == "__main__":
    main()
