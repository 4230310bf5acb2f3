"""`tiny`: a small fixed network for tests and offline demonstrations. Its numbers are no published FID.

Weights come from an integer generator by formula, and every sum in the network is an integer below 2^53 held
in float64, so features are bit-identical on every platform, whatever order a matrix product adds in.

Legend: N images, C channels, S = 32 input side.
"""

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metrics.extractors.base import ExtractorStamp, Features

Float64Array = NDArray[np.float64]

NAME = "tiny"
SIDE = 32
CENTRE = 128
KERNEL = 3
STRIDE = 2
WIDTHS = (3, 16, 32, 64)
SHIFTS = (4, 8, 8)
"""Each layer's sums are floor-divided by these powers of two, which keeps values small and exact."""
CLASSES = 16
FEATURE_SCALE = 1 / 64
LOGIT_SCALE = 1 / 16
SEED = 2018
CALIBRATION_IMAGES = 64


class TinyExtractor:
    """32 x 32 area means, three ternary convolutions with ReLU, spatial mean: 64 features, 16 logits."""

    def __init__(self) -> None:
        self._kernels = [
            ternary((KERNEL * KERNEL * inputs, outputs), SEED + index)
            for index, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS))
        ]
        self._classifier = ternary((WIDTHS[-1], CLASSES), SEED + len(self._kernels))
        self._bias = ternary((CLASSES,), SEED + len(self._kernels) + 1)
        digest = hashlib.sha256(repr((SIDE, SHIFTS, FEATURE_SCALE, LOGIT_SCALE, CALIBRATION_IMAGES)).encode())
        for array in (*self._kernels, self._classifier, self._bias):
            digest.update(array.astype(np.int8).tobytes())
        self.stamp = ExtractorStamp(
            name=NAME, weights_sha256=digest.hexdigest(), standard=False, resize=f"area-mean-{SIDE}"
        )
        # Logits are taken about the mean features of some coloured squares; else one class would win always.
        squares = splitmix64((CALIBRATION_IMAGES, WIDTHS[0], 4, 4), SEED) % np.uint64(256)
        coloured = squares.astype(np.uint8).repeat(SIDE // 4, axis=2).repeat(SIDE // 4, axis=3)
        self._centre = self._pool(self.prepare(coloured)).mean(axis=0)
        self.layers: Mapping[str, int] = {
            "pool": WIDTHS[-1],
            "logits_unbiased": CLASSES,
            "logits": CLASSES,
        }
        self.feature_layer = "pool"
        self.logit_layer: str | None = "logits_unbiased"
        self.device = "cpu"

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """(N, 3, 32, 32) float64 whole numbers in [-128, 127]: floored means over areas, less 128."""
        return area_means(images, SIDE).astype(np.float64) - CENTRE

    def run(self, prepared: NDArray[Any], layers: frozenset[str]) -> dict[str, Features]:
        """The named layers of prepared images, each (N, D) float32."""
        pooled = self._pool(prepared)
        unbiased = (pooled - self._centre) @ self._classifier * LOGIT_SCALE
        found = {"pool": pooled, "logits_unbiased": unbiased, "logits": unbiased + self._bias}
        return {name: found[name].astype(np.float32) for name in self.layers if name in layers}

    def _pool(self, x: Float64Array) -> Float64Array:
        for kernel, shift in zip(self._kernels, SHIFTS, strict=True):
            x = np.floor(np.maximum(_convolve(x, kernel), 0) / shift)
        pooled: Float64Array = x.sum((2, 3)) * FEATURE_SCALE
        return pooled


def ternary(shape: tuple[int, ...], seed: int) -> Float64Array:
    """Array of -1, 0 and 1 in equal shares, by formula from the seed."""
    digits: Float64Array = (splitmix64(shape, seed) % np.uint64(3)).astype(np.float64)
    return np.subtract(digits, 1)


def splitmix64(shape: tuple[int, ...], seed: int) -> NDArray[np.uint64]:
    """32 random bits per element: the upper half of splitmix64 (Steele, Lea and Flood 2014) of its position."""
    count = int(np.prod(shape))
    state = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed << 32)
    state = state * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state = state ^ (state >> np.uint64(31))
    upper: NDArray[np.uint64] = state >> np.uint64(32)
    return np.reshape(upper, shape)


def area_means(images: NDArray[np.uint8], side: int) -> NDArray[np.int64]:
    """(N, C, H, W) uint8 to (N, C, side, side): floor of the mean over the source area of each output pixel.

    Output i covers source rows floor(i H / side) up to ceil((i + 1) H / side), at least one.
    """
    rows = _area_sums(images.astype(np.int64), side, axis=2)
    cells = _area_sums(rows[0], side, axis=3)
    counts = rows[1][:, None] * cells[1][None, :]
    return cells[0] // counts


def _area_sums(values: NDArray[np.int64], side: int, *, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    length = values.shape[axis]
    index = np.arange(side)
    low, high = index * length // side, -(-(index + 1) * length // side)
    zero = np.zeros_like(values.take([0], axis=axis))
    sums = np.concatenate([zero, np.cumsum(values, axis=axis)], axis=axis)
    return sums.take(high, axis=axis) - sums.take(low, axis=axis), high - low


def _convolve(x: Float64Array, kernel: Float64Array) -> Float64Array:
    """(N, C, H, W) by (9 C, outputs), stride 2, padding 1 of zeros, to (N, outputs, H / 2, W / 2)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (KERNEL, KERNEL), axis=(2, 3))[:, :, ::STRIDE, ::STRIDE]
    count, channels, height, width = windows.shape[:4]
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * KERNEL * KERNEL)
    product: Float64Array = columns @ kernel
    grid: Float64Array = product.reshape(count, height, width, kernel.shape[1])
    return np.transpose(grid, (0, 3, 1, 2))
