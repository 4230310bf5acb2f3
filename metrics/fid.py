"""Fréchet inception distance (Heusel et al. 2017, sec. 3 and eq. 6) with its standard error and its limit.

Legend: D feature channels, N images, R rank. F(1, 2) = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

The trace of (S1 S2)^(1/2) is the sum of the square roots of the eigenvalues of S1 S2. With S1 = L1 L1^T and
S2 = L2 L2^T those square roots are the singular values of L1^T L2. Taken so, they never see the square root
of a rounding error, which is what makes F(x, x) of a rank-deficient covariance come out at 1e-4 or as complex
numbers elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.moments import Moments, moments_of
from metrics.threads import one_blas_thread

Float64Array = NDArray[np.float64]

SMALL_SAMPLE = 10_000
"""Below this many images FID is dominated by its bias, which grows like 1/n (Heusel et al. 2017, app. A1)."""

INFINITY_POINTS = 15
INFINITY_SMALLEST = 5000
"""Sample sizes of the extrapolation (Chong and Forsyth 2020, sec. 4)."""

BLOCK_ROWS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaussian:
    """What FID knows of a set: mean (D,) and covariance (D, D), both float64."""

    mean: Float64Array
    covariance: Float64Array

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.covariance.shape != (len(self.mean), len(self.mean)):
            raise BatchError(
                f"a Gaussian needs mean (D,) and covariance (D, D), found {self.mean.shape} and {self.covariance.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise BatchError("mean or covariance hold NaN or infinity")


@dataclass(frozen=True, kw_only=True, slots=True)
class Extrapolation:
    """FID at an infinite number of generated images, by a line through FID over 1/n.

    value  intercept of the least-squares line: FID with the bias of the generated set taken out
    std    standard error of the intercept, of the scatter about the line
    sizes  sample sizes, ascending
    fids   FID at each of them
    """

    value: float
    std: float
    sizes: tuple[int, ...]
    fids: tuple[float, ...]


def gaussian_of(moments: Moments) -> Gaussian:
    """Mean and unbiased covariance; BatchError for fewer than two images."""
    return Gaussian(mean=moments.mean, covariance=moments.covariance())


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """F(first, second), symmetric, 0 for equal arguments up to about 1e-12 of the trace."""
    _check_same_dim(first, second)
    cross = _root(first.covariance).factor.T @ _root(second.covariance).factor
    return _assemble(first, second, _nuclear_norm(cross))


def frechet_distance_with_std(
    first: Gaussian,
    second: Gaussian,
    first_features: NDArray[np.floating] | None,
    second_features: NDArray[np.floating] | None,
) -> tuple[float, float]:
    """F(first, second) and its standard error by the delta method.

    F is differentiable in the moments; its derivative in the covariance is dF/dS1 = I - T, where
    T = S1^(-1/2) (S1^(1/2) S2 S1^(1/2))^(1/2) S1^(-1/2) is the optimal transport map (Rippl, Munk and Sturm
    2016, theorem 2.3). The variance of the mean influence of the images of each set follows; that is the
    variance a bootstrap over the images would find, without its resampling. The first order vanishes when
    both sets have one distribution: there the noise floor tells more. Features that are None (only published
    statistics are known) contribute no variance.
    """
    _check_same_dim(first, second)
    root_1, root_2 = _root(first.covariance), _root(second.covariance)
    with one_blas_thread():
        left, singular, right_t = np.linalg.svd(root_1.factor.T @ root_2.factor, full_matrices=False)
    value = _assemble(first, second, float(singular.sum()))
    shift = first.mean - second.mean
    variance = 0.0
    if first_features is not None:
        maps = root_1.inverse_factor @ left * np.sqrt(singular)
        variance += _influence_variance(first_features, first.mean, shift, maps)
    if second_features is not None:
        maps = root_2.inverse_factor @ right_t.T * np.sqrt(singular)
        variance += _influence_variance(second_features, second.mean, -shift, maps)
    return value, float(np.sqrt(variance))


def extrapolated_fid(
    reference: Gaussian,
    features: NDArray[np.floating],
    *,
    rng: np.random.Generator,
    points: int = INFINITY_POINTS,
    smallest: int | None = None,
) -> Extrapolation:
    """FID-infinity (Chong and Forsyth 2020, sec. 4): FID of growing random subsets, extrapolated to 1/n = 0.

    features  (N, D), the generated set; `smallest` defaults to 5,000, or N / 5 where that is less.
    The reference keeps whatever bias its own size gives it. BatchError for too few images or points.
    """
    n = len(features)
    low = min(INFINITY_SMALLEST, n // 5) if smallest is None else smallest
    if points < 3:
        raise BatchError(f"the extrapolation needs at least 3 sizes, found {points}")
    if not 2 <= low < n:
        raise BatchError(f"the extrapolation needs sizes from at least 2 up to {n}, found {low}")
    sizes = np.unique(np.linspace(low, n, points).round().astype(int))
    if len(sizes) < 3:
        raise BatchError(f"the extrapolation needs at least 3 different sizes, {n} images give {len(sizes)}")
    factor = _root(reference.covariance).factor
    fids = []
    for size in sizes:
        subset = gaussian_of(moments_of(features[np.sort(rng.choice(n, size, replace=False))]))
        _check_same_dim(reference, subset)
        cross = factor.T @ _root(subset.covariance).factor
        fids.append(_assemble(reference, subset, _nuclear_norm(cross)))
    value, std = _intercept(1.0 / sizes, np.asarray(fids))
    return Extrapolation(value=value, std=std, sizes=tuple(int(s) for s in sizes), fids=tuple(fids))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Root:
    """factor (D, R): factor @ factor.T = S; inverse_factor (D, R): inverse_factor.T @ factor = I."""

    factor: Float64Array
    inverse_factor: Float64Array


def _root(covariance: Float64Array) -> _Root:
    with one_blas_thread():
        values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    # Eigenvalues this small are rounding errors of the decomposition, of either sign.
    floor = max(float(values[-1]), 0.0) * len(values) * np.finfo(np.float64).eps
    kept = values > floor
    roots = np.sqrt(values[kept])
    return _Root(factor=vectors[:, kept] * roots, inverse_factor=vectors[:, kept] / roots)


def _nuclear_norm(matrix: Float64Array) -> float:
    """Sum of the singular values."""
    # LAPACK's reductions wait for memory: a second thread gains little, and on busy cores loses tenfold.
    with one_blas_thread():
        return float(np.linalg.svd(matrix, compute_uv=False).sum())


def _assemble(first: Gaussian, second: Gaussian, trace_root: float) -> float:
    shift = first.mean - second.mean
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(max(shift @ shift + traces - 2 * trace_root, 0.0))


def _influence_variance(
    features: NDArray[np.floating], mean: Float64Array, shift: Float64Array, maps: Float64Array
) -> float:
    """Variance of the mean of 2 shift.(x - m) + |x - m|^2 - |maps^T (x - m)|^2 over (N, D) features."""
    n = len(features)
    if n < 2:
        return 0.0
    # A standard error needs no more than three digits: float32 halves the time of the product.
    maps32 = maps.astype(np.float32)
    influence = np.empty(n)
    for start in range(0, n, BLOCK_ROWS):
        centred = features[start : start + BLOCK_ROWS].astype(np.float64) - mean
        mapped = centred.astype(np.float32) @ maps32
        rows = slice(start, start + len(centred))
        influence[rows] = 2 * (centred @ shift) + np.square(centred).sum(1)
        influence[rows] -= np.square(mapped, dtype=np.float64).sum(1)
    return float(influence.var(ddof=1) / n)


def _intercept(x: Float64Array, y: Float64Array) -> tuple[float, float]:
    """Intercept of the least-squares line through (x, y), and its standard error."""
    n = len(x)
    centre = x.mean()
    spread = float(np.square(x - centre).sum())
    slope = float(((x - centre) * (y - y.mean())).sum()) / spread
    intercept = float(y.mean() - slope * centre)
    residual = y - intercept - slope * x
    noise = float(np.square(residual).sum()) / (n - 2)
    return intercept, float(np.sqrt(noise * (1 / n + centre**2 / spread)))


def _check_same_dim(first: Gaussian, second: Gaussian) -> None:
    if len(first.mean) != len(second.mean):
        raise BatchError(f"features of {len(first.mean)} and of {len(second.mean)} channels cannot be compared")
