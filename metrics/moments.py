"""Mean and covariance of feature vectors: float64, mergeable across batches, shards and processes.

Legend: N images, D feature channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.errors import BatchError

Float64Array = NDArray[np.float64]

BLOCK_ROWS = 4096
"""Rows turned into float64 at a time, so that a (50000, 2048) float32 array is never copied whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """First and second moments of a set of vectors.

    n        number of vectors
    mean     (D,) float64
    scatter  (D, D) float64, sum over vectors of (x - mean)(x - mean)^T
    """

    n: int
    mean: Float64Array
    scatter: Float64Array

    def __post_init__(self) -> None:
        dim = self.mean.shape
        if len(dim) != 1 or self.scatter.shape != (dim[0], dim[0]):
            raise BatchError(f"moments need mean (D,) and scatter (D, D), found {dim} and {self.scatter.shape}")
        if self.n < 0:
            raise BatchError(f"moments need a count of at least 0, found {self.n}")

    @property
    def dim(self) -> int:
        """D, the number of feature channels."""
        return int(self.mean.shape[0])

    def covariance(self) -> Float64Array:
        """Unbiased covariance (ddof 1), (D, D) float64; BatchError for fewer than two vectors."""
        if self.n < 2:
            raise BatchError(f"a covariance needs at least 2 images, found {self.n}")
        return self.scatter / (self.n - 1)


def empty_moments(dim: int) -> Moments:
    """Moments of no vectors: the neutral element of `merge`."""
    return Moments(n=0, mean=np.zeros(dim), scatter=np.zeros((dim, dim)))


def moments_of(features: ArrayLike) -> Moments:
    """Moments of (N, D) features of any real dtype, in one pass of bounded memory.

    Raises BatchError for an array that is not two-dimensional or holds NaN or infinity.
    """
    array = np.asarray(features)
    if array.ndim != 2:
        raise BatchError(f"features must be (N, D), found shape {array.shape}")
    total = empty_moments(array.shape[1])
    for start in range(0, len(array), BLOCK_ROWS):
        total = merge(total, _block_moments(array[start : start + BLOCK_ROWS], start))
    return total


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of the union of two disjoint sets (Chan, Golub, LeVeque 1983, eq. 2.1)."""
    if first.dim != second.dim:
        raise BatchError(f"moments of {first.dim} and of {second.dim} channels cannot be merged")
    if first.n == 0:
        return second
    if second.n == 0:
        return first
    n = first.n + second.n
    delta = second.mean - first.mean
    mean = first.mean + delta * (second.n / n)
    scatter = first.scatter + second.scatter + np.outer(delta, delta) * (first.n * second.n / n)
    return Moments(n=n, mean=mean, scatter=scatter)


def merge_all(parts: Iterable[Moments]) -> Moments:
    """Moments of the union of any number of disjoint sets; BatchError for none."""
    total: Moments | None = None
    for part in parts:
        total = part if total is None else merge(total, part)
    if total is None:
        raise BatchError("no moments to merge")
    return total


def _block_moments(block: NDArray[np.generic], start: int) -> Moments:
    rows = block.astype(np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise BatchError(f"features of image {start + int(np.argmin(finite))} hold NaN or infinity")
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Moments(n=len(rows), mean=mean, scatter=centred.T @ centred)
