from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.errors import BatchError
from metrics.moments import empty_moments, merge, merge_all, moments_of


def draw(n: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim)) + 50).astype(np.float32)


def test_mean_and_covariance_are_numpys() -> None:
    x = draw(5000, 12)
    moments = moments_of(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(moments.mean, wide.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance(), np.cov(wide, rowvar=False), rtol=1e-11, atol=1e-11)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 1000))
def test_merged_shards_equal_the_whole(sizes: list[int], seed: int) -> None:
    x = draw(sum(sizes) + 2, 5, seed)
    cuts = np.cumsum(sizes)
    merged = merge_all(moments_of(part) for part in np.split(x, cuts))
    whole = moments_of(x)
    assert merged.n == whole.n
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9)


def test_processes_merge_to_the_whole() -> None:
    x = draw(400, 6)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        merged = merge_all(pool.map(moments_of, np.array_split(x, 3)))
    np.testing.assert_allclose(merged.covariance(), moments_of(x).covariance(), rtol=1e-9)


def test_merging_does_not_depend_on_order() -> None:
    a, b, c = (moments_of(draw(n, 4, n)) for n in (3, 70, 500))
    forward, backward = merge_all([a, b, c]), merge_all([c, b, a])
    np.testing.assert_allclose(forward.scatter, backward.scatter, rtol=1e-12)


def test_nothing_is_the_neutral_element() -> None:
    x = moments_of(draw(10, 3))
    assert merge(empty_moments(3), x) is x
    assert merge(x, empty_moments(3)) is x


def test_a_large_offset_costs_no_digits() -> None:
    x = np.random.default_rng(0).standard_normal((3000, 2)) + 1e6
    np.testing.assert_allclose(moments_of(x).covariance(), np.cov(x, rowvar=False), rtol=1e-9)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "must be"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), "image 1 hold NaN"),
    ],
)
def test_bad_features_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        moments_of(array)


def test_misfits_are_refused() -> None:
    with pytest.raises(BatchError, match="3 and of 4 channels"):
        merge(empty_moments(3), empty_moments(4))
    with pytest.raises(BatchError, match="at least 2 images"):
        moments_of(np.zeros((1, 3))).covariance()
    with pytest.raises(BatchError, match="no moments"):
        merge_all([])
