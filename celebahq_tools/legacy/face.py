"""One face cut out of one decoded picture, exactly as the official data set's images were before their delta."""

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.compiled import HAVE_NUMBA
from celebahq_tools.legacy.lanczos import resize_lanczos
from celebahq_tools.legacy.margin import pad_compiled, quad_spans
from celebahq_tools.legacy.padding import pad_numpy
from celebahq_tools.legacy.plan import FacePlan, plan_face
from celebahq_tools.legacy.quad import crop_quad, crop_quad_planes


def cut_face(pixels: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Cut a face from (H, W, 3) uint8 RGB by its five landmarks (5, 2): (3, 1024, 1024) uint8.

    Raises PictureError('landmarks') for landmarks that give no usable square.
    """
    plan = plan_face(landmarks, (pixels.shape[1], pixels.shape[0]))
    pixels = scale_and_crop(pixels, plan)
    if plan.padding is None:
        return crop_quad(pixels, plan.quad)
    if not HAVE_NUMBA:
        return crop_quad(pad_numpy(pixels, plan.padding), plan.quad)
    left, top, right, bottom = plan.padding.pad
    height, width = pixels.shape[0] + top + bottom, pixels.shape[1] + left + right
    return crop_quad_planes(pad_compiled(pixels, plan.padding, quad_spans(plan.quad, height, width)), plan.quad)


def scale_and_crop(pixels: NDArray[np.uint8], plan: FacePlan) -> NDArray[np.uint8]:
    """The steps before the margin: reduce, crop to the face and its border, enlarge."""
    if plan.shrink_size is not None:
        pixels = resize_lanczos(pixels, *plan.shrink_size)
    if plan.box is not None:
        left, top, right, bottom = plan.box
        pixels = pixels[top:bottom, left:right]
    if plan.enlarge > 1:
        pixels = resize_lanczos(pixels, pixels.shape[1] * plan.enlarge, pixels.shape[0] * plan.enlarge)
    return pixels
