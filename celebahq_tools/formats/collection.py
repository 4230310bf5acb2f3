"""What every format is read as: a list of images with their names and labels, and a reader of their pixels.

Legend: N images, A attributes, L continuous labels.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.pipeline.candidates import Candidate

T = TypeVar("T")

UNKNOWN = -1
MIN_DIGITS = 5
DIGEST_PIECES, DIGEST_PIECE_BYTES = 64, 1 << 14


class ImageReader(Protocol):
    """Reads the images of a collection. Light and picklable: workers get a copy and open files themselves."""

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """The (H, W, 3) uint8 RGB image at `position` of `file`; raises `PictureError`."""
        ...


class LazyList(Sequence[T], Generic[T]):
    """A list whose items are made when asked for."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...

    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return [self._make(number) for number in range(*place.indices(self._count))]
        if not -self._count <= place < self._count:
            raise IndexError(place)
        return self._make(place % self._count)


def numbered(count: int, prefix: str = "") -> LazyList[str]:
    """The names `prefix00000`, `prefix00001`, ..., of equal width."""
    width = max(MIN_DIGITS, len(str(count - 1)))
    return LazyList(count, lambda number: f"{prefix}{number:0{width}d}")


def repeated(value: T, count: int) -> LazyList[T]:
    """`value`, `count` times."""
    return LazyList(count, lambda _: value)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is known of the images, as in the index of a pyramid; None where a format has no such thing.

    labels      (N,) int, class numbers, -1 unknown
    attributes  (N, A) int8, -1 or +1, 0 unknown
    vectors     (N, L) float32, continuous labels, NaN unknown
    partition   (N,) int8: 0 train, 1 validation, 2 test, -1 unknown
    identity    (N,) int, -1 unknown
    quality     (N,) float64, NaN unknown
    landmarks   (N, 5, 2) float64 pixels, NaN unknown
    quad        (N, 4, 2) float64 pixels, NaN unknown
    """

    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    attributes: NDArray[np.int8] | None = None
    attribute_names: tuple[str, ...] = ()
    vectors: NDArray[np.float32] | None = None
    vector_names: tuple[str, ...] = ()
    partition: NDArray[np.int8] | None = None
    identity: NDArray[np.int64] | None = None
    quality: NDArray[np.float64] | None = None
    landmarks: NDArray[np.float64] | None = None
    quad: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A data set: its description, and random access to its images.

    kind         name of the format, as in `celebahq import KIND`
    root         the file or folder it was opened from
    digest       hex; changes when the list of images or where they come from changes
    keys         unique names, N of them
    files        where each image is, a path inside the source
    positions    where in its file each image is; only the reader understands it
    reader       reads the pixels
    natural_res  side of the images if all of them are square and of one size that is known, or None
    lossless     whether pixels come out as they were put in
    notes        what a person should know, a line each
    """

    kind: str
    root: Path
    digest: str
    keys: Sequence[str]
    files: Sequence[str]
    positions: Sequence[int] | NDArray[np.int64]
    reader: ImageReader
    natural_res: int | None
    lossless: bool
    columns: Columns = Columns()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def entry(self, number: int) -> Candidate:
        """What is known of one image."""
        columns = self.columns
        return Candidate(
            key=self.keys[number],
            file=self.files[number],
            position=int(self.positions[number]),
            label=_integer(columns.labels, number),
            attributes=_attributes(columns.attributes, number),
            vector=_floats(columns.vectors, number),
            partition=_integer(columns.partition, number),
            identity=_integer(columns.identity, number),
            quality=_quality(columns.quality, number),
            landmarks=_points(columns.landmarks, number),
            quad=_points(columns.quad, number),
        )

    def image(self, number: int) -> NDArray[np.uint8]:
        """The (H, W, 3) uint8 pixels of one image; raises `PictureError`."""
        return self.reader.image(self.files[number], int(self.positions[number]))

    def images(self) -> Iterator[tuple[str, NDArray[np.uint8], int | None]]:
        """Key, (H, W, 3) uint8 pixels and class number of every image in turn; raises `PictureError`."""
        for number in range(len(self)):
            yield self.keys[number], self.image(number), _integer(self.columns.labels, number)


class Entries(Sequence[Candidate]):
    """Images `numbers` of a collection as candidates, made when asked for."""

    def __init__(self, collection: Collection, numbers: NDArray[np.int64]) -> None:
        self._collection = collection
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...

    @overload
    def __getitem__(self, place: slice) -> "Entries": ...

    def __getitem__(self, place: int | slice) -> "Candidate | Entries":
        if isinstance(place, slice):
            return Entries(self._collection, self._numbers[place])
        return self._collection.entry(int(self._numbers[place]))

    def without(self, keys: set[str]) -> "Entries":
        """All but the images with these keys."""
        if not keys:
            return self
        kept = [self._collection.keys[int(number)] not in keys for number in self._numbers]
        return Entries(self._collection, self._numbers[np.array(kept, bool)])


def digest_of(*parts: str | bytes | int) -> str:
    """Sha256 hex digest of a few values, each of them delimited."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Sha256 hex digest of a file's size and of pieces spread evenly over it: tells large files apart quickly."""
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        for piece in range(DIGEST_PIECES):
            file.seek(max(0, size - DIGEST_PIECE_BYTES) * piece // (DIGEST_PIECES - 1))
            digest.update(file.read(DIGEST_PIECE_BYTES))
    return digest.hexdigest()


def _integer(column: NDArray[np.integer] | None, number: int) -> int | None:
    return None if column is None or column[number] == UNKNOWN else int(column[number])


def _attributes(column: NDArray[np.int8] | None, number: int) -> tuple[int, ...] | None:
    return None if column is None or not column[number].any() else tuple(column[number].tolist())


def _floats(column: NDArray[np.float32] | None, number: int) -> tuple[float, ...] | None:
    return None if column is None or np.isnan(column[number]).all() else tuple(column[number].tolist())


def _quality(column: NDArray[np.float64] | None, number: int) -> float | None:
    return None if column is None or np.isnan(column[number]) else float(column[number])


def _points(column: NDArray[np.float64] | None, number: int) -> tuple[tuple[float, float], ...] | None:
    if column is None or np.isnan(column[number]).any():
        return None
    return tuple((float(x), float(y)) for x, y in column[number])
