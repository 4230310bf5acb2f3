"""Laplacian pyramid (Burt & Adelson 1983) of one image, and the patches under given positions.

down(x): 5x5 binomial, mirror border without repeating the edge, every second pixel from 0.
up(x):   zeros between the pixels, four times the same filter, same border.
Level i is G_i - up(G_i+1); the last level is the low-pass G itself. OpenCV's pyrDown and pyrUp compute these.

At the finest level up(G_1) is needed under the patches only and is computed there: in one dimension pixel 2k is
(g[k-1] + 6 g[k] + g[k+1]) / 8 and pixel 2k+1 is (g[k] + g[k+1]) / 2, with g[-1] = g[1] and g[m] = g[m-1].
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from metrics.sliced.config import CHANNELS, DESCRIPTOR_VALUES, PATCH, level_sizes

WINDOW = 6
"""Coarse pixels along a side that decide a patch of 7 pixels."""
WIDE = 2 * WINDOW - 3
"""Fine pixels along a side that such a window decides: 5 odd ones around 4 even ones."""
PATCH_UP_FROM = 512
"""From this side on, up() is computed under the patches only; below, on the whole plane."""
WHOLE_UP_TO = 128
"""Up to this side the Laplacian itself is computed on the whole plane, which is smaller than its patches."""

Float32 = NDArray[np.float32]


class PyramidBuffers:
    """Scratch space for the pyramid and the patches of one image; one per thread, about 10 MiB at 1024².

    low      levels from the second: (3, r, r) float32; G, or the Laplacian up to WHOLE_UP_TO
    up       per level but the last: up() of the next level, None where it is computed under patches only
    patches  (levels, P, 147) float32, what `descriptors` returns
    """

    def __init__(self, res: int, patches: int) -> None:
        self.sizes = level_sizes(res)
        self.plane = np.empty((res, res), np.float32)
        self.low = [np.empty((CHANNELS, size, size), np.float32) for size in self.sizes[1:]]
        self.up = [
            np.empty((CHANNELS, size, size), np.float32) if size < PATCH_UP_FROM else None for size in self.sizes[:-1]
        ]
        self.mirrors = [mirror_index(size) for size in self.sizes[1:]]
        self.index = np.empty((patches, DESCRIPTOR_VALUES), np.int64)
        self.under = np.empty((patches, DESCRIPTOR_VALUES), np.float32)
        self.patches = np.empty((len(self.sizes), patches, DESCRIPTOR_VALUES), np.float32)

    def fill(self, image: NDArray[np.uint8]) -> None:
        """Compute `low` and `up` of an image (3, R, R) uint8."""
        if not self.low:
            return
        for channel in range(CHANNELS):
            np.copyto(self.plane, image[channel])
            cv2.pyrDown(self.plane, dst=self.low[0][channel])
        for finer, coarser in pairwise(self.low):
            for channel in range(CHANNELS):
                cv2.pyrDown(finer[channel], dst=coarser[channel])
        for coarser, up in zip(self.low, self.up, strict=True):
            if up is not None:
                for channel in range(CHANNELS):
                    cv2.pyrUp(coarser[channel], dst=up[channel])
        for finer, up in zip(self.low, self.up[1:], strict=False):
            if up is not None and up.shape[-1] <= WHOLE_UP_TO:
                finer -= up


def laplacian_pyramid(image: NDArray[np.uint8]) -> list[Float32]:
    """All levels of an image (3, R, R) uint8, finest first: (3, r, r) float32 in grey levels."""
    levels: list[Float32] = [image.astype(np.float32)]
    while levels[-1].shape[-1] > level_sizes(image.shape[-1])[-1]:
        levels.append(np.stack([cv2.pyrDown(plane) for plane in levels[-1]]))
    for finer, coarser in pairwise(levels):
        finer -= np.stack([cv2.pyrUp(plane) for plane in coarser])
    return levels


def patch_offsets(res: int, *, transposed: bool) -> NDArray[np.int64]:
    """(147,) offsets of a patch's values from its top-left pixel in a flat (3, res, res) image.

    Values are in the order channel, row, column; `transposed` exchanges row and column.
    """
    steps = np.arange(PATCH, dtype=np.int64)
    plane = steps[:, None] + steps * res if transposed else steps[:, None] * res + steps
    channels = np.arange(CHANNELS, dtype=np.int64)[:, None, None] * (res * res)
    return (channels + plane).reshape(DESCRIPTOR_VALUES)


def mirror_index(size: int) -> NDArray[np.int64]:
    """Pixel that stands in for pixel k - 1 of a coarse row of `size`, k = 0 .. size + 2."""
    index = np.arange(-1, size + 2)
    return np.where(index < 0, -index, np.minimum(index, size - 1))


def up_patches(coarse: Float32, y: NDArray[np.int64], x: NDArray[np.int64], mirror: NDArray[np.int64]) -> Float32:
    """up(coarse) under patches whose top-left pixels are (y, x): (P, 3, 7, 7) float32.

    coarse   (3, m, m) float32
    mirror   from `mirror_index(m)`
    """
    size = coarse.shape[-1]
    steps = np.arange(WINDOW)
    rows = mirror[((y + 1) >> 1)[:, None] + steps] * size
    columns = mirror[((x + 1) >> 1)[:, None] + steps]
    planes = np.arange(CHANNELS)[:, None, None] * (size * size)
    window = coarse.reshape(-1).take(rows[:, None, :, None] + columns[:, None, None, :] + planes)
    wide = _up_last_axis(window)
    tall = _up_last_axis(wide.swapaxes(2, 3)).swapaxes(2, 3)
    odd_y, odd_x = (y & 1).astype(bool), (x & 1).astype(bool)
    out = np.empty((len(y), CHANNELS, PATCH, PATCH), np.float32)
    for top in (0, 1):
        for left in (0, 1):
            chosen = (odd_y != bool(top)) & (odd_x != bool(left))
            out[chosen] = tall[chosen, :, top : top + PATCH, left : left + PATCH]
    return out


def _up_last_axis(window: Float32) -> Float32:
    """(..., 6) coarse pixels g[0..5] -> (..., 9): fine pixels at 0.5, 1, 1.5 ... 4.5."""
    wide = np.empty((*window.shape[:-1], WIDE), np.float32)
    between = window[..., :-1] + window[..., 1:]
    np.multiply(between, np.float32(0.5), out=wide[..., 0::2])
    centre = window[..., 1:-1] * np.float32(4)
    centre += between[..., :-1]
    centre += between[..., 1:]
    np.multiply(centre, np.float32(0.125), out=wide[..., 1::2])
    return wide


def descriptors(
    image: NDArray[np.uint8],
    corners: Sequence[NDArray[np.int64]],
    offsets: Sequence[NDArray[np.int64]],
    buffers: PyramidBuffers,
    *,
    transposed: bool,
) -> Float32:
    """Patches of one image at every level: (levels, P, 147) float32, finest level first; overwritten next time.

    image    (3, R, R) uint8
    corners  per level (P,) flat index y * r + x of the top-left pixel of each patch
    offsets  per level, from `patch_offsets`
    """
    buffers.fill(image)
    index, under = buffers.index, buffers.under
    for level, (corner, offset) in enumerate(zip(corners, offsets, strict=True)):
        np.add(corner[:, None], offset, out=index)
        patch = buffers.patches[level]
        if level == 0:
            patch[...] = image.reshape(-1).take(index)
        else:
            # Every index is valid; 'clip' only spares take() a copy of its output.
            buffers.low[level - 1].reshape(-1).take(index, out=patch, mode="clip")
        if level == len(buffers.up):
            break
        up = buffers.up[level]
        if up is not None and level > 0 and buffers.sizes[level] <= WHOLE_UP_TO:
            continue
        if up is not None:
            patch -= up.reshape(-1).take(index, out=under, mode="clip")
        else:
            y, x = np.divmod(corner, buffers.sizes[level])
            wide = up_patches(buffers.low[level], y, x, buffers.mirrors[level])
            patch -= (wide.swapaxes(2, 3) if transposed else wide).reshape(patch.shape)
    return buffers.patches
