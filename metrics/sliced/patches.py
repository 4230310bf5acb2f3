"""The patches of a few images at a time, at every level of their Laplacian pyramids.

Calls of a few microseconds would keep threads waiting for one another, so the planes of a level lie below one another
in one tall image, and every step is one call for all of them. Each plane has a margin of rows above and below, which
hold what OpenCV would take for the pixels beyond the border; halving the image halves the margins. The finest level,
whose planes are large, is computed plane by plane, in the processor's cache.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from metrics.sliced.config import CHANNELS, DESCRIPTOR_VALUES, level_sizes
from metrics.sliced.laplacian import mirror_index, patch_offsets, up_patches
from metrics.sliced.statistics import SQUARES, SUM

PATCH_UP_FROM = 512
"""From this side on, up() is computed under the patches only; below, on the whole plane."""
MOST_IMAGES = 8
GROUP_PIXELS = 1 << 22
"""Pixels of the images that are handled together, at most MOST_IMAGES and at least one."""

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


def images_at_once(res: int) -> int:
    """Images that are best handed to a `PatchExtractor` together."""
    return max(1, min(MOST_IMAGES, GROUP_PIXELS // res**2))


class TallLevel:
    """One level of several images: `planes` (images, 3, margin + r + margin, r) float32."""

    def __init__(self, images: int, size: int, margin: int) -> None:
        self.size, self.margin = size, margin
        self.planes = np.zeros((images, CHANNELS, size + 2 * margin, size), np.float32)

    def tall(self, images: int) -> Float32:
        """The first images as one image."""
        return self.planes[:images].reshape(-1, self.size)

    @property
    def inner(self) -> Float32:
        """The planes without their margins."""
        return self.planes[:, :, self.margin : self.margin + self.size]

    @property
    def plane_step(self) -> int:
        """Values from one channel to the next."""
        return (self.size + 2 * self.margin) * self.size

    def places(self, images: int, corners: Int64) -> Int64:
        """Corners y * r + x (images, P) as places in the flat `planes`, of the first channel."""
        image = np.arange(images)[:, None] * (CHANNELS * self.plane_step)
        return corners + (image + self.margin * self.size)

    def mirror(self) -> None:
        """Fill the two rows beyond each border, as down() takes them: the edge pixel is not repeated."""
        planes, top, end = self.planes, self.margin, self.margin + self.size
        for step in (1, 2):
            planes[:, :, top - step] = planes[:, :, top + step]
            planes[:, :, end - 1 + step] = planes[:, :, end - 1 - step]

    def extend(self) -> None:
        """Fill the row beyond each border, as up() takes it: the last pixel is repeated."""
        planes, top, end = self.planes, self.margin, self.margin + self.size
        planes[:, :, top - 1] = planes[:, :, top + 1]
        planes[:, :, end] = planes[:, :, end - 1]


class PatchExtractor:
    """Computes patches; holds the scratch space of `images_at_once(res)` images, 30 MiB at 1024²; one per thread."""

    def __init__(self, res: int, patches: int, *, transposed: bool) -> None:
        """`transposed` exchanges row and column in the order of a patch's values."""
        self.sizes = sizes = level_sizes(res)
        self.images = images_at_once(res)
        self.patches, self.transposed = patches, transposed
        # The margin of the coarsest level is 1, and twice as much at each finer one.
        self._low = [TallLevel(self.images, size, size // sizes[-1]) for size in sizes[1:]]
        self._under_patches = res >= PATCH_UP_FROM
        self._fine = np.empty((1 if self._under_patches else CHANNELS, res, res), np.float32)
        whole = [level.planes.size for level in self._low[:-1] if level.size < PATCH_UP_FROM]
        self._up = np.empty(max([res * res, *whole]), np.float32)
        self._fine_flat = self._fine.reshape(-1)
        # Views that would take as long to make as the steps they are for.
        self._fine_planes = [self._fine[channel % len(self._fine)] for channel in range(CHANNELS)]
        self._up_plane = self._up[: res * res].reshape(res, res)
        below = self._low[0].inner if self._low else np.full((self.images, CHANNELS), None)
        self._below = [list(planes) for planes in below]
        steps = [res * res, *(level.plane_step for level in self._low)]
        self._offsets = [
            patch_offsets(size, step, transposed=transposed)[:, None] for size, step in zip(sizes, steps, strict=True)
        ]
        self._mirrors = [mirror_index(size) for size in sizes]
        self._index = np.empty((self.images, DESCRIPTOR_VALUES, patches), np.int64)
        self._doubles = np.empty((self.images, DESCRIPTOR_VALUES, patches))

    def extract(self, images: NDArray[np.uint8], corners: Sequence[Int64], out: Sequence[Float32]) -> None:
        """Patches of images (k, 3, R, R), k at most `self.images`.

        corners  per level (k, P), flat index y * r + x of the top-left pixel of each patch
        out      per level (k, 147, P), filled
        """
        count = len(images)
        self._finest(images, corners[0], out[0])
        for finer, coarser in pairwise(self._low):
            self._halve(finer, coarser, count)
        for level, tall in enumerate(self._low, start=1):
            self._lower(level, tall, corners[level], out[level])

    def channel_sums(self, patches: Float32) -> NDArray[np.float64]:
        """Sum and sum of squares per image and channel of (k, 147, P) patches, k at most `self.images`: (k, 3, 2)."""
        doubles = self._doubles[: len(patches)]
        np.copyto(doubles, patches)
        values = doubles.reshape(len(patches), CHANNELS, -1)
        sums = np.empty((len(patches), CHANNELS, 2))
        sums[:, :, SUM] = values.sum(axis=2)
        sums[:, :, SQUARES] = (values[:, :, None, :] @ values[..., None])[..., 0, 0]
        return sums

    def _finest(self, images: NDArray[np.uint8], corners: Int64, out: Float32) -> None:
        """Patches of the finest level, and the next level, image by image."""
        for number, image in enumerate(images):
            self._finest_of(number, image, corners[number], out[number])

    def _finest_of(self, number: int, image: NDArray[np.uint8], corners: Int64, out: Float32) -> None:
        """Patches of the finest level of one image, and that image's part of the next level."""
        for pixels, plane, below in zip(image, self._fine_planes, self._below[number], strict=True):
            np.copyto(plane, pixels)
            if below is None:
                continue
            cv2.pyrDown(plane, dst=below)
            if not self._under_patches:
                np.subtract(plane, cv2.pyrUp(below, dst=self._up_plane), out=plane)
        index = np.add(self._offsets[0], corners, out=self._index[0])
        if self._under_patches:
            out[...] = image.reshape(-1).take(index)
            self._subtract_up(0, slice(number, number + 1), corners[None], out[None])
        else:
            self._fine_flat.take(index, out=out, mode="clip")

    def _halve(self, finer: TallLevel, coarser: TallLevel, count: int) -> None:
        """down() of one level of the first `count` images to the next."""
        finer.mirror()
        cv2.pyrDown(finer.tall(count), dst=coarser.tall(count))

    def _lower(self, level: int, tall: TallLevel, corners: Int64, out: Float32) -> None:
        """Patches of all images at another level than the finest; G turns into the Laplacian on the way."""
        count = len(corners)
        last = level == len(self._low)
        under_patches = tall.size >= PATCH_UP_FROM and not last
        if not last and not under_patches:
            coarse, shape = self._low[level], tall.planes[:count].shape
            coarse.extend()
            up = self._up[: tall.planes[:count].size].reshape(shape)
            cv2.pyrUp(coarse.tall(count), dst=up.reshape(-1, tall.size))
            tall.inner[:count] -= up[:, :, tall.margin : tall.margin + tall.size]
        self._take(level, tall, corners, out, less_up=under_patches)

    def _take(self, level: int, tall: TallLevel, corners: Int64, out: Float32, *, less_up: bool) -> None:
        """Patches (k, 147, P) of a level; `less_up` subtracts up() of the next one under them."""
        places = tall.places(len(corners), corners)[:, None]
        index = np.add(self._offsets[level], places, out=self._index[: len(corners)])
        # Every index is valid; 'clip' only spares take() a copy of its output.
        tall.planes.reshape(-1).take(index, out=out, mode="clip")
        if less_up:
            self._subtract_up(level, slice(0, len(corners)), corners, out)

    def _subtract_up(self, level: int, images: slice, corners: Int64, out: Float32) -> None:
        """Subtract up() of the next level under the patches of some of the images."""
        coarse = self._low[level]
        first = coarse.places(images.stop, np.zeros((images.stop, 1), np.int64))[images]
        y, x = np.divmod(corners, self.sizes[level])
        under = up_patches(
            coarse.planes.reshape(-1),
            np.broadcast_to(first, y.shape).reshape(-1),
            coarse.plane_step,
            coarse.size,
            y.reshape(-1),
            x.reshape(-1),
            self._mirrors[level + 1],
        )
        under = (under.swapaxes(2, 3) if self.transposed else under).reshape(len(out), self.patches, -1)
        out -= under.swapaxes(1, 2)
