"""MNIST digits for the discrete mode test: read from idx files or a pyramid, padded to 32x32, stacked to RGB.

Shapes: digits (N, 32, 32) uint8, labels (N,) int64 0 ... 9.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pgan.draws import numpy_generator
from pgan.errors import DataError

if TYPE_CHECKING:
    from celebahq_tools.store import PyramidReader

SIDE = 32
CLASSES = 10
COLOURS = 3
STACKS = "stacks"
TRAIN, TEST = "train", "t10k"
IDX_IMAGES, IDX_LABELS = 0x803, 0x801
"""Magic numbers of idx files: unsigned bytes in three dimensions, and in one."""

MAX_IDX_BYTES = 1 << 29
BLOCK = 256

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Digits:
    """Single digits (N, 32, 32) uint8 and what they are, (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.shape != (len(self.labels), SIDE, SIDE):
            raise DataError(f"{len(self.labels)} labels for digits of shape {self.images.shape}, expected one each")
        if not ((self.labels >= 0) & (self.labels < CLASSES)).all():
            raise DataError(f"labels from {self.labels.min()} to {self.labels.max()}, expected digits 0 to 9")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: NDArray[np.int64]) -> "Digits":
        """Some of them, by number."""
        return Digits(images=self.images[which], labels=self.labels[which])


def read_digits(path: Path) -> tuple[Digits, Digits | None]:
    """Training digits, and the test digits if the source has them apart.

    path  a folder of MNIST's idx files (`train-images-idx3-ubyte` ..., also .gz; `t10k-...` for the test), or a
          pyramid of single digits with labels, level 32x32

    Raises DataError for anything else.
    """
    if path.is_dir():
        test = read_idx_pair(path, TEST) if _idx_file(path, TEST, "images-idx3") else None
        return read_idx_pair(path, TRAIN), test
    return read_pyramid(path), None


def read_idx_pair(folder: Path, part: str) -> Digits:
    """The idx files of a part ('train' or 't10k'), padded to 32x32. Raises DataError."""
    found = [_idx_file(folder, part, kind) for kind in ("images-idx3", "labels-idx1")]
    if found[0] is None or found[1] is None:
        raise DataError(f"{folder} has no {part}-images-idx3-ubyte and {part}-labels-idx1-ubyte (or .gz) of MNIST")
    labels = read_idx(found[1], IDX_LABELS).astype(np.int64)
    return Digits(images=padded(read_idx(found[0], IDX_IMAGES), found[0]), labels=labels)


def _idx_file(folder: Path, part: str, kind: str) -> Path | None:
    names = [f"{part}-{kind}-ubyte", f"{part}-{kind}-ubyte.gz", f"{part}-{kind.replace('-', '.')}-ubyte"]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """The array of an idx file of unsigned bytes, plain or gzip. Raises DataError when it is not one or cut short."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_IDX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    dimensions = magic & 0xFF
    head = 4 * (1 + dimensions)
    if len(content) > MAX_IDX_BYTES:
        raise DataError(f"{path}: more than {MAX_IDX_BYTES:,} bytes, not one of MNIST's files")
    if len(content) < head or int.from_bytes(content[:4], "big") != magic:
        raise DataError(f"{path}: not an idx file of {dimensions} dimensions of unsigned bytes")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    expected = head + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DataError(f"{path}: {len(content):,} bytes, expected {expected:,} for {shape}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def padded(images: NDArray[np.uint8], where: Path) -> NDArray[np.uint8]:
    """(N, h, w) -> (N, 32, 32), black around. Raises DataError for larger ones."""
    height, width = images.shape[1:]
    if not len(images) or height > SIDE or width > SIDE:
        raise DataError(f"{where}: {len(images)} images of {height}x{width}, expected some of at most {SIDE}x{SIDE}")
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return np.pad(images, ((0, 0), (top, SIDE - height - top), (left, SIDE - width - left)))


def read_pyramid(path: Path) -> Digits:
    """Single digits of a pyramid with labels: level 32x32, three equal channels. Raises DataError."""
    from celebahq_tools.errors import CelebAHQError
    from celebahq_tools.store import PyramidReader

    try:
        with PyramidReader(path) as reader:
            if SIDE not in reader.levels:
                raise DataError(f"{path}: no level {SIDE}x{SIDE}; it has {', '.join(map(str, reader.levels))}")
            labels = _class_numbers(reader)
            images = reader.read(np.arange(len(reader)), SIDE)
    except CelebAHQError as error:
        raise DataError(str(error)) from None
    if (images != images[:, :1]).any():
        raise DataError(f"{path}: coloured images, expected single digits in grey (not the stacked set)")
    return Digits(images=np.ascontiguousarray(images[:, 0]), labels=labels)


def _class_numbers(reader: "PyramidReader") -> NDArray[np.int64]:
    labels = reader.labels
    if labels is None:
        raise DataError(f"{reader.path}: no labels; the classifier needs to know the digits")
    return np.asarray(labels.argmax(axis=1) if labels.ndim == 2 else labels, dtype=np.int64)


def stack_numbers(digits: int, count: int, seed: int) -> NDArray[np.int64]:
    """Which digits become the channels of each stacked image: (count, 3), drawn uniformly."""
    return numpy_generator(seed, STACKS).integers(0, digits, (count, COLOURS))


def write_stacked(path: Path, digits: Digits, *, count: int, seed: int, progress: Progress | None = None) -> None:
    """Write the training set of the mode test: a pyramid of `count` stacks of three random digits (appendix E).

    Raises DataError when the file exists or cannot be written; it appears whole or not at all.
    """
    from celebahq_tools.errors import CelebAHQError
    from celebahq_tools.store import PARTIAL_SUFFIX, IndexRow, PyramidMeta, SlotWriter, create_pyramid

    if path.exists():
        raise DataError(f"{path} exists already; remove it or choose another name")
    numbers = stack_numbers(len(digits), count, seed)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    rows = [
        IndexRow(key=f"{slot:06d}", file="mnist1k", label=int(digits.labels[row] @ (100, 10, 1)))
        for slot, row in enumerate(numbers)
    ]
    meta = PyramidMeta(created_by="pgan mnist1k stack", build_config={"count": count, "seed": seed})
    try:
        partial.unlink(missing_ok=True)
        create_pyramid(partial, res=SIDE, rows=rows, meta=meta, label_names=[f"{mode:03d}" for mode in range(1000)])
        with SlotWriter(partial) as writer:
            for slot, row in enumerate(numbers):
                writer.write(slot, digits.images[row])
                if progress is not None and ((slot + 1) % BLOCK == 0 or slot + 1 == count):
                    progress(slot + 1, count)
            writer.sync()
        partial.replace(path)
    except CelebAHQError as error:
        partial.unlink(missing_ok=True)
        raise DataError(str(error)) from None
