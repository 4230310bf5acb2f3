"""Where the crop square lies: formulas from landmarks, and changes of coordinates.

Legend: see `celebahq_tools.align`; vectors are (2,) float64, e eye to eye, m eyes to mouth.
"""

import math

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import PictureError

Array = NDArray[np.float64]

EYE_REACH = 2.0
"""Half side of the square over the distance of the eyes (paper, appendix C: s = max(4.0 |x'|, 3.6 |y'|))."""
MOUTH_REACH = 1.8
"""Half side of the square over the distance from eyes to mouth."""
CENTRE_DROP = 0.1
"""The centre lies this part of the way from the eyes to the mouth."""

MIN_SIDE_PX = 4.0
"""A smaller square has no face in it: about one pixel between the eyes."""
MAX_POSITION_PX = 1e6
"""No picture is that large."""
MIN_AXIS = 0.1
"""Smallest |e - rot90(m)| over max(|e|, |m|): below it the two directions of a face contradict each other."""
MIN_SINE = 0.02
"""Smallest sine of the angle between e and m, where both are long enough to have a direction."""
LONG_ENOUGH = 0.2
"""A vector shorter than this part of the other one, as in a profile, has no reliable direction."""

_EYE_LEFT_68, _EYE_RIGHT_68 = slice(36, 42), slice(42, 48)
_LIP_LEFT_68, _LIP_RIGHT_68 = 48, 54

SUBSAMPLES = 4
"""Bilinear samples per output pixel and axis: 4096 samples for 1024 pixels."""


def paper_quad(landmarks: Array) -> Array:
    """The crop square of Karras et al. 2018, appendix C, from five landmarks.

    landmarks (5, 2): left eye, right eye, nose, left and right mouth corner. Returns the (4, 2) quad.
    Raises PictureError 'bad-landmarks' when they describe no square.
    """
    points = _checked(landmarks, 5)
    return _square(points[0], points[1], points[3], points[4])


def ffhq_quad(landmarks68: Array) -> Array:
    """The crop square in the manner of FFHQ (Karras et al. 2019), from 68 landmarks in dlib's order.

    The same square as `paper_quad`, but each eye is the mean of its six contour points and the mouth is the
    middle of the two outer lip corners. landmarks68 (68, 2); returns the (4, 2) quad.
    Raises PictureError 'bad-landmarks' when they describe no square.
    """
    points = _checked(landmarks68, 68)
    eye_left = points[_EYE_LEFT_68].mean(axis=0)
    eye_right = points[_EYE_RIGHT_68].mean(axis=0)
    return _square(eye_left, eye_right, points[_LIP_LEFT_68], points[_LIP_RIGHT_68])


def published_quad(quad: Array, shape_hw: tuple[int, int], res: int = 1024) -> Array:
    """The part of a picture of `shape_hw` that the published CelebA-HQ shows for the square `quad`.

    Three habits of that release move its crops by up to about half an output pixel (docs/geometry.md): it adds
    half a pixel once more after the picture was magnified or shrunk; it takes each of the (4 res)² samples at
    the corner of its cell, not the centre; and a shrunk picture's size is rounded, but not the factor used.
    Returns a (4, 2) quad, a rectangle by up to a thousandth where the last one applies.
    """
    shrink, magnify = published_factors(quad_side(quad), res)
    size = np.array([shape_hw[1], shape_hw[0]], np.float64)
    stretch = size / (shrink * np.maximum(np.rint(size / shrink), 1))
    cell_centre = (quad[3] - quad[0] + quad[1] - quad[0]) * (0.5 / (SUBSAMPLES * res))
    moved: Array = (quad + 0.5 + 0.5 * shrink / magnify) * stretch - 0.5 - cell_centre
    return moved


def published_factors(side: float, res: int = 1024) -> tuple[int, int]:
    """By what the published data set shrinks and then magnifies a picture whose crop square is `side` wide."""
    shrink = max(math.floor(side / (2 * res)), 1)
    magnify: int = 2 ** max(math.ceil(math.log2(res * shrink / side)), 0)
    return shrink, magnify


def quad_side(quad: Array) -> float:
    """Side length of the square, pixels."""
    return float(np.hypot(*(quad[3] - quad[0])))


def scale_quad(quad: Array, factor: float) -> Array:
    """The quad in the picture magnified by `factor` f (below 1: shrunk): x becomes (x + 0.5) f - 0.5."""
    scaled: Array = (quad + 0.5) * factor - 0.5
    return scaled


def check_quad(quad: Array) -> Array:
    """The quad as (4, 2) float64; PictureError 'bad-landmarks' unless a finite parallelogram of some size."""
    corners = np.asarray(quad, np.float64)
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise _bad(f"the crop square must be 4 finite points, found {corners.tolist()}")
    side = quad_side(corners)
    if side < MIN_SIDE_PX:
        raise _bad(f"the crop square is {side:.3g} px wide, at least {MIN_SIDE_PX:g} px needed")
    if np.abs(corners[0] - corners[1] + corners[2] - corners[3]).max() > 1e-6 * side + 1e-6:
        raise _bad(f"the crop square is no parallelogram: {corners.tolist()}")
    return corners


def _square(eye_left: Array, eye_right: Array, mouth_left: Array, mouth_right: Array) -> Array:
    """Appendix C, equations of the oriented crop rectangle, with m = -y' pointing from eyes to mouth."""
    eyes = (eye_left + eye_right) / 2
    e = eye_right - eye_left  # x'
    m = (mouth_left + mouth_right) / 2 - eyes  # -y'
    axis = e - _rot90(m)
    _refuse_degenerate(e, m, axis)
    half = max(EYE_REACH * np.hypot(*e), MOUTH_REACH * np.hypot(*m))
    x = axis / np.hypot(*axis) * half
    y = _rot90(x)
    c = eyes + CENTRE_DROP * m
    return check_quad(np.stack([c - x - y, c - x + y, c + x + y, c + x - y]))


def _rot90(v: Array) -> Array:
    """A quarter turn from x towards y (clockwise on the screen, as y points down)."""
    return np.array([-v[1], v[0]])


def _checked(landmarks: Array, count: int) -> Array:
    points = np.asarray(landmarks, np.float64)
    if points.shape != (count, 2):
        raise _bad(f"{count} landmarks (x, y) needed, found an array of shape {points.shape}")
    usable = (np.abs(points) < MAX_POSITION_PX).all(axis=1)  # False for NaN too
    if not usable.all():
        index = int(np.argmin(usable))
        raise _bad(f"landmark {index} is at {points[index].tolist()}, no position in a picture")
    return points


def _refuse_degenerate(e: Array, m: Array, axis: Array) -> None:
    len_e, len_m = float(np.hypot(*e)), float(np.hypot(*m))
    if len_e == 0:
        raise _bad("both eyes are at the same position")
    if len_m == 0:
        raise _bad("the mouth is at the position of the eyes")
    if np.hypot(*axis) < MIN_AXIS * max(len_e, len_m):
        raise _bad("eyes and mouth contradict each other (left and right exchanged?)")
    both_long = min(len_e, len_m) > LONG_ENOUGH * max(len_e, len_m)
    if both_long and abs(e[0] * m[1] - e[1] * m[0]) < MIN_SINE * len_e * len_m:
        raise _bad("eyes and mouth lie on one line")


def _bad(what: str) -> PictureError:
    return PictureError("bad-landmarks", f"landmarks give no crop: {what}")
