"""Rates of imports, exports and readers, and a PNG folder read by torch.utils.data beside.

    python -m benchmarks.formats [--images 4000] [--res 128] [--rounds 3] [--cifar cifar10-train.zip]

Images are noise of the spectrum of photographs. Imports and exports are whole commands, each a process of its own.
Readers run interleaved: random access in batches of 64, by a PyTorch DataLoader with 0 and 2 workers, from the pyramid
and from a folder of PNG files decoded by Pillow.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.record import Spread, write_results
from celebahq_tools.store import PyramidReader

BATCH = 64
WORKERS = (0, 2)
DISTINCT = 200
EXPORTS = {
    "png": "png",
    "webp": "webp",
    "stylegan": "s.zip",
    "tfrecords": "t",
    "npy": "a.npy",
    "parquet": "p.parquet",
}
IMPORTS = {
    "images": "png",
    "stylegan": "s.zip",
    "tfrecords": "t",
    "numpy": "a.npy",
    "parquet": "p.parquet",
    "hdf5": "o.h5",
}


class PngFolder(Dataset[torch.Tensor]):
    """Pictures of a folder as (3, R, R) uint8 tensors, the usual way."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.files[number]) as picture:
            return torch.from_numpy(np.asarray(picture.convert("RGB")).transpose(2, 0, 1).copy())


class PyramidBatches:
    """Collates numbers to a batch read from a pyramid at once."""

    def __init__(self, reader: PyramidReader) -> None:
        self.reader = reader

    def __call__(self, numbers: list[int]) -> torch.Tensor:
        """The images `numbers`, (n, 3, R, R) uint8."""
        return torch.from_numpy(self.reader.read(numbers))


def pictures(count: int, res: int) -> np.ndarray:
    """(count, R, R, 3) uint8 with a 1/f spectrum; few distinct ones, shifted."""
    rng = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(res)[:, None], np.fft.rfftfreq(res)[None])
    frequencies[0, 0] = 1 / res
    base = []
    for _ in range(DISTINCT):
        phases = np.exp(2j * np.pi * rng.random((3, *frequencies.shape)))
        picture = np.fft.irfft2(phases / frequencies, s=(res, res))
        base.append(((picture - picture.min()) / np.ptp(picture) * 255).round().astype(np.uint8).transpose(1, 2, 0))
    return np.stack([np.roll(base[k % DISTINCT], k // DISTINCT, axis=1) for k in range(count)])


def command(*args: object) -> float:
    """Wall seconds of one command."""
    script = "from celebahq_tools.cli import main; main()"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", script, *map(str, args)], check=True, capture_output=True)
    return time.perf_counter() - started


def reading(data: Any, workers: int, collate: Any = None) -> float:
    """Images per second of one pass in random order, the start of the workers left out."""
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, collate_fn=collate)
    batches = iter(loader)
    seen = -len(next(batches))
    started = time.perf_counter()
    for batch in batches:
        seen += len(batch)
    return (seen + BATCH) / (time.perf_counter() - started)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--res", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cifar", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"images": options.images, "res": options.res, "jobs": options.jobs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "first.npy", pictures(options.images, options.res))
        command("import", "numpy", folder / "first.npy", "--out", folder / "o.h5", "-q", "--jobs", options.jobs)
        results["export_images_per_sec"] = exports(folder, options.images, options.jobs)
        results["import_images_per_sec"] = imports(folder, options.images, options.res, options.jobs)
        results |= readers(folder, options.rounds)
        if options.cifar is not None:
            out = folder / "cifar.h5"
            seconds = [
                command("import", "images", options.cifar, "--out", out, "-q", "--jobs", options.jobs, "--overwrite")
                for _ in range(options.rounds)
            ]
            results["cifar10_sec"] = seconds
            print(f"CIFAR-10, 50,000 JPEG files in a zip: {Spread.of(seconds).text(1)} s")
    print(f"results: {write_results('formats', results)}")


def exports(folder: Path, images: int, jobs: int) -> dict[str, float]:
    """Images per second of whole export commands."""
    rates = {}
    for kind, name in EXPORTS.items():
        rates[kind] = images / command(
            "export", folder / "o.h5", "--to", folder / name, "--format", kind, "-q", "--jobs", jobs
        )
        print(f"export {kind:10s} {rates[kind]:8.0f} images per second")
    return rates


def imports(folder: Path, images: int, res: int, jobs: int) -> dict[str, float]:
    """Images per second of whole import commands, verification included."""
    rates = {}
    for kind, name in IMPORTS.items():
        out = folder / "again.h5"
        options = ("--res", res, "-q", "--jobs", jobs, "--overwrite")
        rates[kind] = images / command("import", kind, folder / name, "--out", out, *options)
        print(f"import {kind:10s} {rates[kind]:8.0f} images per second")
    return rates


def readers(folder: Path, rounds: int) -> dict[str, Any]:
    """Random access through a DataLoader: pyramid and PNG folder in turn."""
    results: dict[str, Any] = {}
    with PyramidReader(folder / "o.h5") as reader:
        png = PngFolder(folder / "png")
        numbers: Any = range(len(reader))
        for workers in WORKERS:
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(reading(numbers, workers, PyramidBatches(reader)))
                theirs.append(reading(png, workers))
            ratio = Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])
            rates = f"pyramid {Spread.of(ours).text(0)}, PNG folder {Spread.of(theirs).text(0)} images per second"
            print(f"reading, {workers} workers: {rates}; {ratio.text(1)} times")
            results[f"reader_{workers}_workers"] = {"pyramid": ours, "png_folder": theirs, "ratio_median": ratio.median}
    return results


if __name__ == "__main__":
    main()
