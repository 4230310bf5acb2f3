"""How images should lie in a pyramid file: contiguous or in chunks, compressed or not, read how.

    python -m benchmarks.store_layout [--images 200] [--res 1024] [--reads 100] [--rounds 5] [--kills 20]

One file per storage with the same images: random crops of the .jpg photographs in the folder that the environment
variable BENCHMARK_PHOTOS names; without it pictures with the spectrum of photographs, which compress worse. Files go to
the temporary folder (TMPDIR). Every round reads every file in turn, with the same image numbers. "cold" means that the
file's pages were dropped from the page cache (posix_fadvise) just before; the disk below may still cache. Then, for
each way of writing, a writer is killed at random moments (SIGKILL) and the file is opened again: what it had reported
as written must be there.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import RESULTS, Spread, results_folder, write_results
from celebahq_tools.pyramid import build_levels, level_resolutions
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid
from celebahq_tools.store.repack import chunk_images
from celebahq_tools.store.schema import image_bytes, level_name

TABLE = Path(__file__).parent / "store_layout.md"
SEQUENTIAL_BATCH = 16
SMALL_RES = 4
SMALL_READS_FACTOR = 10  # small reads are quick: more of them per reading

Reader = Callable[[Sequence[int], int], NDArray[np.uint8]]


class Storage(NamedTuple):
    """One way to store and read: the file it reads, how it is opened, and how it got there."""

    name: str
    file: str
    open: Callable[[Path], tuple[Reader, Callable[[], None]]]


class Workload(NamedTuple):
    """One way to go through a file. `drop` empties the page cache before."""

    name: str
    res: int
    batch: int
    reads: int
    random: bool
    drop: bool


def main() -> None:
    """Measure, print, write JSON and the table."""
    options = _arguments()
    photos = sorted(Path(os.environ["BENCHMARK_PHOTOS"]).glob("*.jpg")) if "BENCHMARK_PHOTOS" in os.environ else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = write_files(folder, options.images, options.res, photos)
        timings = measure(folder, options)
        kills = {kind: survive(folder / f"{kind}.h5", kind, options.kills) for kind in WRITERS}
    rows = table(timings, sizes, kills, options, len(photos))
    print("\n".join(rows))
    if results_folder() == RESULTS:
        TABLE.write_text("\n".join(rows) + "\n")
    config = {**vars(options), "photographs": len(photos)}
    results = {"config": config, "file_bytes": sizes, "ms_per_image": timings, "kills": kills}
    print(f"\n{write_results('store_layout', results)}")


def pictures(count: int, res: int, photos: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    """(3, res, res) uint8: random crops of photographs, or noise with their 1/f spectrum."""
    rng = np.random.default_rng(0)
    for k in range(count):
        yield _crop(photos[k % len(photos)], res, rng) if photos else _natural_noise(res, rng)


def _crop(file: Path, res: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(file) as photo:
        scale = max(1.0, 1.02 * res / min(photo.size))  # enlarged as little as possible: detail costs bytes
        width, height = (round(side * scale) for side in photo.size)
        pixels = np.asarray(photo.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    top, left = rng.integers(height - res + 1), rng.integers(width - res + 1)
    crop = pixels[top : top + res, left : left + res]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return np.ascontiguousarray(crop.transpose(2, 0, 1))


def _natural_noise(res: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    frequency = np.hypot(np.fft.fftfreq(res)[:, None], np.fft.rfftfreq(res)[None])
    frequency[0, 0] = 1 / res
    waves = np.exp(2j * np.pi * rng.random((3, *frequency.shape))) / frequency
    noise = np.fft.irfft2(waves, s=(res, res))
    low, high = noise.min(), noise.max()
    image: NDArray[np.uint8] = np.rint((noise - low) * (255 / (high - low))).astype(np.uint8)
    return image


def write_files(folder: Path, count: int, res: int, photos: Sequence[Path]) -> dict[str, int]:
    """All files with the same images; returns their sizes in bytes."""
    import h5py

    rows = [IndexRow(key=str(k), file=str(k)) for k in range(count)]
    create_pyramid(folder / "contiguous.h5", res=res, rows=rows, meta=PyramidMeta())
    chunked: dict[str, dict[str, Any]] = {
        "raw": {"grouped": True},
        "lzf": {"grouped": True, "compression": "lzf"},
        "gzip": {"grouped": True, "compression": "gzip", "compression_opts": 4},
        "gzip-single": {"grouped": False, "compression": "gzip", "compression_opts": 4},
    }
    files = {name: h5py.File(folder / f"{name}.h5", "w", libver=("earliest", "v108")) for name in chunked}
    for name, storage in chunked.items():
        grouped = storage.pop("grouped")
        for level in level_resolutions(res):
            chunk = chunk_images(level, count) if grouped else 1
            files[name].create_dataset(
                level_name(level), (count, 3, level, level), np.uint8, chunks=(chunk, 3, level, level), **storage
            )
    with SlotWriter(folder / "contiguous.h5") as writer:
        for slot, image in enumerate(pictures(count, res, photos)):
            levels = build_levels(image)
            writer.write_levels(slot, levels)
            for file in files.values():
                for level, pixels in levels.items():
                    file[level_name(level)][slot] = pixels
    for file in files.values():
        file.close()
    for path in folder.glob("*.h5"):
        with path.open("rb") as raw:
            os.fsync(raw.fileno())
    return {path.stem: path.stat().st_size for path in sorted(folder.glob("*.h5"))}


def _open_reader(path: Path) -> tuple[Reader, Callable[[], None]]:
    reader = PyramidReader(path)
    return reader.read, reader.close


def _open_map(path: Path) -> tuple[Reader, Callable[[], None]]:
    with PyramidReader(path) as reader:
        levels = reader.layout.levels
    maps = {
        res: np.memmap(path, np.uint8, "r", offset=level.offset or 0, shape=level.shape).view(np.ndarray)
        for res, level in levels.items()
    }
    return lambda numbers, res: maps[res][np.asarray(numbers)], maps.clear


def _open_h5py(path: Path) -> tuple[Reader, Callable[[], None]]:
    import h5py

    file = h5py.File(path, "r")

    def read(numbers: Sequence[int], res: int) -> NDArray[np.uint8]:
        dataset = file[level_name(res)]
        images: NDArray[np.uint8]
        if len(numbers) == 1:
            images = dataset[numbers[0] : numbers[0] + 1]
        else:
            images = dataset[numbers[0] : numbers[-1] + 1]
        return images

    return read, file.close


STORAGES = (
    Storage("contiguous, preadv (PyramidReader)", "contiguous", _open_reader),
    Storage("contiguous, memory map", "contiguous", _open_map),
    Storage("contiguous, h5py", "contiguous", _open_h5py),
    Storage("chunks, raw", "raw", _open_h5py),
    Storage("chunks, lzf", "lzf", _open_h5py),
    Storage("chunks, gzip 4", "gzip", _open_h5py),
    Storage("one image per chunk, gzip 4", "gzip-single", _open_h5py),
)


def workloads(res: int, reads: int) -> tuple[Workload, ...]:
    """Single images at random and batches in order, with warm and cold page cache."""
    small, order = reads * SMALL_READS_FACTOR, max(1, reads // SEQUENTIAL_BATCH)
    return (
        Workload(f"random {res}, warm", res, 1, reads, True, False),
        Workload(f"random {res}, cold", res, 1, reads, True, True),
        Workload(f"random {SMALL_RES}, warm", SMALL_RES, 1, small, True, False),
        Workload(f"random {SMALL_RES}, cold", SMALL_RES, 1, small, True, True),
        Workload(f"in order {res}, warm", res, SEQUENTIAL_BATCH, order, False, False),
        Workload(f"in order {res}, cold", res, SEQUENTIAL_BATCH, order, False, True),
    )


def measure(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """{workload: {storage: [ms per image of each round]}}, storages interleaved."""
    timings: dict[str, dict[str, list[float]]] = {}
    for work in workloads(options.res, options.reads):
        readings: dict[str, list[float]] = {storage.name: [] for storage in STORAGES}
        for turn in range(options.rounds):
            numbers = _numbers(work, options.images, turn)
            shift = turn % len(STORAGES)
            for storage in STORAGES[shift:] + STORAGES[:shift]:
                readings[storage.name].append(_timed(folder / f"{storage.file}.h5", storage, work, numbers))
        timings[work.name] = readings
        print(f"{work.name}: done", file=sys.stderr)
    return timings


def _numbers(work: Workload, images: int, turn: int) -> list[list[int]]:
    if work.random:
        chosen = np.random.default_rng(turn).integers(0, images, work.reads)
        return [[int(number)] for number in chosen]
    starts = np.arange(work.reads) * work.batch % max(1, images - work.batch + 1)
    return [list(range(start, min(start + work.batch, images))) for start in starts.tolist()]


def _timed(path: Path, storage: Storage, work: Workload, numbers: list[list[int]]) -> float:
    """Milliseconds per image. Opening is not counted; warm runs have read everything once before."""
    read, close = storage.open(path)
    if not work.drop:
        for chosen in numbers:
            read(chosen, work.res)
    else:
        close()
        _drop_cache(path)
        read, close = storage.open(path)
    started = time.perf_counter()
    for chosen in numbers:
        read(chosen, work.res)
    seconds = time.perf_counter() - started
    close()
    return 1000 * seconds / sum(map(len, numbers))


def _drop_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


KILL_RES, KILL_IMAGES = 256, 2000

CHILD_SLOTS = """
from celebahq_tools.store import SlotWriter
writer = SlotWriter(path)
writer.clear(0)
print("ready", flush=True)
for slot in range(count):
    writer.write(slot, image(slot))
    print(slot, flush=True)
"""

CHILD_H5PY = """
import h5py
from celebahq_tools.pyramid import build_levels
file = h5py.File(path, "w", libver=("earliest", "v108"))
storage = {"chunks": True, "compression": "gzip", "compression_opts": 1} if "gzip" in kind else {}
for r in (256, 128, 64, 32, 16, 8, 4):
    storage["chunks"] = (1, 3, r, r)
    file.create_dataset(f"data{r}x{r}", (count, 3, r, r), "u1", **storage)
file.flush()
print("ready", flush=True)
for slot in range(count):
    for r, level in build_levels(image(slot)).items():
        file[f"data{r}x{r}"][slot] = level
    if "flush after" in kind:
        file.flush()
    print(slot, flush=True)
"""

CHILD_START = """
import sys
import numpy as np
path, count, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def image(slot):
    return np.random.default_rng(slot).integers(0, 256, (3, 256, 256), dtype=np.uint8)
"""

WRITERS = {
    "contiguous, slots": CHILD_SLOTS,
    "chunks, raw, flush after each image": CHILD_H5PY,
    "chunks, gzip, flush after each image": CHILD_H5PY,
    "chunks, gzip, no flush": CHILD_H5PY,
}


def survive(path: Path, kind: str, kills: int) -> dict[str, int]:
    """Kill a writer `kills` times; count files that do not open and reported images that are not there."""
    dice = random.Random(0)
    result = {"kills": kills, "do not open": 0, "reported images": 0, "lost": 0}
    for _ in range(kills):
        path.unlink(missing_ok=True)
        if kind == "contiguous, slots":
            rows = [IndexRow(key=str(k), file=str(k)) for k in range(KILL_IMAGES)]
            create_pyramid(path, res=KILL_RES, rows=rows, meta=PyramidMeta())
        command = [sys.executable, "-c", CHILD_START + WRITERS[kind], str(path), str(KILL_IMAGES), kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(dice.uniform(0.05, 0.5))
            child.send_signal(signal.SIGKILL)
            reported = [int(line) for line in child.stdout.read().splitlines()]
        result["reported images"] += len(reported)
        there = _still_there(path, reported)
        result["do not open"] += there is None
        result["lost"] += len(reported) - (there or 0)
    path.unlink(missing_ok=True)
    return result


def _still_there(path: Path, reported: Sequence[int]) -> int | None:
    """How many of the reported images are in the file as they were; None when it does not open."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:
        return None
    found = 0
    with file:
        for slot in reported:
            expected = np.random.default_rng(slot).integers(0, 256, (3, KILL_RES, KILL_RES), dtype=np.uint8)
            levels = build_levels(expected)
            try:
                same = [np.array_equal(file[level_name(res)][slot], level) for res, level in levels.items()]
                found += all(same)
            except (OSError, KeyError):
                continue
    return found


def table(
    timings: dict[str, dict[str, list[float]]],
    sizes: dict[str, int],
    kills: dict[str, dict[str, int]],
    options: argparse.Namespace,
    photographs: int,
) -> list[str]:
    """The results as Markdown: medians with ratio to the first storage, smallest and largest reading."""
    source = f"crops of {photographs} photographs" if photographs else "synthetic pictures"
    lines = [
        "# Storage of pyramid files",
        "",
        f"`python -m benchmarks.store_layout`: {options.images} images of {options.res}x{options.res}, {source}, "
        f"{options.rounds} rounds. Milliseconds per image: median (smallest-largest), ratio of medians to the first "
        "row. Details and machine: results/store_layout.json.",
        "",
        "| storage | size | " + " | ".join(timings) + " |",
        "|---|---:|" + "---:|" * len(timings),
    ]
    for storage in STORAGES:
        cells = [f"{sizes[storage.file] / sizes['contiguous']:.2f}"]
        for readings in timings.values():
            spread = Spread.of(readings[storage.name])
            ratio = spread.median / Spread.of(readings[STORAGES[0].name]).median
            cells.append(f"{spread.text(3)} {ratio:.1f}x")
        lines.append(f"| {storage.name} | " + " | ".join(cells) + " |")
    pixels = options.images * sum(image_bytes(level) for level in level_resolutions(options.res))
    lines += [
        "",
        f"Size is relative to the contiguous file, {sizes['contiguous']:,} bytes for {pixels:,} bytes of pixels.",
        "",
        f"## Killed while writing ({KILL_RES}x{KILL_RES}, SIGKILL at random moments)",
        "",
        "| writer | kills | files that do not open | images reported as written | of these lost |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {kind} | " + " | ".join(str(value) for value in kill.values()) + " |" for kind, kill in kills.items()]
    lines += [
        "",
        "Slots of a contiguous file are written with `pwrite` at offsets that never change: no HDF5 structure is",
        "touched, so there is no moment at which a kill can damage one. A chunked file gets new entries in its chunk",
        "indices with every image: what HDF5 has not flushed is lost, and a kill in the middle of a flush leaves",
        "whatever order the writes happened to have.",
    ]
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--res", type=int, default=1024)
    parser.add_argument("--reads", type=int, default=100, help="images per reading")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
