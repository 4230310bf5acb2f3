"""The square face cut out of its picture: Pillow 3.1.1's QUAD transform to 4096 x 4096, bilinear, and its
LANCZOS reduction to 1024 x 1024.

Pillow 3.1.1 evaluated the mapping at the output pixel's index (x, y); since 3.4 it is evaluated at its centre
(x + 0.5, y + 0.5). All else is double precision, cut to an integer at the end; a position outside of the
picture gives black. The 4096 x 4096 picture is made in bands and reduced at once, so it never exists as a whole.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.compiled import HAVE_NUMBA
from celebahq_tools.legacy.kernels import PHASES, TAP_BLOCK, crop_rows, pack_pixels, pack_planes, reduce_rows
from celebahq_tools.legacy.lanczos import lanczos_taps, reduce_numpy
from celebahq_tools.legacy.plan import CROP_RES, Quad

TRANSFORM_RES = 4096
"""Side of the bilinear intermediate in pixels."""

_BAND_ROWS = 128

Pixels = NDArray[np.uint8]
Coefficients = NDArray[np.float64]


def quad_coefficients(quad: Quad, res: int = TRANSFORM_RES) -> Coefficients:
    """(8,) float64 a: x_in = a0 + a1 x + a2 y + a3 x y and y_in likewise with a4..a7.

    The corners arrive as float32, and their differences are taken in float32.
    """
    corners = np.asarray(quad, dtype=np.float32) + np.float32(0.5)
    nw, sw, se, ne = corners
    step = 1.0 / res
    out = np.empty(8, dtype=np.float64)
    for axis in range(2):
        twist = np.float32(np.float32(np.float32(se[axis] - sw[axis]) - ne[axis]) + nw[axis])
        out[axis * 4 : axis * 4 + 4] = (
            float(nw[axis]),
            float(np.float32(ne[axis] - nw[axis])) * step,
            float(np.float32(sw[axis] - nw[axis])) * step,
            float(twist) * step * step,
        )
    return out


def quad_rows_numpy(pixels: Pixels, coefficients: Coefficients, first: int, last: int, res: int) -> Pixels:
    """Rows first..last-1 of the (res, res, 3) bilinear transform of an (H, W, 3) picture."""
    height, width = pixels.shape[:2]
    a = coefficients
    x = np.arange(res, dtype=np.float64)
    y = np.arange(first, last, dtype=np.float64)[:, None]
    x_in = a[0] + a[1] * x + a[2] * y + a[3] * x * y
    y_in = a[4] + a[5] * x + a[6] * y + a[7] * x * y
    inside = (x_in >= 0) & (x_in < width) & (y_in >= 0) & (y_in < height)
    x_in = np.where(inside, x_in, 0) - 0.5
    y_in = np.where(inside, y_in, 0) - 0.5
    left, top = np.floor(x_in).astype(np.intp), np.floor(y_in).astype(np.intp)
    dx, dy = (x_in - left)[..., None], (y_in - top)[..., None]
    x0, x1 = left.clip(0, width - 1), (left + 1).clip(0, width - 1)
    y0 = top.clip(0, height - 1)
    # Below the last row the row itself stands in; above the first, row 0 is both rows.
    y1 = np.where(top + 1 < height, top + 1, y0)
    upper = _mix(pixels[y0, x0], pixels[y0, x1], dx)
    lower = _mix(pixels[y1, x0], pixels[y1, x1], dx)
    out = (upper + (lower - upper) * dy).astype(np.uint8)
    out[~inside] = 0
    return out


def _mix(a: Pixels, b: Pixels, d: NDArray[np.float64]) -> NDArray[np.float64]:
    start = a.astype(np.float64)
    return start + (b - start) * d


def crop_quad(pixels: Pixels, quad: Quad) -> Pixels:
    """Cut the quad out of an (H, W, 3) picture: (3, 1024, 1024) uint8."""
    if not HAVE_NUMBA or not _inside(pixels.shape[1], pixels.shape[0], quad):
        return crop_numpy(pixels, quad)
    packed = np.empty((pixels.shape[0] + 2, pixels.shape[1] + 2), dtype=np.uint32)
    pack_pixels(np.ascontiguousarray(pixels), packed)
    return _crop_packed(packed, quad)


def crop_quad_planes(planes: Pixels, quad: Quad) -> Pixels:
    """Like `crop_quad`, from a (3, H, W) picture."""
    if not HAVE_NUMBA or not _inside(planes.shape[2], planes.shape[1], quad):
        return crop_numpy(planes.transpose(1, 2, 0), quad)
    packed = np.empty((planes.shape[1] + 2, planes.shape[2] + 2), dtype=np.uint32)
    pack_planes(planes, packed)
    return _crop_packed(packed, quad)


def _inside(width: int, height: int, quad: Quad) -> bool:
    """Whether the quad keeps a pixel away from the edges; every quad that `plan_face` makes does."""
    low, high = quad.min(axis=0) >= 1, quad.max(axis=0) <= (width - 2, height - 2)
    return bool(low.all() and high.all())


def _crop_packed(packed: NDArray[np.uint32], quad: Quad) -> Pixels:
    taps = lanczos_taps(TRANSFORM_RES, CROP_RES)
    narrow = np.empty((3, TRANSFORM_RES, CROP_RES), dtype=np.uint8)
    crop_rows(
        packed.reshape(-1),
        packed.shape[1],
        quad_coefficients(quad),
        taps.start,
        taps.weight,
        _inner_outputs(),
        TRANSFORM_RES,
        narrow,
    )
    out = np.empty((3, CROP_RES, CROP_RES), dtype=np.uint8)
    for channel in range(3):
        reduce_rows(narrow[channel], taps.start, taps.weight, out[channel])
    return out


@lru_cache(maxsize=1)
def _inner_outputs() -> NDArray[np.int64]:
    """First and last + 1 output pixel of those whose weights are one pattern moved by four source pixels."""
    taps = lanczos_taps(TRANSFORM_RES, CROP_RES)
    assert taps.weight.shape[1] % TAP_BLOCK == 0
    middle = CROP_RES // 2
    same = (taps.weight == taps.weight[middle]).all(axis=1)
    same &= taps.start - taps.start[middle] == PHASES * (np.arange(CROP_RES) - middle)
    at = np.flatnonzero(same)
    assert len(at) == at[-1] - at[0] + 1
    return np.array([at[0], at[-1] + 1])


def crop_numpy(pixels: Pixels, quad: Quad, transform_res: int = TRANSFORM_RES, res: int = CROP_RES) -> Pixels:
    """Cut the quad with NumPy alone; the same bits as `crop_quad`, several times slower."""
    coefficients = quad_coefficients(quad, transform_res)
    taps = lanczos_taps(transform_res, res)
    narrow = np.empty((transform_res, res, 3), dtype=np.uint8)
    for row in range(0, transform_res, _BAND_ROWS):
        band = quad_rows_numpy(pixels, coefficients, row, min(row + _BAND_ROWS, transform_res), transform_res)
        reduced = reduce_numpy(band.transpose(1, 0, 2), taps, 0, res)
        narrow[row : row + len(band)] = reduced.transpose(1, 0, 2)
    out = np.empty((3, res, res), dtype=np.uint8)
    for row in range(0, res, _BAND_ROWS):
        last = min(row + _BAND_ROWS, res)
        out[:, row:last] = reduce_numpy(narrow, taps, row, last).transpose(2, 0, 1)
    return out
