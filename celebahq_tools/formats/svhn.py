"""SVHN's cropped digits, `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat`."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import SourceError
from celebahq_tools.formats.arrays import array_collection
from celebahq_tools.formats.collection import Collection, Columns
from celebahq_tools.names import one_line

MAX_MAT_BYTES = 4 << 30
DIGITS = 10
ZERO = 10
"""The class number that stands for the digit 0."""


def open_svhn(path: Path) -> Collection:
    """A .mat file with `X` (32, 32, 3, N) and `y` (N, 1); class 10 becomes 0. Raises SourceError."""
    images, labels = _read(path)
    columns = Columns(labels=labels, label_names=tuple(map(str, range(DIGITS))))
    return array_collection("svhn", path, functools.partial(_images, path), images, columns)


def _images(path: Path) -> NDArray[np.uint8]:
    return _read(path)[0]


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from scipy.io import loadmat, whosmat

    if not path.is_file():
        raise SourceError(f"{path}: no such file; give train_32x32.mat or its like")
    try:
        sizes = {name: shape for name, shape, _kind in whosmat(path)}
        total = sum(float(np.prod(shape, dtype=np.float64)) for shape in sizes.values())
        if total > MAX_MAT_BYTES:
            raise SourceError(f"{path}: expands beyond {MAX_MAT_BYTES >> 30} GiB; no SVHN file")
        values = loadmat(path, variable_names=["X", "y"])
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{path}: no readable MATLAB 5 file ({one_line(error)}); get it again") from None
    images, labels = values.get("X"), values.get("y")
    if not isinstance(images, np.ndarray) or images.ndim != 4 or images.shape[2] != 3 or images.dtype != np.uint8:
        raise SourceError(f"{path}: expected X (32, 32, 3, N) uint8; give the cropped digits, format 2")
    if not isinstance(labels, np.ndarray) or labels.size != images.shape[3] or labels.dtype.kind not in "iuf":
        raise SourceError(f"{path}: expected y with {images.shape[3]} class numbers")
    numbers = labels.reshape(-1).astype(np.int64)
    if len(numbers) == 0 or numbers.min() < 0 or numbers.max() > ZERO:
        raise SourceError(f"{path}: expected class numbers 1..10")
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), numbers % ZERO
