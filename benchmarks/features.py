"""How fast images pass through the FID Inception, and whether it ever waits for them.

    python -m benchmarks.features [--images 64] [--res 256] [--rounds 3] [--jobs 2] [--batches 8 16 32]

The weights are seeded random ones of the right shapes, which cost what the published ones cost. "Plain" is the
loop one would write: read, resize, then network, in series, normalisations not folded, NCHW memory order. The
network's share is the wall time inside the network over that of the whole pass; sources are an array, PNG and
JPEG folders. The readings of one round are interleaved.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.random_images import random_image
from benchmarks.record import Spread, write_results
from metrics.extractors import Extractor, open_extractor
from metrics.extractors.inception import INPUT_SIZE, FIDInception
from metrics.features import extract_features
from metrics.resize import resize_legacy_tensorflow
from metrics.sources import ImageSet, open_image_set

LAYERS = ("2048", "logits_unbiased")
PLAIN_BATCH = 16


def random_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict of activations neither dying nor exploding, stored at `path`."""
    generator = torch.Generator().manual_seed(0)
    weights = FIDInception().state_dict()
    for name, value in weights.items():
        if name.endswith("conv.weight"):
            fan_in = float(np.prod(value.shape[1:]))
            weights[name] = torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5
    torch.save(weights, path)
    return weights


def make_sources(folder: Path, images: np.ndarray) -> dict[str, str]:
    """The same images as an array and as folders of PNG and JPEG files."""
    np.save(folder / "array.npy", images)
    for suffix in ("png", "jpg"):
        (folder / suffix).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / suffix / f"{number:05d}.{suffix}")
    return {"array": str(folder / "array.npy"), "png": str(folder / "png"), "jpg": str(folder / "jpg")}


def plain_pass(network: FIDInception, images: ImageSet) -> float:
    """Seconds per image of the plain loop."""
    started = time.perf_counter()
    with torch.inference_mode():
        for batch in images.batches(PLAIN_BATCH):
            network(torch.from_numpy(resize_legacy_tensorflow(batch, INPUT_SIZE)), frozenset(LAYERS))
    return (time.perf_counter() - started) / images.n


def our_pass(extractor: Extractor, images: ImageSet, *, batch: int, workers: int, shares: list[float]) -> float:
    """Seconds per image of the feature pass; appends the network's share of them."""
    timing = extract_features(images, extractor, LAYERS, batch=batch, workers=workers).timing
    assert timing is not None
    shares.append(timing.network_share)
    return timing.total_sec / timing.nimg


def main() -> None:
    """Interleave the programs and write benchmarks/results/features.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--res", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.jobs)
    rng = np.random.default_rng(0)
    pixels = np.stack([random_image(arguments.res, rng) for _ in range(arguments.images)])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = random_weights(folder / "random.pth")
        sources = {name: open_image_set(path) for name, path in make_sources(folder, pixels).items()}
        network = FIDInception().eval()
        network.load_state_dict(weights)
        extractors = {
            precision: open_extractor(
                "inception-2015",
                weights=folder / "random.pth",
                precision=precision,
                device=arguments.device,
                threads=arguments.jobs,
            )
            for precision in ("fp32", "bf16")
        }
        shares: dict[str, list[float]] = {}
        programs: dict[str, Callable[[], float]] = {"plain, jpg": lambda: plain_pass(network, sources["jpg"])}
        cases = [("fp32", "jpg", batch) for batch in arguments.batches]
        cases += [("fp32", "array", PLAIN_BATCH), ("fp32", "png", PLAIN_BATCH), ("bf16", "jpg", PLAIN_BATCH)]
        for precision, source, batch in cases:
            name = f"{precision}, {source}, batch {batch}"
            shares[name] = []
            programs[name] = lambda p=precision, s=source, b=batch, n=name: our_pass(  # type: ignore[misc]
                extractors[p], sources[s], batch=b, workers=arguments.jobs, shares=shares[n]
            )
        readings: dict[str, list[float]] = {name: [] for name in programs}
        for program in programs.values():
            program()  # kernels are chosen and compiled at the first call
        for values in shares.values():
            values.clear()
        for _ in range(arguments.rounds):
            for name, program in programs.items():
                readings[name].append(program())
        for opened in sources.values():
            opened.close()
    report(vars(arguments), readings, shares)


def report(config: dict[str, Any], readings: dict[str, list[float]], shares: dict[str, list[float]]) -> None:
    """Print images per second, ratio to the plain loop and the network's share; store them."""
    base = Spread.of(readings["plain, jpg"]).median
    results: dict[str, Any] = {"config": config, "seconds_per_image": readings, "network_share": shares}
    print(
        f"feature pass of {config['images']} images at {config['res']}², {config['jobs']} threads, {config['device']}"
    )
    for name, seconds in readings.items():
        spread = Spread.of(seconds)
        share = f"{np.median(shares[name]):7.1%} in the network" if name in shares else ""
        results.setdefault("ratios", {})[name] = base / spread.median
        print(
            f"  {name:22s} {1 / spread.median:8.1f} img/s  {spread.text(4)} s/img  {base / spread.median:5.2f}x {share}"
        )
    print(f"written to {write_results('features', results)}")


if __name__ == "__main__":
    main()
