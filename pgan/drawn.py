"""The samples of a generator, drawn once and kept while several metrics read them."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from metrics.sources.base import ImageSet
from pgan.errors import DiskSpaceError

MEMORY_BYTES = 1 << 30
"""More samples than this go to an unnamed temporary file."""

BATCH = 64


class DrawnSet(ImageSet):
    """Images of another set from an array (N, 3, R, R) uint8; names, and is, that set."""

    def __init__(self, source: ImageSet, images: NDArray[np.uint8]) -> None:
        self.source, self._images = source, images
        self.label, self.kind = source.label, source.kind
        self.n, self.res, self.resizer = source.n, source.res, source.resizer

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order."""
        return np.ascontiguousarray(self._images[np.asarray(indices)])

    def _fingerprint(self) -> str:
        return self.source.fingerprint

    def close(self) -> None:
        """Close the set that was drawn."""
        self.source.close()


@contextmanager
def drawn(source: ImageSet, progress: Callable[[int, int], None] | None = None) -> Iterator[ImageSet]:
    """All images of `source` as an array in memory, or in a temporary file when they are many.

    progress  called as progress(done, total) in images. Raises DiskSpaceError when they fit nowhere.
    """
    shape = (source.n, 3, source.res, source.res)
    size = int(np.prod(shape, dtype=np.int64))
    with tempfile.TemporaryFile() as file:
        images: NDArray[np.uint8]
        if size <= MEMORY_BYTES:
            images = np.empty(shape, np.uint8)
        else:
            try:
                # A memory map of a file with holes is a crash when the disk fills up.
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise DiskSpaceError(
                    f"{size / (1 << 30):.1f} GiB of samples do not fit into {tempfile.gettempdir()} "
                    f"({error.strerror}); name another folder with TMPDIR or take fewer"
                ) from None
            images = np.memmap(file, np.uint8, "r+", shape=shape)
        done = 0
        for batch in source.batches(BATCH):
            images[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, source.n)
        yield DrawnSet(source, images)
