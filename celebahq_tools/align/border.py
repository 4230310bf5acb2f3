"""The picture continued beyond its edges: mirrored, blurred with distance, faded to the median colour.

Legend: see `celebahq_tools.align`. Paper, appendix C; numbers as in the published data set. With d the
distance outside the picture over the width of the padding on that side (negative inside), a pixel of the
mirrored picture is replaced by its blurred self with weight clip(3 d + 1, 0, 1), then by the median colour with
weight clip(d, 0, 1). So the blur sets in a third of the padding's width *inside* the picture, and the fade at
its edge: no step anywhere.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

PAD_PART = 0.3
"""Least width of the padding over the side of the crop square."""
BLUR_PART = 0.02
"""Sigma of the Gaussian over the side of the crop square."""
_BLUR_SLOPE = 3.0
_COARSE_SIGMA = 3.0
"""The Gaussian is taken on a picture shrunk until its sigma is about this many pixels."""
_MEDIAN_PIXELS = 65536
"""About how many pixels the median colour is taken from."""
_BAND_ROWS = 32
"""Rows blended at once, so that a band stays in a core's cache."""


class Sides(NamedTuple):
    """Lengths in pixels on the four sides of a picture."""

    left: int
    top: int
    right: int
    bottom: int


def extend(pixels: Pixels, reach: Sides, side: float) -> Pixels:
    """`pixels` (H, W, 3) continued by `reach` pixels on each side, for a crop square of length `side`.

    Returns (top + H + bottom, left + W + right, 3) uint8.
    """
    height, width = pixels.shape[:2]
    out = np.asarray(
        cv2.copyMakeBorder(pixels, reach.top, reach.bottom, reach.left, reach.right, borderType=cv2.BORDER_REFLECT_101),
        np.uint8,
    )
    least = round(PAD_PART * side)
    outside_x = _outside(width, reach.left, reach.right, least)
    outside_y = _outside(height, reach.top, reach.bottom, least)
    median = _median(out)
    coarse, factor = _coarse_blur(out, BLUR_PART * side)
    inner = np.flatnonzero(outside_x * _BLUR_SLOPE + 1 <= 0)
    left, right = (int(inner[0]), int(inner[-1]) + 1) if inner.size else (out.shape[1], out.shape[1])
    for top in range(0, out.shape[0], _BAND_ROWS):
        rows = slice(top, min(top + _BAND_ROWS, out.shape[0]))
        whole = bool((outside_y[rows] * _BLUR_SLOPE + 1 > 0).any())
        spans = [slice(0, out.shape[1])] if whole else [slice(0, left), slice(right, out.shape[1])]
        for cols in spans:
            if cols.stop > cols.start:
                outside = np.maximum(outside_x[None, cols], outside_y[rows, None])
                blurred = _refine(coarse, factor, rows, cols)
                out[rows, cols] = _blend(out[rows, cols], blurred, median, outside)
    return out


def _outside(length: int, before: int, after: int, least: int) -> Floats:
    """d along one axis, for positions -before .. length - 1 + after."""
    x = np.arange(-before, length + after, dtype=np.float32)
    outside: Floats = np.maximum(-x / max(before, least, 1), (x - (length - 1)) / max(after, least, 1))
    return outside


def _coarse_blur(pixels: Pixels, sigma: float) -> tuple[Floats, tuple[float, float]]:
    """Gaussian blur at a reduced size: float32 picture, and the span (x, y) of one of its pixels."""
    height, width = pixels.shape[:2]
    by = max(int(sigma / _COARSE_SIGMA), 1)
    size = (-(-width // by), -(-height // by))
    factor = (width / size[0], height / size[1])
    values = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)
    # Shrinking and the later linear interpolation blur too: variances 1/12 and 1/6 of a coarse pixel.
    own = 0.25 if by > 1 else 0.0
    rest = max((sigma / by) ** 2 - own, 0.01) ** 0.5
    blurred = cv2.GaussianBlur(values, (0, 0), rest, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32), factor


def _refine(coarse: Floats, factor: tuple[float, float], rows: slice, cols: slice) -> Floats:
    """Part `rows`, `cols` of the coarse picture linearly interpolated to full size."""
    scale_x, scale_y = 1 / factor[0], 1 / factor[1]
    matrix = np.array(
        [
            [scale_x, 0, (cols.start + 0.5) * scale_x - 0.5],
            [0, scale_y, (rows.start + 0.5) * scale_y - 0.5],
        ]
    )
    size = (cols.stop - cols.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(coarse, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _median(pixels: Pixels) -> Floats:
    """Median colour (3,) of a picture, from a regular grid of its pixels."""
    step = max(round((pixels.shape[0] * pixels.shape[1] / _MEDIAN_PIXELS) ** 0.5), 1)
    return np.asarray(np.median(pixels[::step, ::step].reshape(-1, 3), axis=0), np.float32)


def _blend(pixels: Pixels, blurred: Floats, median: Floats, outside: Floats) -> Pixels:
    """Both weights applied; `blurred` is overwritten."""
    values = pixels.astype(np.float32)
    blurred -= values
    blurred *= _thrice(np.clip(_BLUR_SLOPE * outside + 1, 0, 1))
    values += blurred
    if outside.max() > 0:
        fade = _thrice(np.clip(outside, 0, 1))
        flat = (len(values), -1)
        values -= fade * (values.reshape(flat) - np.tile(median, values.shape[1])).reshape(values.shape)
    np.rint(values, out=values)
    return values.astype(np.uint8)


def _thrice(weights: Floats) -> Floats:
    """(H, W) -> (H, W, 3), as broadcasting over three channels is several times slower."""
    return np.asarray(cv2.merge([weights, weights, weights]), np.float32)
