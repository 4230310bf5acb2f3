import numpy as np
import pytest
from scipy import linalg

from metrics.errors import BatchError
from metrics.fid import (
    Gaussian,
    extrapolated_fid,
    frechet_distance,
    frechet_distance_with_std,
    gaussian_of,
)
from metrics.moments import moments_of


def gaussian(x: np.ndarray) -> Gaussian:
    return gaussian_of(moments_of(x))


def random_gaussian(dim: int, seed: int) -> Gaussian:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((dim, dim + 3))
    return Gaussian(mean=rng.standard_normal(dim), covariance=root @ root.T / dim)


def sqrtm_distance(a: Gaussian, b: Gaussian) -> float:
    root = linalg.sqrtm(a.covariance @ b.covariance)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root).real
    return float(np.square(a.mean - b.mean).sum() + trace)


@pytest.mark.parametrize("dim", [1, 2, 17, 64])
def test_equals_the_matrix_square_root(dim: int) -> None:
    a, b = random_gaussian(dim, 1), random_gaussian(dim, 2)
    assert frechet_distance(a, b) == pytest.approx(sqrtm_distance(a, b), rel=1e-10)


def test_closed_form_of_diagonal_covariances() -> None:
    rng = np.random.default_rng(0)
    s, t, shift = rng.uniform(0.1, 3, 20), rng.uniform(0.1, 3, 20), rng.standard_normal(20)
    a = Gaussian(mean=np.zeros(20), covariance=np.diag(s**2))
    b = Gaussian(mean=shift, covariance=np.diag(t**2))
    expected = np.square(shift).sum() + np.square(s - t).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_symmetric() -> None:
    a, b = random_gaussian(40, 3), random_gaussian(40, 4)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


@pytest.mark.parametrize("n", [5, 40, 400])
def test_zero_for_equal_sets_even_with_a_singular_covariance(n: int) -> None:
    x = np.random.default_rng(n).standard_normal((n, 64)) * np.geomspace(1, 1e3, 64)
    g = gaussian(x)
    assert 0 <= frechet_distance(g, g) < 1e-12 * np.trace(g.covariance)


def test_dead_channels_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 10)), rng.standard_normal((300, 10)) + 0.2
    padded = [np.pad(z, ((0, 0), (0, 30))) for z in (x, y)]
    plain = frechet_distance(gaussian(x), gaussian(y))
    assert frechet_distance(gaussian(padded[0]), gaussian(padded[1])) == pytest.approx(plain, rel=1e-10)


def test_bias_of_two_samples_of_one_distribution() -> None:
    """For N(0, I): |shift|^2 has mean 2D/n; the covariance term is |S1 - S2|_F^2 / 4, mean D(D+1)/2n."""
    dim, n, rng = 8, 2000, np.random.default_rng(0)
    values = [
        frechet_distance(gaussian(rng.standard_normal((n, dim))), gaussian(rng.standard_normal((n, dim))))
        for _ in range(60)
    ]
    expected = 2 * dim / n + dim * (dim + 1) / (2 * n)
    assert np.mean(values) == pytest.approx(expected, rel=0.1)


def test_grows_with_what_is_done_to_the_images() -> None:
    rng = np.random.default_rng(0)
    real = gaussian(rng.standard_normal((4000, 6)))
    shifted = [frechet_distance(real, gaussian(rng.standard_normal((4000, 6)) + s)) for s in (0, 0.3, 1)]
    assert shifted[0] < shifted[1] < shifted[2]
    collapsed = gaussian(np.repeat(rng.standard_normal((40, 6)), 100, axis=0) * 0.5)
    assert frechet_distance(real, collapsed) > 10 * shifted[0]


@pytest.mark.parametrize("dim", [1, 6])
def test_standard_error_is_the_spread_over_repetitions(dim: int) -> None:
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((dim, dim))

    def sample() -> tuple[np.ndarray, np.ndarray]:
        return rng.standard_normal((600, dim)), rng.standard_normal((400, dim)) @ mix + 0.7

    runs = []
    for _ in range(250):
        x, y = sample()
        runs.append(frechet_distance_with_std(gaussian(x), gaussian(y), x, y))
    values, errors = np.array(runs).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.12)


def test_standard_error_of_a_side_known_by_statistics_alone() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((500, 5)), rng.standard_normal((500, 5)) + 1
    args = gaussian(x), gaussian(y)
    value, both = frechet_distance_with_std(*args, x, y)
    _, only_fake = frechet_distance_with_std(*args, None, y)
    _, only_real = frechet_distance_with_std(*args, x, None)
    assert value == pytest.approx(frechet_distance(*args), rel=1e-12)
    assert both == pytest.approx(np.hypot(only_fake, only_real), rel=1e-6)
    assert frechet_distance_with_std(*args, None, None)[1] == 0


def test_extrapolation_takes_the_bias_out() -> None:
    rng = np.random.default_rng(0)
    dim = 24
    truth = Gaussian(mean=np.zeros(dim), covariance=np.eye(dim))
    finite, infinite = [], []
    for _ in range(12):
        fake = rng.standard_normal((2000, dim)) * 1.1
        finite.append(frechet_distance(truth, gaussian(fake)))
        infinite.append(extrapolated_fid(truth, fake, rng=rng, points=8).value)
    expected = dim * 0.1**2
    bias = np.mean(finite) - expected
    assert bias > 0.05
    assert abs(np.mean(infinite) - expected) < bias / 3


def test_extrapolation_is_repeatable_and_checked() -> None:
    truth = Gaussian(mean=np.zeros(3), covariance=np.eye(3))
    fake = np.random.default_rng(0).standard_normal((300, 3))
    one, two = (extrapolated_fid(truth, fake, rng=np.random.default_rng(5)) for _ in range(2))
    assert one == two
    assert one.sizes[0] == 60
    assert one.sizes[-1] == 300
    with pytest.raises(BatchError, match="at least 3 sizes"):
        extrapolated_fid(truth, fake, rng=np.random.default_rng(0), points=2)
    with pytest.raises(BatchError, match="up to 4"):
        extrapolated_fid(truth, fake[:4], rng=np.random.default_rng(0))


def test_misfits_are_refused() -> None:
    with pytest.raises(BatchError, match="3 and of 4 channels"):
        frechet_distance(random_gaussian(3, 0), random_gaussian(4, 0))
    with pytest.raises(BatchError, match="NaN"):
        Gaussian(mean=np.array([np.nan]), covariance=np.eye(1))
    with pytest.raises(BatchError, match=r"\(D, D\)"):
        Gaussian(mean=np.zeros(2), covariance=np.eye(3))
