"""Laplacian pyramid (Burt & Adelson 1983) of one image, and the patches under given positions.

down(x): 5x5 binomial, mirror border without repeating the edge, every second pixel from 0.
up(x):   zeros between the pixels, four times the same filter, same border.
Level i is G_i - up(G_i+1); the last level is the low-pass G itself. OpenCV's pyrDown and pyrUp compute these.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from metrics.sliced.config import CHANNELS, DESCRIPTOR_VALUES, PATCH, level_sizes

UINT16_SCALE = 256
"""pyrDown of 256 * uint8 in 16 bits is 256 * down(x), exactly: the weights are multiples of 1/256."""

Float32 = NDArray[np.float32]


class PyramidBuffers:
    """Scratch space for the pyramid of one image; one per thread.

    Peak size is about 8 bytes per value of the image, 24 MiB at 1024².
    """

    def __init__(self, res: int) -> None:
        self.sizes = level_sizes(res)
        self.wide = np.empty((CHANNELS, res, res), np.uint16)
        self.wide_half = np.empty((CHANNELS, res // 2, res // 2), np.uint16)
        self.low = [np.empty((CHANNELS, size, size), np.float32) for size in self.sizes]
        self.up = [np.empty((CHANNELS, size, size), np.float32) for size in self.sizes[:-1]]

    def fill(self, image: NDArray[np.uint8]) -> None:
        """Compute G_0 ... and up(G_1) ... of an image (3, R, R) uint8 into `low` and `up`.

        G_0 is copied as float32 last, for its own patches.
        """
        if len(self.sizes) > 1:
            np.left_shift(image, 8, out=self.wide, dtype=np.uint16, casting="unsafe")
            for channel in range(CHANNELS):
                cv2.pyrDown(self.wide[channel], dst=self.wide_half[channel])
            np.multiply(self.wide_half, np.float32(1 / UINT16_SCALE), out=self.low[1], casting="unsafe")
        for finer, coarser in zip(self.low[1:], self.low[2:], strict=False):
            for channel in range(CHANNELS):
                cv2.pyrDown(finer[channel], dst=coarser[channel])
        for coarser, up in zip(self.low[1:], self.up, strict=True):
            for channel in range(CHANNELS):
                cv2.pyrUp(coarser[channel], dst=up[channel])


def laplacian_pyramid(image: NDArray[np.uint8]) -> list[Float32]:
    """All levels of an image (3, R, R) uint8, finest first: (3, r, r) float32 in grey levels."""
    buffers = PyramidBuffers(image.shape[-1])
    buffers.fill(image)
    low: list[Float32] = [image.astype(np.float32), *buffers.low[1:]]
    levels = [fine - up for fine, up in zip(low, buffers.up, strict=False)]
    return [*levels, low[-1].copy()]


def patch_offsets(res: int, *, transposed: bool) -> NDArray[np.int64]:
    """(147,) offsets of a patch's values from its top-left pixel in a flat (3, res, res) image.

    Values are in the order channel, row, column; `transposed` exchanges row and column.
    """
    steps = np.arange(PATCH, dtype=np.int64)
    plane = steps[:, None] + steps * res if transposed else steps[:, None] * res + steps
    channels = np.arange(CHANNELS, dtype=np.int64)[:, None, None] * (res * res)
    return (channels + plane).reshape(DESCRIPTOR_VALUES)


def descriptors(
    image: NDArray[np.uint8],
    corners: Sequence[NDArray[np.int64]],
    offsets: Sequence[NDArray[np.int64]],
    buffers: PyramidBuffers,
) -> list[Float32]:
    """Patches of one image at every level: list of (P, 147) float32, finest level first.

    image    (3, R, R) uint8
    corners  per level (P,) flat index y * r + x of the top-left pixel of each patch
    offsets  per level, from `patch_offsets`
    """
    buffers.fill(image)
    patches = []
    for level, (corner, offset) in enumerate(zip(corners, offsets, strict=True)):
        index = corner[:, None] + offset
        low = image if level == 0 else buffers.low[level]
        patch = low.reshape(-1).take(index).astype(np.float32, copy=False)
        if level < len(buffers.up):
            patch -= buffers.up[level].reshape(-1).take(index)
        patches.append(patch)
    return patches
