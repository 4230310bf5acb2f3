"""CIFAR-10 and CIFAR-100: the binary version, and the Python batches through an unpickler that admits arrays only."""

import functools
import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import SourceError
from celebahq_tools.formats.arrays import array_collection
from celebahq_tools.formats.collection import Collection, Columns
from celebahq_tools.names import one_line, printable

PIXELS = 3 * 32 * 32
MAX_FILE_BYTES = 512 << 20
PARTS = ("train", "test", "all")

_FILES = {
    (10, "train"): [f"data_batch_{k}" for k in range(1, 6)],
    (10, "test"): ["test_batch"],
    (100, "train"): ["train"],
    (100, "test"): ["test"],
}
_META = {10: ("batches.meta", "batches.meta.txt"), 100: ("meta", "fine_label_names.txt")}
_ALLOWED = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }
)
"""All that a pickle of a dict of lists, text and numpy arrays needs; none of it runs anything."""


class ArraysOnly(pickle.Unpickler):
    """An unpickler that refuses every global but those that put numpy arrays together."""

    def find_class(self, module: str, name: str) -> Any:
        """The global if it is allowed; raises UnpicklingError."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module, name)


def load_batch(data: bytes, where: str) -> dict[str, Any]:
    """The dict of a Python batch. Raises SourceError for anything that is no dict of plain values and arrays."""
    try:
        loaded = ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except MemoryError:
        raise SourceError(f"{where}: asks for more memory than there is; not a CIFAR batch") from None
    except Exception as error:
        raise SourceError(f"{where}: no CIFAR batch ({one_line(error)}); get the file again") from None
    if not isinstance(loaded, dict):
        raise SourceError(f"{where}: expected a dict of arrays, found {type(loaded).__name__}")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in loaded.items()}


def open_cifar(path: Path, classes: int, part: str = "train", *, coarse: bool = False) -> Collection:
    """CIFAR-10 or -100 (`classes`), from a folder or .tar.gz of the binary or the Python version.

    part    train, test or all; kept in the index
    coarse  CIFAR-100's 20 superclasses instead of the 100 classes
    Raises SourceError.
    """
    files = _Files(path)
    images, found, partition = _read(files, classes, part, coarse)
    names = _label_names(files, classes, coarse)
    if found.min() < 0 or found.max() >= (20 if coarse else classes):
        raise SourceError(f"{path}: class numbers {found.min()}..{found.max()}, expected 0..{classes - 1}")
    columns = Columns(labels=found, label_names=names, partition=partition)
    return array_collection(f"cifar{classes}", path, functools.partial(_images, path, classes, part), images, columns)


def _images(path: Path, classes: int, part: str) -> NDArray[np.uint8]:
    return _read(_Files(path), classes, part, False)[0]


def _read(
    files: "_Files", classes: int, part: str, coarse: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int8]]:
    """Images, class numbers and partition of all files of a part."""
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    partition: list[NDArray[np.int8]] = []
    for number, name in enumerate(("train", "test")):
        if part not in (name, "all"):
            continue
        for file in _FILES[classes, name]:
            pixels, numbers = _read_file(files, file, classes, coarse)
            images.append(pixels)
            labels.append(numbers)
            partition.append(np.full(len(pixels), 2 * number, np.int8))
    return np.concatenate(images), np.concatenate(labels), np.concatenate(partition)


class _Files:
    """Files of a folder or a tar by name, wherever they lie in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._packed: dict[str, bytes] = {}
        if path.is_file():
            self._packed = dict(self._unpacked())
        elif not path.is_dir():
            raise SourceError(f"{path}: no such folder or .tar.gz")

    def _unpacked(self) -> Iterator[tuple[str, bytes]]:
        total = 0
        try:
            with tarfile.open(self.path, "r:*") as archive:
                for member in archive:
                    total += member.size
                    if total > MAX_FILE_BYTES:
                        raise SourceError(f"{self.path}: expands beyond {MAX_FILE_BYTES >> 20} MiB; no CIFAR archive")
                    opened = archive.extractfile(member) if member.isreg() else None
                    if opened is not None:
                        yield member.name.rpartition("/")[2], opened.read()
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f"{self.path}: no readable tar archive ({one_line(error)}); get it again") from None

    def find(self, *names: str) -> tuple[str, bytes] | None:
        """The first of these files that is there."""
        for name in names:
            if name in self._packed:
                return name, self._packed[name]
            if self.path.is_dir():
                for place in (self.path / name, *sorted(self.path.glob(f"*/{name}"))):
                    if place.is_file():
                        if place.stat().st_size > MAX_FILE_BYTES:
                            raise SourceError(f"{place}: more than {MAX_FILE_BYTES >> 20} MiB; no CIFAR file")
                        return name, place.read_bytes()
        return None


def _read_file(files: _Files, name: str, classes: int, coarse: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    found = files.find(f"{name}.bin", name)
    if found is None:
        raise SourceError(f"{files.path}: expected {name}.bin or {name}, found neither; get the whole archive")
    file, data = found
    where = f"{files.path}: {file}"
    if file.endswith(".bin"):
        heads = 1 if classes == 10 else 2
        if not data or len(data) % (heads + PIXELS):
            raise SourceError(f"{where}: {len(data):,} bytes are no whole number of records of {heads + PIXELS}")
        records = np.frombuffer(data, np.uint8).reshape(-1, heads + PIXELS)
        labels = records[:, 0 if coarse or heads == 1 else 1]
        return records[:, heads:].reshape(-1, 3, 32, 32), labels.astype(np.int64)
    batch = load_batch(data, where)
    pixels = batch.get("data")
    numbers = batch.get("labels", batch.get("coarse_labels" if coarse else "fine_labels"))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        raise SourceError(f"{where}: expected `data` (N, {PIXELS}) uint8")
    if not isinstance(numbers, list) or len(numbers) != len(pixels) or not all(type(n) is int for n in numbers):
        raise SourceError(f"{where}: expected {len(pixels)} labels")
    return pixels.reshape(-1, 3, 32, 32), np.array(numbers, np.int64)


def _label_names(files: _Files, classes: int, coarse: bool) -> tuple[str, ...]:
    wanted = ("coarse_label_names.txt" if coarse else name for name in _META[classes])
    found = files.find(*wanted, *(("meta",) if coarse else ()))
    if found is None:
        return ()
    file, data = found
    if file.endswith(".txt"):
        names = data.decode("ascii", "replace").split()
    else:
        key = "label_names" if classes == 10 else "coarse_label_names" if coarse else "fine_label_names"
        stored = load_batch(data, f"{files.path}: {file}").get(key, ())
        names = [str(name) for name in stored] if isinstance(stored, (list, tuple)) else []
    return tuple(printable(name) for name in names)
