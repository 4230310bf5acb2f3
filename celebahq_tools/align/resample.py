"""Resampling: integer shrinking, Catmull-Rom magnification, bilinear sampling with a box mean.

Legend: see `celebahq_tools.align`. Every function maps pixel centres as `scale_quad` does.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from celebahq_tools.align.quads import Array

Pixels = NDArray[np.uint8]

SUBSAMPLES = 4
"""Bilinear samples per output pixel and axis (the paper's 4096 to 1024)."""
_BAND_ROWS = 32
"""Rows sampled at once: one band of 1024 RGBA pixels and its sum stay in a core's cache (measured fastest)."""


def shrink(pixels: Pixels, factor: int) -> Pixels:
    """Means of factor x factor pixels; (H, W, 3) -> (H // factor, W // factor, 3), the rest is cut off."""
    if factor == 1:
        return pixels
    h, w = pixels.shape[0] // factor, pixels.shape[1] // factor
    whole = np.ascontiguousarray(pixels[: h * factor, : w * factor])
    return np.asarray(cv2.resize(whole, (w, h), interpolation=cv2.INTER_AREA), np.uint8)


def catmull_rom(t: float) -> Array:
    """Weights (4,) of the pixels at -1, 0, 1, 2 for position 0 <= t < 1 (Keys 1981 with a = -1/2).

    This member of the cubic family reproduces straight ramps, so nothing moves; OpenCV's own (a = -3/4) does not.
    """
    return np.array(
        [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ]
    )


def magnify(pixels: Pixels, factor: int) -> Pixels:
    """Catmull-Rom interpolation to `factor` (a power of two) times the size; edges are repeated.

    The weights are multiples of powers of two, so the float32 sums do not depend on the processor.
    """
    if factor == 1:
        return pixels
    rows = _magnify_rows(pixels.astype(np.float32), factor)
    both = _magnify_rows(np.ascontiguousarray(rows.transpose(1, 0, 2)), factor)
    return np.asarray(np.clip(np.rint(both), 0, 255).astype(np.uint8).transpose(1, 0, 2))


def _magnify_rows(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """(H, W, 3) float32 -> (H factor, W, 3)."""
    height = values.shape[0]
    padded = np.pad(values, ((2, 2), (0, 0), (0, 0)), mode="edge")
    out = np.empty((height, factor, *values.shape[1:]), np.float32)
    for phase in range(factor):
        position = (phase + 0.5) / factor - 0.5
        first = int(np.floor(position))
        weights = catmull_rom(position - first).astype(np.float32)
        start = first + 1  # row -1 + first of the picture, in the padded array
        total = padded[start : start + height] * weights[0]
        for tap in range(1, 4):
            total += padded[start + tap : start + tap + height] * weights[tap]
        out[:, phase] = total
    return out.reshape(height * factor, *values.shape[1:])


def sample_square(pixels: Pixels, quad: Array, res: int) -> Pixels:
    """(4 res)² bilinear samples of the quad, then 4x4 means, rounded half to even: (3, res, res) uint8.

    The samples are taken as 16 pictures of res² (one per place inside the output pixel) and summed, so that no
    picture of (4 res)² is ever held. Each sample is rounded to 8 bits, as a stored 4096² picture would be.
    Positions are exact to 1e-3 px in OpenCV >= 4.11 and to 1/64 px before.
    """
    step_x = (quad[3] - quad[0]) / res
    step_y = (quad[1] - quad[0]) / res
    rgba = cv2.cvtColor(
        np.ascontiguousarray(pixels), cv2.COLOR_RGB2RGBA
    )  # four channels warp faster than three
    out = np.empty((3, res, res), np.uint8)
    for top in range(0, res, _BAND_ROWS):
        rows = min(_BAND_ROWS, res - top)
        total = np.zeros((rows, res, 4), np.float32)
        warped = np.empty((rows, res, 4), np.uint8)
        for sub in range(SUBSAMPLES * SUBSAMPLES):
            dx, dy = (sub % SUBSAMPLES + 0.5) / SUBSAMPLES, (sub // SUBSAMPLES + 0.5) / SUBSAMPLES
            origin = quad[0] + dx * step_x + (top + dy) * step_y
            matrix = np.stack([step_x, step_y, origin], axis=1)
            cv2.warpAffine(
                rgba,
                matrix,
                (res, rows),
                dst=warped,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            cv2.accumulate(warped, total)
        total *= 1 / (SUBSAMPLES * SUBSAMPLES)
        out[:, top : top + rows] = np.rint(total, out=total)[..., :3].transpose(2, 0, 1)
    return out
