"""Where the official recipe cuts a face out of its picture: the geometry of one image, nothing computed yet.

The published images were made with NumPy 1.x, where the type of a result depended on whether its operands
were scalars. Each rounding of that time is written out here, so that any NumPy gives the same bits:

- corners of the quad are float32; zoom, border and blur are float64;
- `|v| * 1.8` is taken in float64 and rounded to float32 when it scales an axis;
- an integer offset is added to the corners in float64 and rounded once.

Legend: a quad is (4, 2) float32 (x, y), corners NW, SW, SE, NE of the face, in pixels of the picture at the
stage it is used in. Boxes are (left, top, right, bottom), whole pixels, right and bottom excluded.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import PictureError

CROP_RES = 1024
"""Side of an official image in pixels."""

EYE_SPAN_FACTOR = 2.0
MOUTH_SPAN_FACTOR = 1.8
"""Half side of the square: 2.0 of the eye distance or 1.8 of the distance from eyes to mouth."""
CENTRE_SHIFT = 0.1
"""The centre lies this part of the way from the eyes to the mouth."""
BORDER_PART = 0.1
BORDER_MIN_PX = 3
"""Margin kept around the quad, as a part of its side, and at least so many pixels."""
PAD_PART = 0.3
BLUR_PART = 0.02
"""Width of the mirrored margin and sigma of its blur, as parts of the side of the quad."""
PAD_SLACK_PX = 4
"""The picture is padded only if the quad and its border reach further outside than border - 4 pixels."""
MAX_SIDE_PX = 20000
"""Longest side of an intermediate picture; the official data set stays under 6000."""

Quad = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Padding:
    """Mirrored margin and its blur: pad is (left, top, right, bottom) in pixels, sigma in pixels."""

    pad: tuple[int, int, int, int]
    sigma: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FacePlan:
    """What is done to one picture, in the order of the fields; None or 1 where a step is left out.

    shrink_size  (width, height) it is reduced to with LANCZOS
    box          part of it that is kept
    enlarge      whole factor by which it is enlarged with LANCZOS
    padding      mirrored margin
    quad         corners in the picture after all of these
    zoom         output pixels per picture pixel after all of these
    border       margin around the quad in pixels, measured before the enlargement
    """

    shrink_size: tuple[int, int] | None
    box: tuple[int, int, int, int] | None
    enlarge: int
    padding: Padding | None
    quad: Quad
    zoom: float
    border: int


def plan_face(landmarks: NDArray[np.floating], size: tuple[int, int]) -> FacePlan:
    """Plan the cut of a face from its five landmarks and the picture's (width, height).

    landmarks  (5, 2) pixel positions (x, y): left eye, right eye, nose, left and right mouth corner

    Raises PictureError('landmarks') for points that span no square or one of absurd size.
    """
    quad, zoom = _quad_and_zoom(landmarks)
    width, height = size

    shrink_size = None
    shrink = math.floor(0.5 / zoom)
    if shrink > 1:
        # Python 3 rounds halves to even; the golden pictures confirm 2200.5 -> 2200.
        shrink_size = (max(round(width / shrink), 1), max(round(height / shrink), 1))
        width, height = shrink_size
        quad = quad / np.float32(shrink)
        zoom *= shrink

    border = max(round(CROP_RES * BORDER_PART / zoom), BORDER_MIN_PX)
    left, top, right, bottom = _bounds(quad)
    box: tuple[int, int, int, int] | None = (
        max(left - border, 0),
        max(top - border, 0),
        min(right + border, width),
        min(bottom + border, height),
    )
    assert box is not None
    if box[2] <= box[0] or box[3] <= box[1]:
        raise PictureError("landmarks", f"the face lies outside of the {width}x{height} picture; check the landmarks")
    if box[2] - box[0] < width or box[3] - box[1] < height:
        width, height = box[2] - box[0], box[3] - box[1]
        quad = _shift(quad, -box[0], -box[1])
    else:
        box = None

    enlarge = 2 ** max(math.ceil(math.log2(zoom)), 0)
    if enlarge > 1:
        width, height = width * enlarge, height * enlarge
        quad = quad * np.float32(enlarge)
        zoom /= enlarge

    padding = _plan_padding(quad, zoom, border, width, height)
    if padding is not None:
        quad = _shift(quad, padding.pad[0], padding.pad[1])
        width += padding.pad[0] + padding.pad[2]
        height += padding.pad[1] + padding.pad[3]
    if max(width, height) > MAX_SIDE_PX:
        raise PictureError(
            "landmarks", f"the face needs a {width}x{height} picture, over {MAX_SIDE_PX} pixels; check the landmarks"
        )
    return FacePlan(
        shrink_size=shrink_size,
        box=box,
        enlarge=enlarge,
        padding=padding,
        quad=quad,
        zoom=zoom,
        border=border,
    )


def _quad_and_zoom(landmarks: NDArray[np.floating]) -> tuple[Quad, float]:
    points = np.asarray(landmarks, dtype=np.float32)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise PictureError("landmarks", f"expected five finite points (x, y), found an array of shape {points.shape}")
    half = np.float32(0.5)
    eye_avg = (points[0] + points[1]) * half + half
    mouth_avg = (points[3] + points[4]) * half + half
    eye_to_eye = points[1] - points[0]
    eye_to_mouth = mouth_avg - eye_avg
    x_axis = eye_to_eye - _rot90(eye_to_mouth)
    length = _length(x_axis)
    if length == 0:
        raise PictureError("landmarks", "the eyes and the mouth span no square; check the landmarks")
    half_side = max(
        float(_length(eye_to_eye)) * EYE_SPAN_FACTOR,
        float(_length(eye_to_mouth)) * MOUTH_SPAN_FACTOR,
    )
    x_axis = x_axis / length * np.float32(half_side)
    y_axis = _rot90(x_axis)
    centre = eye_avg + eye_to_mouth * np.float32(CENTRE_SHIFT)
    quad = np.stack(
        [
            centre - x_axis - y_axis,
            centre - x_axis + y_axis,
            centre + x_axis + y_axis,
            centre + x_axis - y_axis,
        ]
    )
    side = float(_length(x_axis)) * 2
    if side < 1 or side > MAX_SIDE_PX:
        raise PictureError("landmarks", f"the face is {side:.3g} pixels wide; check the landmarks")
    return quad, CROP_RES / side


def _plan_padding(quad: Quad, zoom: float, border: int, width: int, height: int) -> Padding | None:
    left, top, right, bottom = _bounds(quad)
    reach = (
        max(-left + border, 0),
        max(-top + border, 0),
        max(right - width + border, 0),
        max(bottom - height + border, 0),
    )
    if max(reach) <= border - PAD_SLACK_PX:
        return None
    least = round(CROP_RES * PAD_PART / zoom)
    left, top, right, bottom = (max(side, least) for side in reach)
    return Padding(pad=(left, top, right, bottom), sigma=CROP_RES * BLUR_PART / zoom)


def _rot90(v: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array([-v[1], v[0]], dtype=np.float32)


def _length(v: NDArray[np.float32]) -> np.float32:
    """Length of a float32 vector as the C library's hypotf has it: in double, rounded once."""
    length: np.float32 = np.float32(math.sqrt(float(v[0]) * float(v[0]) + float(v[1]) * float(v[1])))
    return length


def _shift(quad: Quad, x: int, y: int) -> Quad:
    shifted: Quad = (quad.astype(np.float64) + np.array([x, y])).astype(np.float32)
    return shifted


def _bounds(quad: Quad) -> tuple[int, int, int, int]:
    """Whole pixels around the quad: floor of the smallest, ceil of the largest coordinate."""
    low, high = quad.min(axis=0), quad.max(axis=0)
    return math.floor(low[0]), math.floor(low[1]), math.ceil(high[0]), math.ceil(high[1])
