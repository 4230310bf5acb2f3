"""Images of an array: in memory, in an `.npy` file or in one member of an `.npz` archive.

Accepted shapes, told apart by their sizes alone: (N, R, R), (N, 1, R, R), (N, 3, R, R), (N, R, R, 1),
(N, R, R, 3). Only uint8: a float array's scale would have to be guessed.
"""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError
from metrics.sources.base import ImageSet, replicate_channels, resize_chw

COPY_BYTES = 1 << 22
CHANNEL_COUNTS = (1, 3)


class Rows(Protocol):
    """An array of which rows can be read without holding all of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """Rows at `indices`."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class MemoryRows:
    """Rows of an array in memory."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def read(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """Rows at `indices`."""
        return np.ascontiguousarray(self._array[indices])

    def close(self) -> None:
        """Nothing to release."""


class FileRows:
    """Rows of a C-ordered array that lies in a file from `offset` on, read by position (no memory map, so
    that what was read does not count as this process's memory).
    """

    def __init__(self, file: BinaryIO, name: str, shape: tuple[int, ...], dtype: Any, offset: int) -> None:
        self._file = file
        self._name = name
        self._offset = offset
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize
        needed = offset + shape[0] * self._row_bytes
        size = os.fstat(file.fileno()).st_size
        if size < needed:
            raise ImageSetError(f"{name} is truncated: {size} bytes, its header promises {needed}")

    def read(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """Rows at `indices`."""
        out = np.empty((len(indices), *self.shape[1:]), self.dtype)
        bytes_of = out.reshape(len(indices), -1).view(np.uint8)
        for row, index in zip(bytes_of, indices, strict=True):
            view, offset = row.data, self._offset + int(index) * self._row_bytes
            while len(view):
                done = os.preadv(self._file.fileno(), [view], offset)
                if done <= 0:
                    raise ImageSetError(f"{self._name}: row {index} cannot be read whole")
                view, offset = view[done:], offset + done
        return out

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_npy(path: Path) -> FileRows:
    """Rows of an `.npy` file; ImageSetError for anything but a plain C-ordered array."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageSetError(f"cannot read {path}: {error}") from None
    return _rows_of(file, str(path))


def open_npz_member(path: Path, key: str | None) -> FileRows:
    """Rows of one array of an `.npz` archive, inflated into an unnamed temporary file.

    `key` None takes the only array there is; ImageSetError lists the keys when there are several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            if key is None and len(keys) == 1:
                key = keys[0]
            if key is None or key not in keys:
                wanted = "several arrays" if key is None else f"no array {key!r}"
                raise ImageSetError(f"{path} holds {wanted}; name one as {path}::KEY, KEY of {', '.join(keys)}")
            file = _inflated(archive, f"{key}.npy")
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ImageSetError(f"cannot read {path}: {error}") from None
    return _rows_of(file, f"{path}::{key}")


def _inflated(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """A member's bytes in an unnamed temporary file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - handed on to FileRows
    try:
        with archive.open(name) as member:
            while block := member.read(COPY_BYTES):
                file.write(block)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _rows_of(file: BinaryIO, name: str) -> FileRows:
    """Rows of the .npy that `file` holds from its start; closes it on any error."""
    try:
        return FileRows(file, name, *_npy_header(file, name))
    except BaseException:
        file.close()
        raise


def _npy_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], Any, int]:
    """(shape, dtype, offset of the values) of a plain C-ordered array."""
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, OSError) as error:
        raise ImageSetError(f"{name} is not an .npy array: {error}") from None
    if dtype.hasobject:
        raise ImageSetError(f"{name} holds Python objects, which are not loaded; expected uint8 images")
    if fortran:
        raise ImageSetError(f"{name} is in Fortran order; store it with numpy.ascontiguousarray")
    if not shape:
        raise ImageSetError(f"{name} is a single number, expected uint8 images")
    return shape, dtype, file.tell()


class ArraySet(ImageSet):
    """Images of one uint8 array."""

    kind = "array"

    def __init__(self, rows: Rows, *, label: str, res: int | None, resizer: str | None) -> None:
        self.label = label
        self._rows = rows
        try:
            self._fit(res, resizer)
        except ImageSetError:
            rows.close()
            raise

    def _fit(self, res: int | None, resizer: str | None) -> None:
        """Decide layout, number and side."""
        rows, label = self._rows, self.label
        self._layout = _layout(rows, label)
        self.n = rows.shape[0]
        side = rows.shape[1 if self._layout in ("NHW", "NHWC") else 2]
        if res is not None and res != side and resizer is None:
            raise ImageSetError(f"{label}: images are {side}x{side}, asked for {res}; name one with --resizer")
        self.res = side if res is None else res
        self._filter = resizer
        self.resizer = f"pillow-{resizer}" if self.res != side else None

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order."""
        images = self._rows.read(np.asarray(indices))
        if self._layout == "NHW":
            images = images[:, None]
        elif self._layout == "NHWC":
            images = images.transpose(0, 3, 1, 2)
        if self.resizer is not None and self._filter is not None:
            images = np.stack([resize_chw(image, self.res, self._filter) for image in images])
        return replicate_channels(images)

    def _fingerprint(self) -> str:
        digest = sha256(f"{self._rows.shape} {self._layout} {self.res} {self.resizer}\n".encode())
        for index in range(self.n):
            digest.update(self._rows.read(np.array([index])).data)
        return digest.hexdigest()

    def close(self) -> None:
        """Release the file."""
        self._rows.close()


def _layout(rows: Rows, label: str) -> str:
    """'NHW', 'NCHW' or 'NHWC'; ImageSetError for any other shape or type."""
    shape, dtype = rows.shape, rows.dtype
    if dtype != np.uint8:
        nan = ""
        if np.issubdtype(dtype, np.floating) and shape[0] and np.isnan(rows.read(np.array([0]))).any():
            nan = " with NaN in image 0"
        raise ImageSetError(f"{label} holds {dtype} values{nan}; a scale is not guessed: expected uint8 0..255")
    if shape[0] == 0:
        raise ImageSetError(f"{label} holds no images (shape {shape})")
    if len(shape) == 3:
        layout, height, width = "NHW", shape[1], shape[2]
    elif len(shape) == 4 and shape[1] in CHANNEL_COUNTS and shape[3] not in CHANNEL_COUNTS:
        layout, height, width = "NCHW", shape[2], shape[3]
    elif len(shape) == 4 and shape[3] in CHANNEL_COUNTS and shape[1] not in CHANNEL_COUNTS:
        layout, height, width = "NHWC", shape[1], shape[2]
    else:
        raise ImageSetError(f"{label} has shape {shape}; expected (N, 3, R, R), (N, R, R, 3) or grayscale alike")
    if height != width:
        raise ImageSetError(f"{label}: images are {width}x{height}, expected squares: crop them first")
    return layout
