"""Laplacian pyramid (Burt & Adelson 1983), and up() under given patches alone.

down(x): 5x5 binomial, mirror border without repeating the edge, every second pixel from 0.
up(x):   zeros between the pixels, four times the same filter, same border.
Level i is G_i - up(G_i+1); the last level is the low-pass G itself. OpenCV's pyrDown and pyrUp compute these.

Of large levels up() is needed under the patches only and is computed there: in one dimension pixel 2k is
(g[k-1] + 6 g[k] + g[k+1]) / 8 and pixel 2k+1 is (g[k] + g[k+1]) / 2, with g[-1] = g[1] and g[m] = g[m-1].
"""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from metrics.sliced.config import CHANNELS, DESCRIPTOR_VALUES, PATCH, level_sizes

WINDOW = 6
"""Coarse pixels along a side that decide a patch of 7 pixels."""
WIDE = 2 * WINDOW - 3
"""Fine pixels along a side that such a window decides: 5 odd ones around 4 even ones."""

Float32 = NDArray[np.float32]


def laplacian_pyramid(image: NDArray[np.uint8]) -> list[Float32]:
    """All levels of an image (3, R, R) uint8, finest first: (3, r, r) float32 in grey levels."""
    levels: list[Float32] = [image.astype(np.float32)]
    while levels[-1].shape[-1] > level_sizes(image.shape[-1])[-1]:
        levels.append(np.stack([cv2.pyrDown(plane) for plane in levels[-1]]))
    for finer, coarser in pairwise(levels):
        finer -= np.stack([cv2.pyrUp(plane) for plane in coarser])
    return levels


def patch_offsets(row_step: int, plane_step: int, *, transposed: bool) -> NDArray[np.int64]:
    """(147,) offsets of a patch's values from its top-left pixel in flat planes.

    Values are in the order channel, row, column; `transposed` exchanges row and column.
    """
    steps = np.arange(PATCH, dtype=np.int64)
    plane = steps[:, None] + steps * row_step if transposed else steps[:, None] * row_step + steps
    channels = np.arange(CHANNELS, dtype=np.int64)[:, None, None] * plane_step
    return (channels + plane).reshape(DESCRIPTOR_VALUES)


def mirror_index(size: int) -> NDArray[np.int64]:
    """Pixel that stands in for pixel k - 1 of a coarse row of `size`, k = 0 .. size + 2."""
    index = np.arange(-1, size + 2)
    return np.where(index < 0, -index, np.minimum(index, size - 1))


def up_patches(
    coarse: Float32,
    first: NDArray[np.int64],
    plane_step: int,
    size: int,
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    mirror: NDArray[np.int64],
) -> Float32:
    """up() of coarse planes under patches whose top-left pixels are (y, x): (P, 3, 7, 7) float32.

    coarse      flat planes of side `size`
    first       (P,) where the first plane of each patch's image begins
    plane_step  values from one plane to the next
    mirror      from `mirror_index(size)`
    """
    steps = np.arange(WINDOW)
    rows = mirror[((y + 1) >> 1)[:, None] + steps] * size + first[:, None]
    columns = mirror[((x + 1) >> 1)[:, None] + steps]
    planes = np.arange(CHANNELS)[:, None, None] * plane_step
    window = coarse.take(rows[:, None, :, None] + columns[:, None, None, :] + planes)
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
