"""The interface of a set of images and what all kinds share.

Shapes: images (N, 3, R, R) uint8 [0, 255], RGB; grayscale is replicated to three channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError
from metrics.protocol import SetStamp

RESIZERS = ("box", "bilinear", "bicubic", "lanczos")
"""Pillow's antialiased filters, 8 bits per channel; stamped as `pillow-NAME`."""

CHANNELS = 3


class ImageSet(ABC):
    """A numbered set of square RGB images of one size, read in batches.

    label    what people call it
    kind     'pyramid', 'folder', 'zip', 'array' ...
    n        number of images
    res      side in pixels of what `batches` yields
    resizer  name of the resizer that gave the images this side, or None
    threads  whether `read` may be called from several threads at once
    where    the labels by which its images were chosen, or None
    reopen   (path, res, resizer) by which another process opens the same set, or None
    """

    label: str
    kind: str
    n: int
    res: int
    resizer: str | None
    threads: bool = True
    where: str | None = None
    reopen: tuple[str, int | None, str | None] | None = None

    @abstractmethod
    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order: (k, 3, R, R) uint8, C-contiguous."""

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) of the set's content as stored; cheap for pyramids, reads everything for others."""
        return self._fingerprint()

    @abstractmethod
    def _fingerprint(self) -> str: ...

    @abstractmethod
    def close(self) -> None:
        """Release files; the set cannot be read afterwards."""

    def batches(
        self, batch: int, indices: Sequence[int] | NDArray[np.integer] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield (<= batch, 3, R, R) uint8 of all images, or of those at `indices`, in that order."""
        if batch < 1:
            raise ImageSetError(f"batch size is {batch}, expected 1 or more")
        chosen = np.arange(self.n) if indices is None else np.asarray(indices)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.n):
            raise ImageSetError(f"{self.label} has images 0..{self.n - 1}, asked for index {chosen.max()}")
        for start in range(0, len(chosen), batch):
            yield self.read(chosen[start : start + batch])

    def first(self, n: int) -> "ImageSet":
        """The first n images as a set of their own; ImageSetError if there are fewer."""
        if n < 1 or n > self.n:
            raise ImageSetError(f"{self.label} has {self.n} images, asked for {n}; ask for at most {self.n}")
        return self if n == self.n else FirstImages(self, n)

    def stamp(self, *, used: int | None = None, selection: str = "all") -> SetStamp:
        """How results name this set."""
        return SetStamp(
            label=self.label,
            kind=self.kind,
            n=self.n if used is None else used,
            available=self.n,
            res=self.res,
            resizer=self.resizer,
            fingerprint=self.fingerprint,
            selection=selection,
            where=self.where,
        )

    def __len__(self) -> int:
        return self.n

    def __enter__(self) -> "ImageSet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FirstImages(ImageSet):
    """The first n images of another set; its fingerprint names both."""

    def __init__(self, whole: ImageSet, n: int) -> None:
        self.whole = whole
        self.label, self.kind, self.res, self.resizer = whole.label, whole.kind, whole.res, whole.resizer
        self.n, self.threads, self.reopen, self.where = n, whole.threads, whole.reopen, whole.where

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order."""
        return self.whole.read(indices)

    def _fingerprint(self) -> str:
        from hashlib import sha256

        return sha256(f"{self.whole.fingerprint} first {self.n}".encode()).hexdigest()

    def close(self) -> None:
        """Close the set this is a part of."""
        self.whole.close()


def sample_indices(available: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n of `available` image numbers without repetition, each set equally likely, ascending: (n,) int64."""
    if n > available:
        raise ImageSetError(f"the set has {available} images, asked for {n}; ask for at most {available}")
    return np.sort(rng.permutation(available)[:n]).astype(np.int64)


def replicate_channels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 1, R, R) -> (N, 3, R, R); three channels pass through; contiguous uint8 either way."""
    if images.shape[1] == 1:
        images = np.repeat(images, CHANNELS, axis=1)
    return np.ascontiguousarray(images)


def resize_chw(image: NDArray[np.uint8], res: int, resizer: str) -> NDArray[np.uint8]:
    """(C, H, W) uint8 with C of 1 or 3 -> (C, res, res) uint8 by the named Pillow filter."""
    from PIL import Image

    filters = {
        "box": Image.Resampling.BOX,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((res, res), filters[resizer])) for plane in image
    ]
    return np.stack(planes)
