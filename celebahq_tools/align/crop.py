"""The stages of a crop put together: shrink, cut out, continue the edges, magnify, sample.

Legend: see `celebahq_tools.align`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.align.border import Sides, extend
from celebahq_tools.align.quads import SUBSAMPLES, Array, check_quad, quad_side, scale_quad
from celebahq_tools.align.resample import magnify, sample_square, shrink, with_fourth
from celebahq_tools.errors import PictureError

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

MARGIN_PART = 0.1
"""Picture kept around the square, over its side: what the blur of the border looks at."""
MIN_MARGIN_PX = 3
EDGE_PX = 4.0
"""The border is continued when the square comes this close to it, in pixels after magnification."""
FILTER_PX = 4
"""Pixels around the square that interpolation reads."""
MAX_MAGNIFY = 64


def needed_box(quad: Array, shape_hw: tuple[int, int], margin: int | None = None) -> Box:
    """The part of a picture of `shape_hw` that the crop reads: (x0, y0, x1, y1), within the picture.

    margin: pixels kept around the square; by default a tenth of its side, what `extract_crop` looks at.
    Raises PictureError 'bad-landmarks' when the centre of the square lies outside the picture.
    """
    corners = check_quad(quad)
    height, width = shape_hw
    centre = corners.mean(axis=0)
    if not (-0.5 <= centre[0] <= width - 0.5 and -0.5 <= centre[1] <= height - 0.5):
        raise PictureError(
            "bad-landmarks",
            f"landmarks give no crop: its centre ({centre[0]:.1f}, {centre[1]:.1f}) is outside the "
            f"{width}x{height} picture",
        )
    if margin is None:
        margin = _margin(quad_side(corners))
    x0, y0, x1, y1 = _bounds(corners)
    return max(x0 - margin, 0), max(y0 - margin, 0), min(x1 + margin, width), min(y1 + margin, height)


def extract_crop(pixels: Pixels, quad: Array, res: int = 1024) -> Pixels:
    """The square `quad` of a picture as an upright image.

    pixels (H, W, 3) uint8, quad (4, 2); returns (3, res, res) uint8: (4 res)² bilinear samples, then 4x4
    means rounded half to even (Karras et al. 2018, appendix C). A square wider than 4 res pixels is averaged
    down first, a narrower one than about res magnified by Lanczos interpolation, in the place of
    super-resolution; where it leaves the picture, that is mirrored, blurred and faded (`border`).
    Raises PictureError 'bad-pixels' or 'bad-landmarks'.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise PictureError("bad-pixels", f"(H, W, 3) uint8 needed, found {pixels.shape} {pixels.dtype}")
    corners = check_quad(quad)
    box = needed_box(corners, pixels.shape[:2])
    pixels, corners = _cut(pixels, corners, box)
    factor = math.ceil(quad_side(corners) / (SUBSAMPLES * res))
    if factor > 1:
        if min(pixels.shape[:2]) < 2 * factor:
            raise PictureError(
                "bad-landmarks",
                f"landmarks give no crop: a square of {quad_side(corners):.0f} px dwarfs the picture",
            )
        pixels, corners = shrink(pixels, factor), scale_quad(corners, 1 / factor)
    magnification = _magnification(quad_side(corners), res)
    pixels, corners = _surrounded(pixels, corners, EDGE_PX / magnification)
    rgba = magnify(with_fourth(pixels), magnification)
    return sample_square(rgba, scale_quad(corners, magnification), res)


def _surrounded(pixels: Pixels, quad: Array, nearest: float) -> tuple[Pixels, Array]:
    """The square with just enough picture around it, continued beyond the edges where it comes near them."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = _bounds(quad)
    low, high = quad.min(axis=0), quad.max(axis=0)
    nearest_edge = min(*(low + 0.5), width - 0.5 - high[0], height - 0.5 - high[1])
    if nearest_edge < nearest:
        side = quad_side(quad)
        reach = Sides(
            max(FILTER_PX - x0, 0),
            max(FILTER_PX - y0, 0),
            max(x1 + FILTER_PX - width, 0),
            max(y1 + FILTER_PX - height, 0),
        )
        pixels = extend(pixels, reach, side)
        quad = quad + np.array([reach.left, reach.top])
    return _cut(pixels, quad, needed_box(quad, pixels.shape[:2], FILTER_PX))


def _cut(pixels: Pixels, quad: Array, box: Box) -> tuple[Pixels, Array]:
    x0, y0, x1, y1 = box
    return pixels[y0:y1, x0:x1], quad - np.array([x0, y0])


def _bounds(quad: Array) -> Box:
    """The smallest box of whole pixels that holds the square."""
    x0, y0 = (math.floor(v) for v in quad.min(axis=0) + 0.5)
    x1, y1 = (math.ceil(v) for v in quad.max(axis=0) + 0.5)
    return x0, y0, x1, y1


def _margin(side: float) -> int:
    return max(round(MARGIN_PART * side), MIN_MARGIN_PX)


def _magnification(side: float, res: int) -> int:
    """The power of two nearest to res / side, at least 1: beyond it the bilinear facets are below a pixel."""
    power: int = 2 ** max(round(math.log2(res / side)), 0)
    return min(power, MAX_MAGNIFY)
