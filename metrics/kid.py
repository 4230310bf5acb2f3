"""Kernel inception distance (Bińkowski et al. 2018, sec. 4): unbiased squared MMD with a cubic kernel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError

Float64Array = NDArray[np.float64]

KERNEL_COEF = 1.0
DEFAULT_SUBSETS = 100
DEFAULT_SUBSET_SIZE = 1000
BLOCK_ROWS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelDistance:
    """Mean and standard deviation over the subsets.

    mean     mean over the subsets: the published number (often printed times 1e3)
    std      population standard deviation over the subsets (ddof 0)
    subsets  (S,) float64, the unbiased MMD^2 of each pair of subsets; single values may be negative
    """

    mean: float
    std: float
    subsets: Float64Array


def kernel_inception_distance(
    real: NDArray[np.floating],
    fake: NDArray[np.floating],
    *,
    rng: np.random.Generator,
    subsets: int = DEFAULT_SUBSETS,
    subset_size: int = DEFAULT_SUBSET_SIZE,
    gamma: float | None = None,
) -> KernelDistance:
    """KID between (N, D) and (M, D) features: mean over `subsets` pairs of random subsets.

    Subsets are drawn without replacement within a subset. `gamma` defaults to 1 / D (1/2048 for Inception).
    Raises BatchError for mismatched channels or a subset size above either set.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise BatchError(f"KID needs (N, D) and (M, D) features, found {real.shape} and {fake.shape}")
    if not 2 <= subset_size <= min(len(real), len(fake)):
        raise BatchError(
            f"KID subsets of {subset_size} need at least 2 and at most all images of either set, "
            f"found {len(real)} and {len(fake)}"
        )
    if subsets < 1:
        raise BatchError(f"KID needs at least one subset, found {subsets}")
    values = np.empty(subsets)
    for index in range(subsets):
        a = real[rng.choice(len(real), subset_size, replace=False)]
        b = fake[rng.choice(len(fake), subset_size, replace=False)]
        values[index] = squared_mmd(a, b, gamma=gamma)
    return KernelDistance(mean=float(values.mean()), std=float(values.std()), subsets=values)


def kid_standard_error(
    real: NDArray[np.floating],
    fake: NDArray[np.floating],
    *,
    rng: np.random.Generator,
    references: int = DEFAULT_SUBSET_SIZE,
    gamma: float | None = None,
) -> float:
    """Standard error of the MMD^2 of all of both sets, from the images being a sample.

    First term of the U-statistic's variance (Serfling 1980, sec. 5.3; for the MMD: Gretton et al. 2012,
    cor. 16): 4 Var(g(x)) / N + 4 Var(g(y)) / M with the witness g(z) = E k(z, x) - E k(z, y), whose
    expectations are taken over at most `references` random images of each set. It vanishes when both sets
    have one distribution: there the spread over subsets and the noise floor tell more.
    """
    x = real[rng.choice(len(real), min(references, len(real)), replace=False)].astype(np.float64)
    y = fake[rng.choice(len(fake), min(references, len(fake)), replace=False)].astype(np.float64)
    scale = 1.0 / real.shape[1] if gamma is None else gamma
    variance = 0.0
    for features in (real, fake):
        witness = np.empty(len(features))
        for start in range(0, len(features), BLOCK_ROWS):
            block = features[start : start + BLOCK_ROWS].astype(np.float64)
            difference = _kernel(block, x, scale).mean(axis=1) - _kernel(block, y, scale).mean(axis=1)
            witness[start : start + len(block)] = difference
        variance += 4 * float(witness.var(ddof=1)) / len(features)
    return float(np.sqrt(variance))


def squared_mmd(a: NDArray[np.floating], b: NDArray[np.floating], *, gamma: float | None = None) -> float:
    """Unbiased MMD^2 (Gretton et al. 2012, eq. 3) between (N, D) and (M, D), kernel (gamma <x, y> + 1)^3."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    n, m = len(x), len(y)
    scale = 1.0 / x.shape[1] if gamma is None else gamma
    k_xx, k_yy, k_xy = _kernel(x, x, scale), _kernel(y, y, scale), _kernel(x, y, scale)
    within_x = (k_xx.sum() - np.trace(k_xx)) / (n * (n - 1))
    within_y = (k_yy.sum() - np.trace(k_yy)) / (m * (m - 1))
    return float(within_x + within_y - 2 * k_xy.mean())


def _kernel(x: Float64Array, y: Float64Array, gamma: float) -> Float64Array:
    kernel = x @ y.T
    kernel *= gamma
    kernel += KERNEL_COEF
    result: Float64Array = kernel * kernel * kernel  # degree 3; `**` is several times slower
    return result
