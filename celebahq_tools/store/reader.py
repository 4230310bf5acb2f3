"""Read a pyramid file from any process, thread or DataLoader worker.

Contiguous files (as built) are read with `preadv` at known offsets, without HDF5 once opened: about as fast
as a memory map (benchmarks/store_layout.md), but what was read does not count as the process's memory, and a file
that is cut short or a failing disk is an error instead of a SIGBUS. Chunked files (repacked, or not ours) are
read through h5py, by a handle that belongs to one process and is opened when first used.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError
from celebahq_tools.store import schema
from celebahq_tools.store.blocks import BLOCK_IMAGES, WINDOW_BLOCKS, shuffled_order
from celebahq_tools.store.index import PyramidIndex, read_index
from celebahq_tools.store.layout import DatasetLayout, FileLayout, hdf5_errors, read_layout
from celebahq_tools.store.slots import read_fully

if TYPE_CHECKING:
    import h5py

Selection = int | slice | Sequence[int] | NDArray[np.integer[Any]]

FINGERPRINT_RES = 32
"""Level whose pixels identify the content of a file that has no checksums (or its finest, if smaller)."""

_FINGERPRINT_BATCH = 256


class PyramidReader:
    """Images of a pyramid file at every resolution.

    Looks at the structure when made and opens the file again when first read. May be pickled, used after
    fork, and shared between threads.
    """

    def __init__(self, path: str | os.PathLike[str], *, allow_partial: bool = False) -> None:
        """`allow_partial` accepts unfinished `.partial` files, whose unwritten images are black.

        Whatever `read_layout` raises (SourceError, FormatError) is raised here already.
        """
        self._layout = read_layout(path, allow_partial=allow_partial)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._file: h5py.File | None = None
        self._descriptor: int | None = None
        self._index: PyramidIndex | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_layout": self._layout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._layout = state["_layout"]
        self._reset()

    def __len__(self) -> int:
        return self._layout.num_images

    def __enter__(self) -> "PyramidReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The file that is read."""
        return self._layout.path

    @property
    def layout(self) -> FileLayout:
        """Structure and attributes of the file."""
        return self._layout

    @property
    def resolution(self) -> int:
        """The finest resolution."""
        return self._layout.resolution

    @property
    def levels(self) -> tuple[int, ...]:
        """All resolutions, finest first."""
        return tuple(self._layout.levels)

    @property
    def has_index(self) -> bool:
        """False for files that were not written by this program."""
        return bool(self._layout.columns)

    @property
    def index(self) -> PyramidIndex:
        """The index columns, read on first use. Raises FormatError when there is no index."""
        if self._index is None:
            self._index = read_index(self._layout)
        return self._index

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Names of the columns of `index.attributes`."""
        return tuple(self._layout.attributes.get(schema.ATTR_ATTRIBUTE_NAMES) or ())

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names, by label number; empty when unknown."""
        return tuple(self._layout.attributes.get(schema.ATTR_LABEL_NAMES) or ())

    @property
    def vector_names(self) -> tuple[str, ...]:
        """Names of the columns of `index.vector`, the continuous labels."""
        return tuple(self._layout.attributes.get(schema.ATTR_VECTOR_NAMES) or ())

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        """(N, L) float32 continuous labels, NaN where unknown, or None; see `vector_names`."""
        if not self.has_index or self.index.vector.shape[1] == 0:
            return None
        return self.index.vector

    @property
    def labels(self) -> NDArray[Any] | None:
        """(N,) int64 class numbers in our files, (N, L) of `<stem>-labels.npy` beside others, or None."""
        if self.has_index:
            labels = self.index.label
            known: bool = (labels != schema.UNKNOWN_INTEGER).any().item()
            return labels if known else None
        path = self.path.with_name(f"{self.path.stem}-labels.npy")
        if not path.is_file():
            return None
        try:
            labels = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise FormatError(f"{path}: not a readable .npy array of numbers ({error})") from None
        if not isinstance(labels, np.ndarray) or labels.ndim != 2 or len(labels) != len(self):
            shape = getattr(labels, "shape", None)
            raise FormatError(f"{path}: shape {shape}, expected ({len(self)}, L), one row per image")
        return labels

    def read(self, which: Selection, res: int | None = None) -> NDArray[np.uint8]:
        """Images as a fresh (n, 3, r, r) uint8 array, in the order asked for; an int gives (3, r, r).

        Negative numbers count from the end. `res` defaults to the finest level.
        Raises IndexError for images outside the file, ValueError for a level that it does not have.
        """
        place = self._place(res)
        if isinstance(which, int | np.integer):
            image: NDArray[np.uint8] = self._fetch(place, self._wanted(np.array([which], np.int64)))[0]
            return image
        if isinstance(which, slice):
            return self._fetch(place, np.arange(len(self), dtype=np.int64)[which])
        return self._fetch(place, self._wanted(np.asarray(which)))

    def iter_blocks(
        self,
        res: int,
        batch: int,
        *,
        rng: np.random.Generator | None = None,
        block: int = BLOCK_IMAGES,
        window: int = WINDOW_BLOCKS,
        indices: Sequence[int] | NDArray[np.integer[Any]] | None = None,
        drop_last: bool = False,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Go once through all images (or `indices`): yields (numbers (n,), images (n, 3, r, r) uint8).

        With `rng` in a block-shuffled order (`shuffled_order`), without it in the given one. The last batch
        may be smaller; `drop_last` leaves it out.
        """
        if batch < 1:
            raise ValueError(f"batch must be positive, not {batch}")
        place = self._place(res)
        order = np.arange(len(self), dtype=np.int64)
        if indices is not None:
            order = self._wanted(np.asarray(indices))
        if rng is not None:
            order = shuffled_order(order, rng, block=block, window=window)
        return self._batches(place, order, batch, drop_last)

    def fingerprint(self) -> str:
        """A stable identity of the content: the same for a repacked copy, another for any changed image.

        "sha256-index:HEX" over resolution, number of images and their checksums; for files without checksums
        "sha256-32x32:HEX" over the pixels of that level. Raises FormatError when an image was never written.
        """
        if self.has_index and "sha256" in self._layout.columns:
            digests = self.index.sha256
            missing = np.flatnonzero(~digests.any(axis=1))
            if len(missing):
                raise FormatError(f"{self.path}: image {missing[0]} was never written")
            digest = self._content_hash(self.resolution)
            digest.update(digests.tobytes())
            return f"sha256-index:{digest.hexdigest()}"
        res = max((r for r in self.levels if r <= FINGERPRINT_RES), default=self.levels[-1])
        digest = self._content_hash(res)
        for _, images in self.iter_blocks(res, _FINGERPRINT_BATCH):
            digest.update(images)
        return f"sha256-{res}x{res}:{digest.hexdigest()}"

    def close(self) -> None:
        """Release the file; it opens again when used again."""
        with self._own_lock():
            if self._file is not None:
                self._file.close()
            self._file = None
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def _content_hash(self, res: int) -> Any:
        return hashlib.sha256(f"{schema.FORMAT_NAME} {res} {len(self)}\n".encode())

    def _batches(
        self, place: DatasetLayout, order: NDArray[np.int64], batch: int, drop_last: bool
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        end = len(order) - len(order) % batch if drop_last else len(order)
        for start in range(0, end, batch):
            numbers = order[start : min(start + batch, end)]
            yield numbers, self._fetch(place, numbers)

    def _place(self, res: int | None) -> DatasetLayout:
        place = self._layout.levels.get(self.resolution if res is None else res)
        if place is None:
            raise ValueError(f"{self.path}: no level {res}; it has {', '.join(map(str, self.levels))}")
        return place

    def _wanted(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        if numbers.size == 0:
            return np.empty(0, np.int64)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise IndexError(f"image numbers must be one-dimensional integers, not {numbers.dtype} {numbers.shape}")
        wanted = numbers.astype(np.int64)
        lowest, highest = wanted.min(), wanted.max()
        if lowest < -len(self) or highest >= len(self):
            number = lowest if lowest < -len(self) else highest
            raise IndexError(f"image {number} is outside 0..{len(self) - 1} of {self.path}")
        if lowest < 0:
            wanted[wanted < 0] += len(self)
        return wanted

    def _fetch(self, place: DatasetLayout, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = np.empty((len(numbers), *place.shape[1:]), np.uint8)
        if len(numbers) and place.offset is not None:
            self._fetch_contiguous(place, place.offset, numbers, images)
        elif len(numbers):
            self._fetch_chunked(place, numbers, images)
        return images

    def _fetch_contiguous(
        self, place: DatasetLayout, offset: int, numbers: NDArray[np.int64], images: NDArray[np.uint8]
    ) -> None:
        """One read per run of neighbours that are wanted in a row."""
        descriptor = self._raw()
        into = images.reshape(-1).data
        size = place.item_bytes
        wanted = numbers.tolist()
        first = 0
        for last in range(1, len(wanted) + 1):
            if last < len(wanted) and wanted[last] == wanted[last - 1] + 1:
                continue
            read_fully(descriptor, into[first * size : last * size], offset + wanted[first] * size, self.path)
            first = last

    def _fetch_chunked(self, place: DatasetLayout, numbers: NDArray[np.int64], images: NDArray[np.uint8]) -> None:
        """Runs of neighbours are read at once, so that a chunk of several images is decompressed once."""
        ascending = np.argsort(numbers, kind="stable")
        breaks = np.flatnonzero(np.diff(numbers[ascending]) != 1) + 1
        with hdf5_errors(self.path):
            dataset = self._opened()[place.name]
        for positions in np.split(ascending, breaks):
            first = int(numbers[positions[0]])
            with hdf5_errors(self.path):
                images[positions] = dataset[first : first + len(positions)]

    def _raw(self) -> int:
        """The file descriptor. Reads give their position, so it may be shared after fork and by threads."""
        if self._descriptor is None:
            with self._own_lock():
                if self._descriptor is None:
                    self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor

    def _opened(self) -> "h5py.File":
        """The HDF5 handle of this process."""
        import h5py

        with self._own_lock():
            if self._file is None:
                self._file = h5py.File(self.path, "r", locking=False)
            return self._file

    def _own_lock(self) -> threading.Lock:
        """The lock of this process. After fork, the inherited lock may be held for ever by a thread that does
        not exist here, and the HDF5 handle belongs to the parent: both are replaced.
        """
        if self._pid != os.getpid():
            self._lock, self._file, self._pid = threading.Lock(), None, os.getpid()
        return self._lock
