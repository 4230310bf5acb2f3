"""MS-SSIM of a pair as its definition reads, with NumPy and SciPy: what `benchmarks.ms_ssim` compares with."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

Float64 = NDArray[np.float64]


def gaussian(side: int) -> Float64:
    """(taps, taps) window: 11 taps of sigma 1.5, fewer for smaller images."""
    taps = min(11, side)
    positions = np.arange(taps) - (taps - 1) / 2
    line = np.exp(-(positions**2) / (2 * (1.5 * taps / 11) ** 2))
    window: Float64 = np.outer(line, line)
    return window / window.sum()


def ssim_and_cs(x: Float64, y: Float64) -> tuple[float, float]:
    """Mean SSIM and contrast-structure of two images (3, h, w)."""
    window = gaussian(x.shape[-1])[None]

    def blur(image: Float64) -> Float64:
        blurred: Float64 = signal.fftconvolve(image, window, mode="valid", axes=(1, 2))
        return blurred

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    cs = (2 * covariance + C2) / (var_x + var_y + C2)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return float(np.mean(luminance * cs)), float(np.mean(cs))


def ms_ssim(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """MS-SSIM of two images (3, R, R) uint8."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    box = np.full((1, 2, 2), 0.25)
    terms = []
    for scale in range(len(WEIGHTS)):
        ssim, cs = ssim_and_cs(x, y)
        terms.append(ssim if scale == len(WEIGHTS) - 1 else cs)
        x = ndimage.convolve(x, box, mode="reflect")[:, ::2, ::2]
        y = ndimage.convolve(y, box, mode="reflect")[:, ::2, ::2]
    return float(np.prod(np.maximum(terms, 0) ** WEIGHTS))
