"""Arrays of images: .npy, .npz, MNIST's idx files, CIFAR's binaries and batches, SVHN's .mat, MNIST-RGB."""

import functools
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.archives import MAX_MEMBER_BYTES
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.formats.collection import Collection, Columns, digest_of, file_digest, numbered, repeated
from celebahq_tools.formats.labels import vector_columns
from celebahq_tools.names import one_line

_BROKEN = (
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises on damaged files."""


class ArrayImages:
    """Images of an array in memory; for sets of up to a few hundred MB. A pickled copy loads it again."""

    def __init__(self, load: Callable[[], NDArray[np.uint8]], images: NDArray[np.uint8] | None = None) -> None:
        self._load = load
        self._images = images

    def __getstate__(self) -> Callable[[], NDArray[np.uint8]]:
        return self._load

    def __setstate__(self, state: Callable[[], NDArray[np.uint8]]) -> None:
        self._load, self._images = state, None

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        if self._images is None:
            self._images = self._load()
        return to_rgb(self._images[position])


class FileRows:
    """Images at fixed distances in a plain file, of shape `shape` and stored one after the other.

    start   offset of the first image in bytes
    stride  bytes from one image to the next
    """

    def __init__(self, root: Path, shape: tuple[int, ...], start: int, stride: int) -> None:
        self._root, self._shape, self._start, self._stride = root, shape, start, stride

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        size = math.prod(self._shape)
        path = self._root / file if self._root.is_dir() else self._root
        try:
            with path.open("rb") as opened:
                opened.seek(self._start + position * self._stride)
                data = opened.read(size)
        except OSError as error:
            raise PictureError("unreadable", f"{path}: cannot be read ({one_line(error)})") from None
        if len(data) != size:
            raise PictureError("truncated", f"{path}: image {position}: expected {size} bytes, found {len(data)}")
        return to_rgb(np.frombuffer(data, np.uint8).reshape(self._shape))


def to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(3, H, W), (1, H, W), (H, W, 1), (H, W) or (H, W, 3) to (H, W, 3)."""
    if image.ndim == 2:
        image = image[..., None]
    elif image.shape[-1] not in (1, 3):
        image = image.transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def side_of(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of images of one shape without N, or None if it is no shape of images."""
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) == 3 and shape[2] in (1, 3):
        return shape[0], shape[1]
    if len(shape) == 3 and shape[0] in (1, 3):
        return shape[1], shape[2]
    return None


def natural_res(shape: tuple[int, ...]) -> int | None:
    """Side of square images of one shape."""
    sides = side_of(shape)
    return sides[0] if sides is not None and sides[0] == sides[1] else None


def open_numpy(path: Path, labels: Path | None = None) -> Collection:
    """A `.npy` or `.npz` of (N, H, W, 3), (N, 3, H, W) or (N, H, W) uint8; labels from a .npy or the .npz's `labels`.

    The array of an `.npz` is `images`, `x`, `arr_0`, or the only one of such a shape. Raises SourceError.
    """
    if path.suffix.lower() == ".npz":
        return _open_npz(path, labels)
    shape, offset = _npy_header(path)
    reader = FileRows(path, shape[1:], offset, math.prod(shape[1:]))
    columns = Columns() if labels is None else _label_array(_load_npy(labels), shape[0], str(labels))
    return Collection(
        kind="numpy",
        root=path,
        digest=digest_of("npy", str(shape), file_digest(path)),
        keys=numbered(shape[0]),
        files=repeated(path.name, shape[0]),
        positions=range(shape[0]),
        reader=reader,
        natural_res=natural_res(shape[1:]),
        lossless=True,
        columns=columns,
    )


def array_collection(
    kind: str, path: Path, load: Callable[[], NDArray[np.uint8]], images: NDArray[np.uint8], columns: Columns
) -> Collection:
    """A collection of images in memory, (N, ...) uint8, which `load` gives again. SourceError for other arrays."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or side_of(images.shape[1:]) is None:
        raise SourceError(f"{path}: expected uint8 images (N, H, W, 3), found {images.dtype} {images.shape}")
    return Collection(
        kind=kind,
        root=path,
        digest=digest_of(kind, str(images.shape), np.ascontiguousarray(images).tobytes()),
        keys=numbered(len(images)),
        files=repeated(path.name, len(images)),
        positions=range(len(images)),
        reader=ArrayImages(load, images),
        natural_res=natural_res(images.shape[1:]),
        lossless=True,
        columns=columns,
    )


def _npy_header(path: Path) -> tuple[tuple[int, ...], int]:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
            size = path.stat().st_size
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except _BROKEN as error:
        raise SourceError(f"{path}: no .npy file ({one_line(error)})") from None
    if dtype != np.uint8 or fortran or len(shape) not in (3, 4) or side_of(shape[1:]) is None:
        raise SourceError(
            f"{path}: expected uint8 images (N, H, W, 3), (N, 3, H, W) or (N, H, W) in C order, found {dtype} {shape}"
        )
    if offset + math.prod(shape) != size:
        raise SourceError(f"{path}: expected {offset + math.prod(shape):,} bytes for {shape}, found {size:,}")
    return shape, offset


def _load_npy(path: Path) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except _BROKEN as error:
        raise SourceError(f"{path}: no .npy array of numbers ({one_line(error)})") from None
    return np.asarray(values)


def _label_array(values: NDArray[np.generic], count: int, where: str) -> Columns:
    """Labels (N,) whole numbers or (N, L) numbers."""
    if values.dtype.kind not in "iufb" or values.ndim not in (1, 2) or len(values) != count:
        raise SourceError(f"{where}: expected labels ({count},) or ({count}, L), found {values.dtype} {values.shape}")
    if values.ndim == 1 and values.dtype.kind in "iub":
        return Columns(labels=values.astype(np.int64))
    return vector_columns(values.astype(np.float32).reshape(count, -1))


def _npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            total = sum(info.file_size for info in archive.zip.infolist())
            if total > MAX_MEMBER_BYTES * 8:
                raise SourceError(f"{path}: its arrays have {total:,} bytes; save images as .npy, which is not loaded")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except (*_BROKEN, AttributeError) as error:
        raise SourceError(f"{path}: no .npz file of arrays ({one_line(error)})") from None


def _open_npz(path: Path, labels: Path | None) -> Collection:
    arrays = _npz_arrays(path)
    images = _images_in(arrays, path)
    found = next((arrays[name] for name in ("labels", "y", "label", "arr_1") if name in arrays), None)
    columns = Columns()
    if labels is not None:
        columns = _label_array(_load_npy(labels), len(images), str(labels))
    elif found is not None:
        columns = _label_array(found, len(images), f"{path}: labels")
    return array_collection("numpy", path, functools.partial(_npz_images, path), images, columns)


def _npz_images(path: Path) -> NDArray[np.uint8]:
    return _images_in(_npz_arrays(path), path)


def _images_in(arrays: dict[str, NDArray[Any]], path: Path) -> NDArray[np.uint8]:
    names = [name for name in ("images", "x", "arr_0", *arrays) if name in arrays and arrays[name].ndim in (3, 4)]
    if not names:
        found = ", ".join(arrays) or "nothing"
        raise SourceError(f"{path}: expected images (N, H, W, 3) under `images`, found {found}")
    return arrays[names[0]]
