"""How fast Real-ESRGAN restores on one core: number formats, window sizes, context, memory, and what the crop saves.

    python -m benchmarks.restoration [--size 224] [--rounds 3] [--windows 64 96 128 160 256]
        [--context 32 48 64 80 96] [--memory-size 768]

Pictures come from the shipped sample. Formats and windows are interleaved within a round; one torch thread.
`--memory-size` restores a box of that many pixels a side in a process of its own (about 5 minutes in fp32); with 0
that is left out.
"""

import argparse
import json
import subprocess
import sys
import time
from importlib import resources
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.record import Spread, write_results
from celebahq_tools.align import needed_box, paper_quad
from celebahq_tools.decode import decode_picture
from celebahq_tools.restore import RestorerConfig, configure_worker_threads, open_restorer, restored_share
from celebahq_tools.restore.precision import cpu_has_fast_bf16
from celebahq_tools.restore.realesrgan import CONTEXT_PX, DTYPES, RealESRGANRestorer
from celebahq_tools.restore.rrdbnet import RRDBNet
from celebahq_tools.sources import open_source

Pixels = NDArray[np.uint8]
FORMATS = ("fp32", "bf16")

MEMORY_CHILD = """
import json, sys
import numpy as np
from celebahq_tools.restore import RestorerConfig, configure_worker_threads, open_restorer

def peak_mib():
    # Unlike ru_maxrss this does not begin at the size of the parent process.
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

precision, size = sys.argv[1], int(sys.argv[2])
configure_worker_threads()
opened = open_restorer(RestorerConfig(name="realesrgan", precision=precision, tile=size))
side = size + 2 * opened.context
pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
opened.restore(pixels[:32, :32])
before = peak_mib()
opened.restore(pixels, (opened.context, opened.context, side - opened.context, side - opened.context))
print(json.dumps([before, peak_mib()]))
"""


def open_format(precision: Any) -> RealESRGANRestorer:
    """The restorer in one number format, with its network loaded."""
    opened = open_restorer(RestorerConfig(name="realesrgan", precision=precision))
    assert isinstance(opened, RealESRGANRestorer)
    opened.restore(np.zeros((8, 8, 3), np.uint8))
    return opened


def sample_pictures() -> dict[str, tuple[Pixels, NDArray[np.float64]]]:
    """(H, W, 3) pixels and (5, 2) landmarks of each picture of the shipped sample."""
    found: dict[str, tuple[Pixels, NDArray[np.float64]]] = {}
    with resources.as_file(resources.files("celebahq_tools") / "sample" / "celeba") as root:
        source = open_source(root)
        for file in source.files:
            record = source.record(file)
            if record is not None and record.landmarks is not None:
                pixels = decode_picture(source.reader.read(file), name=file)
                found[file] = (pixels, record.landmarks)
    return found


def centre(pixels: Pixels, size: int) -> Pixels:
    """The middle (size, size, 3), or what there is of it."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return pixels[top : top + size, left : left + size]


def measure_speed(picture: Pixels, windows: list[int], rounds: int) -> dict[str, dict[int, Spread]]:
    """Megapixels of input per second and core, by format and by window of the dense blocks; formats interleaved."""
    networks = {name: open_format(name)._loaded() for name in FORMATS}
    readings: dict[tuple[str, int], list[float]] = {key: [] for key in product(FORMATS, windows)}
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    for _ in range(rounds):
        for window, name in product(windows, FORMATS):
            started = time.perf_counter()
            _run(networks[name], x, window)
            readings[name, window].append(x.shape[2] * x.shape[3] / 1e6 / (time.perf_counter() - started))
    return {name: {w: Spread.of(readings[name, w]) for w in windows} for name in FORMATS}


def _run(network: RRDBNet, x: torch.Tensor, window: int) -> None:
    with torch.inference_mode():
        network.enlarge(network.features(x, tile=window))


def measure_ratio(picture: Pixels, rounds: int) -> Spread:
    """How many times faster bf16 restores than fp32; each ratio from a pair run back to back."""
    opened = {name: open_format(name) for name in FORMATS}
    ratios = []
    for _ in range(rounds):
        seconds = {}
        for name in FORMATS:
            started = time.perf_counter()
            opened[name].restore(picture)
            seconds[name] = time.perf_counter() - started
        ratios.append(seconds["fp32"] / seconds["bf16"])
    return Spread.of(ratios)


def measure_accuracy(pictures: dict[str, Pixels]) -> list[dict[str, Any]]:
    """Levels between bf16 and fp32, picture by picture."""
    opened = {name: open_format(name) for name in FORMATS}
    rows = []
    for file, picture in pictures.items():
        single, half = (opened[name].restore(picture).astype(int) for name in FORMATS)
        levels = np.abs(single - half)
        rows.append({"file": file, "mean": levels.mean(), "max": int(levels.max()), "bias": (half - single).mean()})
    return rows


def measure_context(picture: Pixels, contexts: list[int], core: int = 24) -> list[dict[str, Any]]:
    """Levels between the middle of a picture restored with some context, and restored with all of it."""
    height, width = picture.shape[:2]
    x0, y0 = (width - core) // 2, (height - core) // 2
    box = (x0, y0, x0 + core, y0 + core)
    rows = []
    for name in FORMATS:
        opened = open_format(name)
        whole = opened.restore(picture)[4 * y0 : 4 * (y0 + core), 4 * x0 : 4 * (x0 + core)].astype(int)
        for opened.context in contexts:
            levels = np.abs(opened.restore(picture, box) - whole)
            rows.append({"precision": name, "context": opened.context, "mean": levels.mean(), "max": int(levels.max())})
    return rows


def measure_memory(size: int) -> dict[str, list[float]]:
    """[before, peak] MiB of a process that restores a box of `size` pixels a side in one piece."""
    found: dict[str, list[float]] = {}
    for name in FORMATS:
        command = [sys.executable, "-c", MEMORY_CHILD, name, str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_saving() -> dict[str, float]:
    """Share of each sample picture that is read to restore its crop."""
    shares = {}
    for file, (pixels, landmarks) in sample_pictures().items():
        shape = (pixels.shape[0], pixels.shape[1])
        shares[file] = restored_share(shape, needed_box(paper_quad(landmarks), shape), CONTEXT_PX)
    return shares


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, nargs="+", default=[64, 96, 128, 160, 256])
    parser.add_argument("--context", type=int, nargs="+", default=[32, 48, 64, 80, 96])
    parser.add_argument("--memory-size", type=int, default=768)
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables, write benchmarks/results/restoration.json."""
    arguments = parse_arguments()
    configure_worker_threads()
    pictures = {file: centre(pixels, arguments.size) for file, (pixels, _) in sample_pictures().items()}
    largest = max(pictures.values(), key=lambda pixels: pixels.size)
    print(f"picture {largest.shape[1]}x{largest.shape[0]}, one thread, fast bf16: {cpu_has_fast_bf16()}\n")
    speed = measure_speed(largest, arguments.windows, arguments.rounds)
    print("window  " + "  ".join(f"{name + ' Mpix/s':>24}" for name in DTYPES))
    for window in arguments.windows:
        print(f"{window:6}  " + "  ".join(f"{speed[name][window].text(4):>24}" for name in FORMATS))
    ratio = measure_ratio(largest, arguments.rounds)
    print(f"\nbf16 / fp32: {ratio.text()} times faster")
    accuracy = measure_accuracy(dict(list(pictures.items())[: arguments.rounds]))
    for row in accuracy:
        print(f"{row['file']}: bf16 differs by {row['mean']:.2f} levels on average, at most {row['max']}")
    context = measure_context(largest, arguments.context)
    print("\nprecision  context  mean levels  max levels, against the whole picture")
    for row in context:
        print(f"{row['precision']:9}  {row['context']:7}  {row['mean']:11.3f}  {row['max']:10}")
    memory = measure_memory(arguments.memory_size) if arguments.memory_size else {}
    for name, (before, peak) in memory.items():
        print(f"{name}: box of {arguments.memory_size} pixels, {peak:.0f} MiB at most, {before:.0f} before")
    shares = measure_saving()
    mean, low, high = float(np.mean(list(shares.values()))), min(shares.values()), max(shares.values())
    print(f"\nread for the crop: {mean:.0%} of the sample pictures ({low:.0%}-{high:.0%})")
    results = {
        "stamp": {name: open_format(name).stamp().weights_sha256 for name in FORMATS},
        "size": list(largest.shape[:2]),
        "mpix_per_sec": {n: {w: [s.smallest, s.median, s.largest] for w, s in speed[n].items()} for n in FORMATS},
        "bf16_over_fp32": [ratio.smallest, ratio.median, ratio.largest],
        "bf16_levels": accuracy,
        "context_levels": context,
        "memory_mib": memory,
        "restored_share": shares,
    }
    print(f"\n{write_results('restoration', results)}")


if __name__ == "__main__":
    main()
