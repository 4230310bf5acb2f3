"""Statistics on disk: shards to be merged, and the cache of real sets.

An entry is a folder: `statistics.json` (version, parameters, shapes, sha256 of the small arrays), `numbers.npy`,
`sums-SIDE.npy` and `descriptors-SIDE.npy` per level. Plain arrays, no pickles.
"""

import json
import os
import shutil
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metrics.errors import CacheError, UsageError
from metrics.sliced.config import CHANNELS, DESCRIPTOR_VALUES, SwdConfig, level_sizes
from metrics.sliced.statistics import SwdStatistics
from metrics.sliced.store import GIB, ROW_BYTES, DescriptorStore
from metrics.sources.base import ImageSet

VERSION = 2
HEAD = "statistics.json"
COPY_IMAGES = 64
CACHE_ENVIRONMENT = "METRICS_CACHE"
LIMIT_ENVIRONMENT = "METRICS_CACHE_GIB"
DEFAULT_LIMIT_GIB = 4.0


def drawn_by(config: SwdConfig) -> dict[str, str | int]:
    """The parameters that decide descriptors; directions and intervals do not."""
    return {"protocol": config.protocol, "seed": config.seed, "patches": config.patches}


def save_statistics(statistics: SwdStatistics, folder: Path) -> None:
    """Write statistics as `folder`, which must not exist: beside it as `.partial`, then renamed."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        try:
            np.save(partial / "numbers.npy", statistics.numbers)
            for size in statistics.sizes:
                np.save(partial / f"sums-{size}.npy", statistics.sums[size])
                _save_descriptors(statistics, size, partial / f"descriptors-{size}.npy")
            head = {
                "version": VERSION,
                "role": statistics.role,
                "res": statistics.res,
                "n": statistics.n,
                "config": asdict(statistics.config),
                "sums_sha256": _digest(statistics.numbers, statistics.sums),
            }
            (partial / HEAD).write_text(json.dumps(head, indent=2), encoding="utf-8")
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise CacheError(f"cannot store statistics as {folder}: {error.strerror}") from None


def _save_descriptors(statistics: SwdStatistics, size: int, path: Path) -> None:
    shape = statistics.n, DESCRIPTOR_VALUES, statistics.config.patches
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, statistics.n, COPY_IMAGES):
            slots = np.arange(start, min(start + COPY_IMAGES, statistics.n))
            file.write(np.ascontiguousarray(statistics.stores[size].read(slots)).data)


def load_statistics(folder: Path) -> SwdStatistics:
    """Statistics written by `save_statistics`; descriptors are read from the files when they are needed.

    Raises CacheError for a missing, damaged or cut-off entry and for another version.
    """
    try:
        head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        if head["version"] != VERSION:
            raise CacheError(f"{folder} has version {head['version']}, this program reads {VERSION}; delete it")
        config, res, n = SwdConfig(**head["config"]), int(head["res"]), int(head["n"])
        numbers = np.load(folder / "numbers.npy", allow_pickle=False)
        sizes = level_sizes(res)
        sums = {size: np.load(folder / f"sums-{size}.npy", allow_pickle=False) for size in sizes}
        shapes = {array.shape for array in sums.values()}
        if numbers.shape != (n,) or shapes != {(n, CHANNELS, 2)} or head["sums_sha256"] != _digest(numbers, sums):
            raise CacheError(f"{folder} is damaged: its sums are not those it was written with; delete it")
        stores = {size: _open_descriptors(folder / f"descriptors-{size}.npy", n, config.patches) for size in sizes}
    except (OSError, EOFError, ValueError, KeyError, TypeError, UsageError) as error:
        raise CacheError(f"{folder} is not a readable statistics entry ({error}); delete it") from None
    return SwdStatistics(config=config, role=str(head["role"]), res=res, numbers=numbers, stores=stores, sums=sums)


def _open_descriptors(path: Path, n: int, patches: int) -> DescriptorStore:
    expected = n, DESCRIPTOR_VALUES, patches
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
    size = path.stat().st_size
    if shape != expected or fortran or dtype != np.float32 or size != offset + n * patches * ROW_BYTES:
        raise CacheError(f"{path} is damaged: {shape} {dtype} in {size} bytes, expected {expected}; delete it")
    return DescriptorStore.of_file(path, offset, n, patches)


def _digest(numbers: NDArray[np.int64], sums: dict[int, NDArray[np.float64]]) -> str:
    digest = sha256(numbers.tobytes())
    for size in sorted(sums):
        digest.update(sums[size].tobytes())
    return digest.hexdigest()


class StatisticsCache:
    """Entries of real sets in a folder of bounded size; the entries unused for longest go first."""

    def __init__(self, folder: Path, *, limit: int) -> None:
        self.folder = folder / "swd"
        self.limit = limit

    def key(self, images: ImageSet, numbers: NDArray[np.int64], role: str, config: SwdConfig) -> str:
        """Name of an entry: sha256 of everything that decides the descriptors."""
        decides = {
            "version": VERSION,
            "fingerprint": images.fingerprint,
            "res": images.res,
            "resizer": images.resizer,
            "numbers": sha256(numbers.astype("<i8").tobytes()).hexdigest(),
            "role": role,
            **drawn_by(config),
        }
        return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]

    def load(self, key: str, *, config: SwdConfig, role: str, res: int, n: int) -> SwdStatistics | None:
        """The entry, or None if there is none; a damaged one is removed and counts as none."""
        folder = self.folder / key
        if not folder.is_dir():
            return None
        try:
            found = load_statistics(folder)
        except CacheError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        if (found.role, found.res, found.n) != (role, res, n) or drawn_by(found.config) != drawn_by(config):
            found.close()
            return None
        os.utime(folder)
        found.config = config
        return found

    def store(self, key: str, statistics: SwdStatistics) -> bool:
        """Keep an entry; False when it is larger than the limit or the folder cannot be written."""
        needed = statistics.n * statistics.config.patches * ROW_BYTES * len(statistics.sizes)
        if needed > self.limit or (self.folder / key).exists():
            return False
        self._make_room(needed)
        try:
            save_statistics(statistics, self.folder / key)
        except CacheError:
            return False
        return True

    def _make_room(self, needed: int) -> None:
        if not self.folder.is_dir():
            return
        entries = sorted((e for e in self.folder.iterdir() if e.is_dir()), key=lambda entry: entry.stat().st_mtime)
        sizes = [sum(file.stat().st_size for file in entry.iterdir()) for entry in entries]
        total = sum(sizes)
        for entry, size in zip(entries, sizes, strict=True):
            if total + needed <= self.limit:
                break
            shutil.rmtree(entry, ignore_errors=True)
            total -= size


def default_cache() -> StatisticsCache:
    """The cache in METRICS_CACHE or ~/.cache/celebahq-tools, at most METRICS_CACHE_GIB (4) large."""
    chosen = os.environ.get(CACHE_ENVIRONMENT)
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "celebahq-tools" / "metrics"
    text = os.environ.get(LIMIT_ENVIRONMENT) or str(DEFAULT_LIMIT_GIB)
    try:
        limit = float(text)
    except ValueError:
        raise CacheError(f"{LIMIT_ENVIRONMENT} is {text!r}, expected a number of GiB") from None
    return StatisticsCache(folder, limit=int(limit * GIB))
