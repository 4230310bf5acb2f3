"""Sliced Wasserstein distance as its definition reads, with NumPy and SciPy and nothing clever.

What `benchmarks.swd` compares with: one process, one image after the other, SciPy's 5x5 convolution, all
descriptors in memory, projections and sorts along axis 0. See docs/metrics.md for the definition.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PATCHES, PATCH, RADIUS = 128, 7, 3
REPEATS, DIRECTIONS = 4, 128
COARSEST = 16
BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]).astype(np.float32) / 256

Float32 = NDArray[np.float32]


def down(image: Float32) -> Float32:
    """(3, r, r) -> (3, r/2, r/2)."""
    filtered: Float32 = ndimage.convolve(image, BINOMIAL[None], mode="mirror")
    return filtered[:, ::2, ::2]


def up(image: Float32) -> Float32:
    """(3, r, r) -> (3, 2r, 2r)."""
    stuffed = np.zeros((3, 2 * image.shape[1], 2 * image.shape[2]), np.float32)
    stuffed[:, ::2, ::2] = image
    filtered: Float32 = ndimage.convolve(stuffed, 4 * BINOMIAL[None], mode="mirror")
    return filtered


def laplacian(image: Float32) -> list[Float32]:
    """Levels of (3, R, R) from the finest down to 16 pixels."""
    levels = [image]
    while levels[-1].shape[-1] > COARSEST:
        levels.append(down(levels[-1]))
    for index in range(len(levels) - 1):
        levels[index] = levels[index] - up(levels[index + 1])
    return levels


def patches(level: Float32, rng: np.random.Generator) -> Float32:
    """128 neighbourhoods of 7x7 around random centres: (128, 3, 7, 7)."""
    side = level.shape[-1]
    x, y = rng.integers(RADIUS, side - RADIUS, (2, PATCHES, 1, 1, 1))
    channel, dy, dx = np.ogrid[0:3, -RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    found: Float32 = level[channel, y + dy, x + dx]
    return found


def pyramid_images(path: Path, res: int, n: int) -> Iterator[NDArray[np.uint8]]:
    """Images (3, res, res) of a pyramid file."""
    with h5py.File(path) as file:
        for index in range(n):
            yield file[f"data{res}x{res}"][index]


def descriptors(images: Iterator[NDArray[np.uint8]], seed: int) -> list[Float32]:
    """Standardised descriptors of a set, per level: (n * 128, 147)."""
    rng = np.random.default_rng(seed)
    per_level: list[list[Float32]] = []
    for image in images:
        levels = laplacian(image.astype(np.float32))
        per_level = per_level or [[] for _ in levels]
        for collected, level in zip(per_level, levels, strict=True):
            collected.append(patches(level, rng))
    standardised = []
    for collected in per_level:
        whole = np.concatenate(collected)
        whole -= whole.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
        whole /= whole.std(axis=(0, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
        standardised.append(whole.reshape(len(whole), -1))
    return standardised


def sliced_distance(real: Float32, fake: Float32, rng: np.random.Generator, *, repeats: int = REPEATS) -> float:
    """Mean over repeats of 128 directions each of mean |sorted - sorted|."""
    results = []
    for _ in range(repeats):
        directions = rng.standard_normal((real.shape[1], DIRECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        left = np.sort(real @ directions.astype(np.float32), axis=0)
        right = np.sort(fake @ directions.astype(np.float32), axis=0)
        results.append(float(np.mean(np.abs(left - right))))
    return float(np.mean(results))


def swd(real: Path, fake: Path, res: int, n: int, seed: int = 0) -> list[float]:
    """Distance per level, times 1e3, then the mean."""
    left = descriptors(pyramid_images(real, res, n), seed)
    right = descriptors(pyramid_images(fake, res, n), seed + 1)
    rng = np.random.default_rng(seed + 2)
    values = [1e3 * sliced_distance(a, b, rng) for a, b in zip(left, right, strict=True)]
    return [*values, float(np.mean(values))]
