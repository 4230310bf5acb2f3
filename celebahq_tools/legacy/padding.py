"""The margin that stands in where the face leaves its picture: mirrored, blurred, faded to the median colour.

Per sample, with m = 1 - (distance from the edge of the padded picture, in units of the margin), all float32:

    img += (gaussian(img) - img) * clip(3 m + 1, 0, 1)
    img += (median(img) - img) * clip(m, 0, 1)

The Gaussian is SciPy 0.19's: weights up to four sigma, normalised by a running sum, applied along y, rounded to
float32, then along x; per line the centre first, then pairs from the outermost inwards, in double.

Legend: the picture is (h, w, 3), padded to (H, W, 3); R the radius of the Gaussian, in pixels.
"""

import math

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.plan import Padding

TRUNCATE_SIGMAS = 4.0
BLUR_REACH = 3.0
"""The blur ends where m = -1/3, a third of the margin's width inside the picture."""

Pixels = NDArray[np.uint8]


def gaussian_weights(sigma: float) -> NDArray[np.float64]:
    """Weights at distance 0..R, (R + 1,) float64, as SciPy 0.19 computed them."""
    radius = int(TRUNCATE_SIGMAS * sigma + 0.5)
    variance = sigma * sigma
    weights = [1.0]
    total = 1.0
    for distance in range(1, radius + 1):
        weight = math.exp(-0.5 * float(distance * distance) / variance)
        weights.append(weight)
        total += 2.0 * weight
    return np.array(weights) / total


def edge_distance(size: int, before: int, after: int) -> NDArray[np.float32]:
    """Distance from the nearer end of one padded axis in units of its margin, (size,) float32."""
    at = np.arange(size, dtype=np.float32)
    near, far = at / np.float32(before), at[::-1] / np.float32(after)
    nearest: NDArray[np.float32] = np.minimum(near, far)
    return nearest


def pad_numpy(pixels: Pixels, padding: Padding) -> Pixels:
    """Pad an (h, w, 3) picture with NumPy and SciPy alone: (H, W, 3) uint8."""
    from scipy.ndimage import correlate1d

    left, top, right, bottom = padding.pad
    image = np.pad(pixels.astype(np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    half = gaussian_weights(padding.sigma)
    weights = np.concatenate([half[:0:-1], half])
    across = edge_distance(image.shape[1], left, right)
    down = edge_distance(image.shape[0], top, bottom)
    mask = (np.float32(1) - np.minimum(across[None, :], down[:, None]))[..., None]
    blurred = correlate1d(correlate1d(image, weights, axis=0, mode="reflect"), weights, axis=1, mode="reflect")
    image += (blurred - image) * np.clip(mask * np.float32(BLUR_REACH) + np.float32(1), 0, 1)
    image += (np.median(image, axis=(0, 1)) - image) * np.clip(mask, 0, 1)
    return np.rint(image).clip(0, 255).astype(np.uint8)
