"""LANCZOS ("ANTIALIAS") reduction and enlargement of 8-bit pictures as Pillow 3.1.1 computes them.

Pillow 3.1.1 worked in float32 throughout; since 3.2 it uses fixed-point weights, which changes 0.002 to 0.14 %
of the samples. Here, for each output pixel i of one axis: centre = f32((i + 0.5) * scale), the taps from
floor(centre - support) to ceil(centre + support), the weights summed one after another in float32 and divided
by their sum, and the pixel 0.5 + sum(pixel * weight), added one after another in float32, cut to an integer.
The horizontal pass comes first and is stored in 8 bits; both passes always run.

Legend: pictures are (H, W, 3) uint8 [0, 255].
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.compiled import HAVE_NUMBA
from celebahq_tools.legacy.kernels import TAP_BLOCK, reduce_rows

LOBES = 3.0
"""Support of the filter in source pixels at scale 1."""

_TURN_ROWS = 128
"""Rows whose columns are turned into rows together; the turned band stays in the cache."""

_BAND_ROWS = 256
"""Rows the NumPy version holds in float32 at once."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Taps:
    """Weights of one axis, n output pixels with at most K taps each.

    start   (n,) int64, the first source pixel of each; start + K never passes the end of the source
    weight  (n, K) float32; zeros before the first and after the last tap fill it up, and change no sum
    """

    start: NDArray[np.int64]
    weight: NDArray[np.float32]


@lru_cache(maxsize=8)
def lanczos_taps(source: int, target: int) -> Taps:
    """Weights that bring an axis of `source` pixels to `target` pixels; both at least 1."""
    f32 = np.float32
    scale = f32(source) / f32(target)
    filter_scale = max(scale, f32(1.0))
    support = f32(LOBES) * filter_scale
    inverse = f32(1.0 / float(filter_scale))
    centre = ((np.arange(target, dtype=np.float64) + 0.5) * float(scale)).astype(f32)
    start = np.floor((centre - support).astype(np.float64)).clip(min=0).astype(np.int64)
    end = np.ceil((centre + support).astype(np.float64)).clip(max=source).astype(np.int64)
    taps = int((end - start).max())

    at = np.arange(taps)
    offset = (start[:, None] + at).astype(f32) - centre[:, None]
    argument = ((offset.astype(np.float64) + 0.5) * float(inverse)).astype(f32)
    weight = _lanczos(argument) * inverse
    weight[at >= (end - start)[:, None]] = 0
    # Adding the trailing zeros changes no sum, so each row may run to the same length.
    total = np.zeros(target, dtype=f32)
    for tap in range(taps):
        total += weight[:, tap]
    weight /= np.where(total != 0, total, f32(1))[:, None]
    return _aligned(start, weight, source)


def _aligned(start: NDArray[np.int64], weight: NDArray[np.float32], source: int) -> Taps:
    """Fill the taps up to a multiple of TAP_BLOCK and move windows back that would pass the end of the source.

    A source narrower than that keeps its own number of taps, which the compiled loops then do not take.
    """
    taps = weight.shape[1]
    full = min(-(-taps // TAP_BLOCK) * TAP_BLOCK, max(source, taps))
    moved = np.minimum(start, source - full).clip(min=0)
    out = np.zeros((len(start), full), dtype=np.float32)
    column = np.arange(taps) + (start - moved)[:, None]
    keep = column < full
    out[np.nonzero(keep)[0], column[keep]] = weight[keep]
    moved.setflags(write=False)
    out.setflags(write=False)
    return Taps(start=moved, weight=out)


def _lanczos(x: NDArray[np.float32]) -> NDArray[np.float32]:
    inside = (x >= np.float32(-LOBES)) & (x < np.float32(LOBES))
    return np.where(inside, _sinc(x) * _sinc(x / np.float32(LOBES)), np.float32(0))


def _sinc(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """f32(sin(pi x) / (pi x)), pi x rounded to float32 first, the sine of the C library in double."""
    scaled = (x.astype(np.float64) * math.pi).astype(np.float32)
    # NumPy's own sine may differ from the C library's in the last place; few arguments are distinct.
    distinct, back = np.unique(scaled, return_inverse=True)
    values = np.array([math.sin(v) / v if v else 1.0 for v in distinct.tolist()])
    return values.astype(np.float32)[back].reshape(x.shape)


def resize_lanczos(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize a picture to (height, width, 3); sizes at least 1."""
    across = lanczos_taps(pixels.shape[1], width)
    down = lanczos_taps(pixels.shape[0], height)
    if not HAVE_NUMBA or across.weight.shape[1] % TAP_BLOCK or down.weight.shape[1] % TAP_BLOCK:
        return resize_numpy(pixels, width, height)
    # Both passes run along axis 0, over long rows; turning one channel at a time is three times as fast.
    rows = np.empty((pixels.shape[0], width, 3), dtype=np.uint8)
    for first in range(0, pixels.shape[0], _TURN_ROWS):
        band = pixels[first : first + _TURN_ROWS]
        columns = np.empty((pixels.shape[1], 3, len(band)), dtype=np.uint8)
        for channel in range(3):
            columns[:, channel] = band[:, :, channel].T
        narrow = np.empty((width, 3, len(band)), dtype=np.uint8)
        reduce_rows(columns.reshape(len(columns), -1), across.start, across.weight, narrow.reshape(width, -1))
        for channel in range(3):
            rows[first : first + len(band), :, channel] = narrow[:, channel].T
    out = np.empty((height, width * 3), dtype=np.uint8)
    reduce_rows(rows.reshape(len(rows), -1), down.start, down.weight, out)
    return out.reshape(height, width, 3)


def resize_numpy(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize with NumPy alone; the same bits as `resize_lanczos`, several times slower."""
    across = lanczos_taps(pixels.shape[1], width)
    down = lanczos_taps(pixels.shape[0], height)
    narrow = np.empty((pixels.shape[0], width, 3), dtype=np.uint8)
    for row in range(0, pixels.shape[0], _BAND_ROWS):
        band = pixels[row : row + _BAND_ROWS].transpose(1, 0, 2)
        narrow[row : row + _BAND_ROWS] = reduce_numpy(band, across, 0, width).transpose(1, 0, 2)
    out = np.empty((height, width, 3), dtype=np.uint8)
    for row in range(0, height, _BAND_ROWS):
        out[row : row + _BAND_ROWS] = reduce_numpy(narrow, down, row, min(row + _BAND_ROWS, height))
    return out


def reduce_numpy(pixels: Pixels, taps: Taps, first: int, last: int, offset: int = 0) -> Pixels:
    """Output rows first..last-1 of one pass along axis 0; `pixels` begins at source row `offset`."""
    start, weight = taps.start[first:last], taps.weight[first:last]
    total = np.full((last - first, *pixels.shape[1:]), 0.5, dtype=np.float32)
    end = len(pixels) - 1
    for tap in range(weight.shape[1]):
        rows = pixels[np.minimum(start + (tap - offset), end)].astype(np.float32)
        rows *= weight[:, tap, None, None]
        total += rows
    return total.clip(0, 255).astype(np.uint8)
