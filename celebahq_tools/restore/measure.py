"""How near a restored picture is to the original: PSNR and MS-SSIM. Pictures are (H, W, 3) uint8 [0, 255]."""

import cv2
import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import UsageError

Pixels = NDArray[np.uint8]

PEAK = 255.0
# Wang, Simoncelli and Bovik 2003: exponents of the five scales, and the constants of SSIM.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
MS_SSIM_MIN_SIDE = WINDOW * 2 ** (len(MS_SSIM_WEIGHTS) - 1)


def psnr(x: Pixels, y: Pixels) -> float:
    """Peak signal-to-noise ratio over all channels, dB; infinite for equal pictures."""
    _check(x, y)
    error = float(np.square(x.astype(np.float64) - y).mean())
    return float("inf") if error == 0 else float(10 * np.log10(PEAK**2 / error))


def ms_ssim(x: Pixels, y: Pixels) -> float:
    """Multi-scale structural similarity, mean over the channels; at most 1 (Wang et al. 2003, eq. 7).

    Only places where the whole window lies in the picture count. UsageError below 176 pixels a side.
    """
    _check(x, y)
    if min(x.shape[:2]) < MS_SSIM_MIN_SIDE:
        raise UsageError(f"MS-SSIM needs {MS_SSIM_MIN_SIDE} pixels a side, found {x.shape[1]}x{x.shape[0]}")
    a, b = x.astype(np.float32), y.astype(np.float32)
    value = np.ones(3)
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        similarity, contrast = _ssim(a, b)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        value *= np.maximum(similarity if last else contrast, 0) ** weight
        if not last:
            half = (a.shape[1] // 2, a.shape[0] // 2)
            even = (slice(0, half[1] * 2), slice(0, half[0] * 2))
            a, b = (np.asarray(cv2.resize(p[even], half, interpolation=cv2.INTER_AREA), np.float32) for p in (a, b))
    return float(value.mean())


def _check(x: Pixels, y: Pixels) -> None:
    if x.shape != y.shape or x.ndim != 3 or x.dtype != np.uint8 or y.dtype != np.uint8:
        raise UsageError(f"pictures to compare are {x.shape} {x.dtype} and {y.shape} {y.dtype}: expected the same kind")


def _blurred(x: NDArray[np.float32]) -> NDArray[np.float64]:
    half = WINDOW // 2
    blurred = cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA)
    return blurred[half:-half, half:-half].astype(np.float64)


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3,) mean SSIM and (3,) mean contrast-structure term of float pictures."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a = _blurred(a * a) - mean_a**2
    variance_b = _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    contrast = (2 * covariance + C2) / (variance_a + variance_b + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    similarity: NDArray[np.float64] = (luminance * contrast).mean(axis=(0, 1))
    structure: NDArray[np.float64] = contrast.mean(axis=(0, 1))
    return similarity, structure
