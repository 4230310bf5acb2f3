"""MS-SSIM of one pair of images.

Wang, Simoncelli & Bovik 2003: contrast-structure terms of four scales and the SSIM of the fifth, each averaged
over pixels and channels, clipped at 0, raised to the scale's weight and multiplied.

With s = x + y and d = x - y, a Gaussian mean G and var(a) = G(a²) - G(a)²:
    cs   = (var(s) - var(d) + 2 C2) / (var(s) + var(d) + 2 C2)
    lum  = (G(s)² - G(d)² + 2 C1) / (G(s)² + G(d)² + 2 C1)
which needs four filters a scale in place of five. `s` is taken from 0 around 255, where squares are small.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from metrics.errors import UsageError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
PEAK = 255.0
C1, C2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
MIN_SIDE = 1 << (len(WEIGHTS) - 1)
"""The fifth scale halves four times and needs one pixel."""

EXACT_SIDE = 128
"""Up to this side planes are float64: few pixels average out few roundings, and they cost little."""

Plane = NDArray[np.floating[Any]]


def gaussian_window(side: int) -> NDArray[np.float64]:
    """One-dimensional Gaussian for images of `side` pixels: 11 taps of sigma 1.5, or both in proportion."""
    taps = min(WINDOW, side)
    sigma = taps * SIGMA / WINDOW
    positions = np.arange(taps) - (taps - 1) / 2
    window = np.exp(-np.square(positions) / (2 * sigma * sigma))
    normalised: NDArray[np.float64] = window / window.sum()
    return normalised


def _filtered(plane: Plane, window: NDArray[np.float64]) -> Plane:
    """Gaussian mean of a plane (h, w), 'valid' part only: (h - taps + 1, w - taps + 1)."""
    taps = len(window)
    before = taps // 2
    full: Any = cv2.sepFilter2D(plane, -1, window, window, anchor=(before, before), borderType=cv2.BORDER_REPLICATE)
    height, width = plane.shape
    valid: Plane = full[before : before + height - taps + 1, before : before + width - taps + 1]
    return valid


def _scale_terms(total: Plane, difference: Plane, *, luminance: bool) -> float:
    """Mean over one channel of cs, or of lum * cs: planes (h, w) of s - 255 and d."""
    if total.shape[0] <= EXACT_SIDE:
        total, difference = total.astype(np.float64), difference.astype(np.float64)
    window = gaussian_window(total.shape[0])
    mean_s, mean_d = _filtered(total, window), _filtered(difference, window)
    square_s, square_d = np.square(mean_s), np.square(mean_d)
    var_s = _filtered(np.square(total), window)
    var_s -= square_s
    var_d = _filtered(np.square(difference), window)
    var_d -= square_d
    var_s += 2 * C2
    ratio = var_s - var_d
    var_s += var_d
    ratio /= var_s
    if luminance:
        mean_s = mean_s + PEAK
        np.square(mean_s, out=square_s)
        square_s += 2 * C1
        ratio *= (square_s - square_d) / (square_s + square_d)
    return float(ratio.mean(dtype=np.float64))


def _halved(plane: Plane) -> Plane:
    """2x2 means; an odd last row or column is repeated."""
    height, width = plane.shape
    if height % 2 or width % 2:
        padded: Any = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
        plane = padded
        height, width = plane.shape
    if height == 2 or width == 2:
        small: Plane = plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3), dtype=plane.dtype)
        return small
    smaller: Any = cv2.resize(plane, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    result: Plane = smaller
    return result


def ms_ssim_pair(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """MS-SSIM of two images (3, R, R) uint8: 0 (nothing in common) .. 1 (equal).

    Raises UsageError for images that differ in shape or are smaller than 16 pixels.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise UsageError(f"images of shapes {first.shape} and {second.shape} are not compared")
    if min(first.shape[1:]) < MIN_SIDE:
        raise UsageError(f"images are {first.shape[2]}x{first.shape[1]}; MS-SSIM needs at least {MIN_SIDE}")
    terms = np.empty((len(first), len(WEIGHTS)))
    for channel, (x, y) in enumerate(zip(first, second, strict=True)):
        difference: Plane = x.astype(np.float32)
        total: Plane = difference - np.float32(PEAK)
        total += y
        difference -= y
        for scale in range(len(WEIGHTS)):
            last = scale == len(WEIGHTS) - 1
            terms[channel, scale] = _scale_terms(total, difference, luminance=last)
            if not last:
                total, difference = _halved(total), _halved(difference)
    per_scale = np.maximum(terms.mean(axis=0), 0.0)
    return float(np.prod(per_scale ** np.array(WEIGHTS)))
