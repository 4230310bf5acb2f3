"""Damaging pictures as cameras, web sites and archives do: shrinking, noise, JPEG compression.

Pixels are (H, W, 3) uint8 [0, 255] RGB.
"""

import cv2
import numpy as np
from PIL import Image

from celebahq_tools.errors import UsageError
from celebahq_tools.restore.training.config import DegradeConfig
from celebahq_tools.restore.training.photos import Pixels

SUBSAMPLING_420 = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
SUBSAMPLING_444 = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
BLOCK = 8
SCALE = 4
# The kernels by which pictures are shrunk. Pillow widens each by the factor, so none aliases. The last one is a
# soft lens: a Gaussian of this deviation, in large pixels, before area means.
KERNELS = ("bicubic", "area", "lanczos", "bilinear", "soft")
SOFT_SIGMA = 1.5
PILLOW_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
}


def jpeg(pixels: Pixels, quality: int, *, full_chroma: bool = False) -> Pixels:
    """The picture after JPEG compression by libjpeg-turbo, 4:2:0 or 4:4:4."""
    sampling = SUBSAMPLING_444 if full_chroma else SUBSAMPLING_420
    done, data = cv2.imencode(
        ".jpg",
        cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR),
        (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling),
    )
    if not done:
        raise UsageError(f"a picture of shape {pixels.shape} cannot be compressed")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    back: Pixels = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return back


def shrink4(pixels: Pixels, kernel: str) -> Pixels:
    """(4h, 4w, 3) => (h, w, 3) by a kernel of `KERNELS`; a rest of up to three rows and columns is cut off."""
    height, width = (side // SCALE for side in pixels.shape[:2])
    pixels = np.ascontiguousarray(pixels[: height * SCALE, : width * SCALE])
    if kernel in PILLOW_FILTERS:
        return np.asarray(Image.fromarray(pixels).resize((width, height), PILLOW_FILTERS[kernel]))
    if kernel == "soft":
        pixels = cv2.GaussianBlur(pixels, (0, 0), SOFT_SIGMA).astype(np.uint8, copy=False)
    elif kernel != "area":
        raise UsageError(f"shrinking kernel {kernel!r} is unknown: choose one of {', '.join(KERNELS)}")
    smaller: Pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return smaller


def compressed(pixels: Pixels, config: DegradeConfig, rng: np.random.Generator) -> Pixels:
    """Compressed once, or twice on different grids of blocks; the last grid starts at the corner."""
    low, high = config.quality
    if rng.random() < config.twice:
        x, y = (int(shift) for shift in rng.integers(BLOCK, size=2))
        earlier = np.pad(pixels, ((y, 0), (x, 0), (0, 0)), mode="edge")
        full_chroma = bool(rng.random() < config.chroma_full)
        pixels = jpeg(earlier, int(rng.integers(low, high + 1)), full_chroma=full_chroma)[y:, x:]
    quality = int(rng.integers(low, high + 1))
    return jpeg(pixels, quality, full_chroma=bool(rng.random() < config.chroma_full))


def noisy(pixels: Pixels, config: DegradeConfig, rng: np.random.Generator) -> Pixels:
    """With Gaussian noise of a random strength."""
    noise = rng.normal(0.0, rng.uniform(0, config.noise_levels), pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
