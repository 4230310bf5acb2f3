import numpy as np
import pytest

from metrics.errors import BatchError
from metrics.kid import kernel_inception_distance, kid_standard_error, squared_mmd


def draw(n: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, dim)) + shift).astype(np.float32)


def test_equals_the_sum_written_out() -> None:
    x, y = draw(7, 3, 0).astype(float), draw(5, 3, 1).astype(float)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    xx = sum(kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    yy = sum(kernel(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    xy = sum(kernel(a, b) for a in x for b in y) / 35
    assert squared_mmd(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_equals_scikit_learns_kernel() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise", reason="scikit-learn is not installed")
    x, y = draw(200, 64, 0), draw(200, 64, 1, 0.1)
    k_xx, k_yy, k_xy = (
        pairwise.polynomial_kernel(a.astype(float), b.astype(float), degree=3, gamma=1 / 64, coef0=1)
        for a, b in ((x, x), (y, y), (x, y))
    )
    within = [(k.sum() - np.trace(k)) / (200 * 199) for k in (k_xx, k_yy)]
    assert squared_mmd(x, y) == pytest.approx(sum(within) - 2 * k_xy.mean(), rel=1e-9)


def test_symmetric() -> None:
    x, y = draw(50, 8, 0), draw(60, 8, 1, 0.3)
    assert squared_mmd(x, y) == pytest.approx(squared_mmd(y, x), rel=1e-12)


def test_unbiased_whatever_the_subset_size() -> None:
    rng = np.random.default_rng(0)
    x, y = draw(4000, 16, 0), draw(4000, 16, 1)
    for size in (10, 100):
        found = kernel_inception_distance(x, y, rng=rng, subsets=200, subset_size=size)
        assert abs(found.mean) < 4 * found.std / np.sqrt(200)


def test_grows_with_the_shift() -> None:
    rng = np.random.default_rng(0)
    x = draw(1000, 16, 0)
    values = [
        kernel_inception_distance(x, draw(1000, 16, 1, s), rng=rng, subsets=20, subset_size=500).mean
        for s in (0, 0.2, 0.6)
    ]
    assert values[0] < values[1] < values[2]


def test_mean_and_std_are_over_the_subsets_and_repeat() -> None:
    x, y = draw(300, 4, 0), draw(300, 4, 1, 0.2)
    one, two = (
        kernel_inception_distance(x, y, rng=np.random.default_rng(3), subsets=9, subset_size=50) for _ in range(2)
    )
    np.testing.assert_array_equal(one.subsets, two.subsets)
    assert one.mean == pytest.approx(one.subsets.mean())
    assert one.std == pytest.approx(one.subsets.std())


def test_standard_error_is_the_spread_over_repetitions() -> None:
    values, errors = [], []
    rng = np.random.default_rng(0)
    for repeat in range(150):
        x, y = draw(200, 4, 2 * repeat), draw(200, 4, 2 * repeat + 1, 0.5)
        values.append(squared_mmd(x, y))
        errors.append(kid_standard_error(x, y, rng=rng))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)


@pytest.mark.parametrize(
    ("y_shape", "size", "message"),
    [((10, 3), 5, "KID needs"), ((10, 4), 11, "found 20 and 10"), ((10, 4), 1, "at least 2")],
)
def test_bad_input_is_refused(y_shape: tuple[int, int], size: int, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        kernel_inception_distance(np.zeros((20, 4)), np.zeros(y_shape), rng=np.random.default_rng(0), subset_size=size)
