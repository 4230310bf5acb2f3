"""MNIST's idx files, padded to 32x32, and MNIST-RGB: three digits at random in the three channels."""

import functools
import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import SourceError
from celebahq_tools.formats.arrays import array_collection
from celebahq_tools.formats.collection import Collection, Columns, digest_of, numbered, repeated
from celebahq_tools.names import one_line

MAX_IDX_BYTES = 256 << 20
PADDED_RES = 32
RGB_IMAGES = 200_000
DIGITS = 10

_STEMS = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, packed by gzip or not. Raises SourceError."""
    try:
        with path.open("rb") as file:
            packed = file.read(MAX_IDX_BYTES + 1)
        if packed[:2] == b"\x1f\x8b":
            with gzip.open(path) as opened:
                packed = opened.read(MAX_IDX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path}: cannot be read ({one_line(error)})") from None
    if len(packed) > MAX_IDX_BYTES:
        raise SourceError(f"{path}: expands beyond {MAX_IDX_BYTES >> 20} MiB; no MNIST file")
    if len(packed) < 4 or packed[:3] != b"\0\0\x08" or not 1 <= packed[3] <= 3 or len(packed) < 4 + 4 * packed[3]:
        raise SourceError(f"{path}: expected an idx file of bytes, found a start of {packed[:4].hex(' ') or 'nothing'}")
    shape = struct.unpack_from(f">{packed[3]}I", packed, 4)
    data = memoryview(packed)[4 + 4 * len(shape) :]
    expected = 1
    for size in shape:
        expected *= size
    if len(data) != expected:
        raise SourceError(f"{path}: expected {expected:,} bytes for {shape}, found {len(data):,}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_mnist(path: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Digits (N, 28, 28) and their classes of a folder, `train` or `test`. Raises SourceError."""
    images = read_idx(_find(path, part, "images", 3))
    labels = read_idx(_find(path, part, "labels", 1))
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise SourceError(f"{path}: expected (N, 28, 28) digits and N labels, found {images.shape} and {labels.shape}")
    if len(labels) == 0 or labels.max() >= DIGITS:
        raise SourceError(f"{path}: expected labels 0..9, found {labels.max() if len(labels) else 'none'}")
    return images, labels.astype(np.int64)


def padded(digits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 28, 28) to (N, 32, 32), two black pixels on every side."""
    return np.pad(digits, ((0, 0), (2, 2), (2, 2)))


def open_mnist(path: Path, part: str = "train") -> Collection:
    """MNIST or a set in its format (Fashion-MNIST, ...), 28x28 padded to 32x32; part train, test or all."""
    parts = [name for name in _STEMS if part in (name, "all")]
    read = [read_mnist(path, name) for name in parts]
    partition = [
        np.full(len(images), 0 if name == "train" else 2, np.int8)
        for name, (images, _) in zip(parts, read, strict=True)
    ]
    columns = Columns(
        labels=np.concatenate([labels for _, labels in read]),
        label_names=tuple(map(str, range(DIGITS))),
        partition=np.concatenate(partition),
    )
    images = padded(np.concatenate([images for images, _ in read]))
    return array_collection("mnist", path, functools.partial(_images, path, tuple(parts)), images, columns)


def _images(path: Path, parts: tuple[str, ...]) -> NDArray[np.uint8]:
    return padded(np.concatenate([read_mnist(path, name)[0] for name in parts]))


class StackedDigits:
    """Images whose red, green and blue are digits; position is the number of the image."""

    def __init__(self, path: Path, n: int, seed: int) -> None:
        self._path, self._n, self._seed = path, n, seed
        self._drawn: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]] | None = None

    def __getstate__(self) -> tuple[Path, int, int]:
        return self._path, self._n, self._seed

    def __setstate__(self, state: tuple[Path, int, int]) -> None:
        self._path, self._n, self._seed = state
        self._drawn = None

    def drawn(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
        """All digits, their classes, and the three that make each image, (n, 3)."""
        if self._drawn is None:
            digits, labels = read_mnist(self._path, "train")
            rng = np.random.default_rng(self._seed)
            self._drawn = digits, labels, rng.integers(len(digits), size=(self._n, 3), dtype=np.int32)
        return self._drawn

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        digits, _, chosen = self.drawn()
        return np.ascontiguousarray(padded(digits[chosen[position]]).transpose(1, 2, 0))


def open_mnist_rgb(path: Path, n: int = RGB_IMAGES, seed: int = 123) -> Collection:
    """`n` images of three random training digits each, class 100 r + 10 g + b (Karras et al. 2018, section 6.1)."""
    if n < 1:
        raise SourceError(f"{n} images: expected at least 1")
    reader = StackedDigits(path, n, seed)
    digits, labels, chosen = reader.drawn()
    classes = labels[chosen] @ np.array([100, 10, 1])
    return Collection(
        kind="mnist-rgb",
        root=path,
        digest=digest_of("mnist-rgb", digits.tobytes(), labels.tobytes(), n, seed),
        keys=numbered(n),
        files=repeated("train-images-idx3-ubyte", n),
        positions=range(n),
        reader=reader,
        natural_res=PADDED_RES,
        lossless=True,
        columns=Columns(labels=classes, label_names=tuple(f"{number:03d}" for number in range(DIGITS**3))),
    )


def _find(path: Path, part: str, what: str, ndim: int) -> Path:
    for dot in ("-", "."):
        for suffix in ("", ".gz"):
            name = f"{_STEMS[part]}-{what}{dot}idx{ndim}-ubyte{suffix}"
            for place in (path / name, *sorted(path.glob(f"*/{name}"))):
                if place.is_file():
                    return place
    raise SourceError(f"{path}: expected {_STEMS[part]}-{what}-idx{ndim}-ubyte or its .gz, found neither")
