"""Images of one level of an HDF5 pyramid."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError
from metrics.sources.base import ImageSet, replicate_channels
from metrics.sources.labelled import class_names, with_labels


class PyramidSet(ImageSet):
    """One level of a pyramid file; `res` None is the finest.

    Levels are read as stored, never resized: a resizer named for the other set of a comparison is not used here.
    """

    kind = "pyramid"

    def __init__(self, path: Path, *, res: int | None) -> None:
        from celebahq_tools.errors import CelebAHQError
        from celebahq_tools.store import PyramidReader

        try:
            self._reader = PyramidReader(path)
        except CelebAHQError as error:
            raise ImageSetError(str(error)) from error
        levels = self._reader.levels
        if res is not None and res not in levels:
            known = ", ".join(str(level) for level in levels)
            raise ImageSetError(f"{path} has no level of {res} pixels; it has {known}")
        self.label = str(path)
        self.n = len(self._reader)
        self.res = self._reader.resolution if res is None else res
        self.resizer = None if self.res == self._reader.resolution else "pyramid-level"
        if self.n == 0:
            raise ImageSetError(f"{path} holds no images")

    def with_labels(self, text: str) -> ImageSet:
        """Its images that have certain labels, such as 'class=cat,Male=1'; ImageSetError if there are none."""
        from celebahq_tools.errors import CelebAHQError

        try:
            return with_labels(self, self._reader, text)
        except CelebAHQError as error:
            raise ImageSetError(str(error)) from error

    def class_names(self) -> list[str]:
        """Its classes that have images; ImageSetError if it has no classes."""
        return class_names(self._reader)

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order."""
        from celebahq_tools.errors import CelebAHQError

        wanted = np.asarray(indices)
        try:
            return replicate_channels(self._reader.read(wanted, self.res))
        except (CelebAHQError, OSError) as error:
            raise ImageSetError(f"{self.label}: images {wanted.min()}..{wanted.max()}: {error}") from error

    def _fingerprint(self) -> str:
        return self._reader.fingerprint()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
