"""Resampling: integer shrinking, Lanczos magnification, bilinear sampling with a box mean.

Legend: see `celebahq_tools.align`; rgba is (H, W, 4) uint8, its last channel unused: OpenCV warps four
channels in half the time of three. Every function maps pixel centres as `scale_quad` does.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from celebahq_tools.align.quads import SUBSAMPLES, Array

Pixels = NDArray[np.uint8]

LOBES = 3
_BAND_ROWS = 32
"""Rows sampled at once, so that a band of RGBA pixels and its sum stay in a core's cache."""


def with_fourth(pixels: Pixels) -> Pixels:
    """(H, W, 3) RGB -> (H, W, 4), contiguous."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2RGBA), np.uint8)


def shrink(pixels: Pixels, factor: int) -> Pixels:
    """Means of factor x factor pixels; (H, W, 3) -> (H // factor, W // factor, 3), the rest is cut off."""
    if factor == 1:
        return pixels
    h, w = pixels.shape[0] // factor, pixels.shape[1] // factor
    whole = np.ascontiguousarray(pixels[: h * factor, : w * factor])
    return np.asarray(cv2.resize(whole, (w, h), interpolation=cv2.INTER_AREA), np.uint8)


def lanczos(t: float) -> Array:
    """Weights (6,) of the pixels at -2 ... 3 for position 0 <= t < 1: Lanczos' window of three lobes, sum 1.

    The filter that the published data set has in the place of super-resolution.
    """
    x = t - np.arange(-LOBES + 1, LOBES + 1)
    weights: Array = np.sinc(x) * np.sinc(x / LOBES)
    weights /= weights.sum()
    return weights


def magnify(rgba: Pixels, factor: int) -> Pixels:
    """Lanczos interpolation to `factor` (a power of two) times the size; edges are repeated."""
    if factor == 1:
        return rgba
    height, width = rgba.shape[:2]
    taps = [_taps((phase + 0.5) / factor - 0.5) for phase in range(factor)]
    # One uint32 is one RGBA pixel: strided stores of whole pixels.
    out = np.empty((height * factor, width * factor), np.uint32)
    for row, (weights_y, anchor_y) in enumerate(taps):
        for column, (weights_x, anchor_x) in enumerate(taps):
            phase = cv2.sepFilter2D(
                rgba,
                cv2.CV_8U,
                weights_x,
                weights_y,
                anchor=(anchor_x, anchor_y),
                borderType=cv2.BORDER_REPLICATE,
            )
            out[row::factor, column::factor] = phase.view(np.uint32)[..., 0]
    return out.view(np.uint8).reshape(height * factor, width * factor, 4)


def _taps(position: float) -> tuple[NDArray[np.float32], int]:
    """Weights for `position` between -0.5 and 0.5 from a pixel, and which of them falls on that pixel."""
    first = math.floor(position)
    return lanczos(position - first).astype(np.float32), LOBES - 1 - first


def sample_square(rgba: Pixels, quad: Array, res: int) -> Pixels:
    """(4 res)² bilinear samples of the quad, then 4x4 means, rounded half to even: (3, res, res) uint8.

    The samples are taken as 16 pictures of res² (one per place inside the output pixel) and summed, so that
    no picture of (4 res)² is ever held. Each sample is rounded to 8 bits, as a stored 4096² picture would be.
    Positions are exact to 1e-3 px in OpenCV >= 4.11 and to 1/64 px before.
    """
    step_x = (quad[3] - quad[0]) / res
    step_y = (quad[1] - quad[0]) / res
    out = np.empty((3, res, res), np.uint8)
    for top in range(0, res, _BAND_ROWS):
        rows = min(_BAND_ROWS, res - top)
        total = np.zeros((rows, res, 4), np.uint16)  # at most 16 * 255
        sample = np.empty((rows, res, 4), np.uint8)
        for place in range(SUBSAMPLES * SUBSAMPLES):
            dx, dy = (place % SUBSAMPLES + 0.5) / SUBSAMPLES, (place // SUBSAMPLES + 0.5) / SUBSAMPLES
            origin = quad[0] + dx * step_x + (top + dy) * step_y
            cv2.warpAffine(
                rgba,
                np.stack([step_x, step_y, origin], axis=1),
                (res, rows),
                dst=sample,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            total += sample
        means = cv2.convertScaleAbs(total, alpha=1 / (SUBSAMPLES * SUBSAMPLES))  # rounds half to even
        for channel in range(3):
            out[channel, top : top + rows] = means[..., channel]
    return out
