"""What each level of the sliced Wasserstein distance sees: Laplacian images, and the patches that are compared."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.report.pictures import Picture, encoded, from_chw, tiled
from metrics.sliced.config import MIN_LEVEL, PATCH, level_sizes
from metrics.sliced.laplacian import laplacian_pyramid

SHOWN_RES = 128
"""Levels are shown at this side: finer ones by their middle, coarser ones enlarged."""
SHOWN_COLUMNS = 2
PATCH_COLUMNS = 8
PATCH_ZOOM = 4
GREY = 128.0
CONTRAST_SIGMAS = 3.0
BUDGET = 60_000

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelView:
    """One level: real and generated images as it sees them, and standardised patches of both.

    gain  grey levels shown per grey level of the Laplacian
    """

    level: int
    real: Picture
    fake: Picture
    real_patches: Picture
    fake_patches: Picture
    gain: float
    cropped: bool


def level_views(reals: NDArray[np.uint8], fakes: NDArray[np.uint8], *, seed: int = 0) -> tuple[LevelView, ...]:
    """Views of every level for a few images (n, 3, R, R) uint8 of each kind; empty where R is no power of two >= 16."""
    res = reals.shape[-1]
    if res < MIN_LEVEL or res & (res - 1) or fakes.shape[-1] != res:
        return ()
    pyramids = [[laplacian_pyramid(image) for image in images] for images in (reals, fakes)]
    rng = np.random.default_rng(seed)
    views = []
    for place, level in enumerate(level_sizes(res)):
        real, fake = (np.stack([pyramid[place] for pyramid in kind]) for kind in pyramids)
        last = level == MIN_LEVEL
        centre = GREY if last else 0.0
        spread = float(np.std(real - (real.mean() if last else 0.0)))
        gain = 1.0 if last else GREY / (CONTRAST_SIGMAS * max(spread, 1e-6))
        shown = [_shown(images, centre, gain) for images in (real, fake)]
        patches = [_patches(images, rng) for images in (real, fake)]
        views.append(
            LevelView(
                level=level,
                real=_picture(shown[0], SHOWN_COLUMNS, f"Level {level} of {len(reals)} real images"),
                fake=_picture(shown[1], SHOWN_COLUMNS, f"Level {level} of {len(fakes)} generated images"),
                real_patches=_mosaic(patches[0], f"Patches of level {level} of real images"),
                fake_patches=_mosaic(patches[1], f"Patches of level {level} of generated images"),
                gain=gain,
                cropped=level > SHOWN_RES,
            )
        )
    return tuple(views)


def _shown(images: Float32, centre: float, gain: float) -> NDArray[np.uint8]:
    """(n, 3, r, r) float32 about `centre` to (n, 3, SHOWN_RES, SHOWN_RES) uint8."""
    side = images.shape[-1]
    if side > SHOWN_RES:
        start = (side - SHOWN_RES) // 2
        images = images[..., start : start + SHOWN_RES, start : start + SHOWN_RES]
    elif side < SHOWN_RES:
        zoom = SHOWN_RES // side
        images = images.repeat(zoom, axis=-2).repeat(zoom, axis=-1)
    shown: NDArray[np.uint8] = np.clip(np.rint((images - centre) * gain + GREY), 0, 255).astype(np.uint8)
    return shown


def _patches(images: Float32, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(64, 3, 7, 7) uint8 random patches, standardised per channel by the moments of these images."""
    side = images.shape[-1]
    mean = images.mean(axis=(0, 2, 3))[:, None, None]
    std = np.maximum(images.std(axis=(0, 2, 3)), 1e-6)[:, None, None]
    found = []
    for _ in range(PATCH_COLUMNS * PATCH_COLUMNS):
        image = images[rng.integers(len(images))]
        y, x = rng.integers(0, side - PATCH + 1, 2)
        found.append((image[:, y : y + PATCH, x : x + PATCH] - mean) / std)
    scaled = np.stack(found) * (GREY / CONTRAST_SIGMAS) + GREY
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _picture(images: NDArray[np.uint8], columns: int, alt: str) -> Picture:
    return encoded(from_chw(tiled(images, columns, gap=2)), alt, budget=BUDGET)


def _mosaic(patches: NDArray[np.uint8], alt: str) -> Picture:
    enlarged = patches.repeat(PATCH_ZOOM, axis=-2).repeat(PATCH_ZOOM, axis=-1)
    return encoded(from_chw(tiled(enlarged, PATCH_COLUMNS, gap=2)), alt, budget=BUDGET)
