"""The distance of two one-dimensional samples, by counting in bins, against its definition."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from metrics.sliced import wasserstein
from metrics.sliced.acceleration import have_native
from metrics.sliced.wasserstein import (
    BINS,
    PIECE,
    BinnedDistance,
    bin_signs,
    look_up,
    missing_partners,
    sorted_distance,
)

TOLERANCE = 1e-2
"""Bins: float32 numbers at the last of 2^15 bins are 0.004 apart, and values are moved up to twice."""


class NativeInBlocks:
    """`NativeDistance` with the interface of `BinnedDistance`."""

    def __init__(self) -> None:
        from metrics.sliced.native_distance import NativeDistance

        self._distance = NativeDistance()

    def __call__(self, left: np.ndarray, right: np.ndarray) -> float:
        return self._distance(in_blocks(left), in_blocks(right), len(left), (0.0, 0.0))


def in_blocks(values: np.ndarray, block: int = 3001) -> np.ndarray:
    """(b, block), with gaps between the blocks and nothing but NaN after the values."""
    memory = np.full((-(-len(values) // block), block + 5), np.nan, np.float32)
    for number, row in enumerate(memory):
        part = values[number * block : (number + 1) * block]
        row[: len(part)] = part
    return memory[:, :block]


def defined(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(np.sort(left.astype(np.float64)) - np.sort(right.astype(np.float64))).mean())


def binned(left: np.ndarray, right: np.ndarray) -> float:
    return BinnedDistance()(left, right)


# Values on and between edges, many in one bin, in the outer bins and far beyond them.
positions = st.one_of(
    st.integers(-3, 12).map(float),
    st.floats(0, 12, width=32),
    st.floats(100, 100.5, width=32),
    st.floats(-1e6, 1e6, width=32),
    st.floats(BINS - 2, BINS + 2, width=32),
)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mean_gap_of_sorted_values_is_w1(pairs: list[tuple[float, float]]) -> None:
    left, right = (np.sort(np.array(values, np.float32)) for values in zip(*pairs, strict=True))
    assert sorted_distance(left, right) == pytest.approx(wasserstein_distance(left, right), rel=1e-4, abs=1e-3)


@pytest.fixture(autouse=True, params=["sorted", "counted again", "native"])
def least_again(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do with values in bins without a sign, which else their number decides; and all of it in C."""
    if request.param == "native":
        if not have_native():
            pytest.skip("the loops in C were not built")
        monkeypatch.setattr(sys.modules[__name__], "BinnedDistance", NativeInBlocks)
    monkeypatch.setattr(wasserstein, "LEAST_AGAIN", 1 if request.param == "counted again" else 1 << 30)


@example([(1.0, 100.0), (BINS - 2.0, BINS + 0.5)])
@given(st.lists(st.tuples(positions, positions), min_size=1, max_size=120))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counting_gives_w1(pairs: list[tuple[float, float]]) -> None:
    left, right = (np.array(values, np.float32) for values in zip(*pairs, strict=True))
    before = left.copy(), right.copy()
    expected = defined(left, right)
    assert binned(left, right) == pytest.approx(expected, rel=1e-5, abs=TOLERANCE)
    assert binned(right, left) == pytest.approx(expected, rel=1e-5, abs=TOLERANCE)
    np.testing.assert_array_equal((left, right), before)


@pytest.mark.parametrize("spread", [0.01, 3.0, BINS / 6, 50.0 * BINS])
@pytest.mark.parametrize("moved", [0.0, 0.02, 2.0])
def test_large_samples_of_any_spread(spread: float, moved: float) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, PIECE + 4321), np.float32) * np.float32(spread) + np.float32(BINS / 2)
    right += np.float32(moved * spread)
    np.testing.assert_allclose(binned(left, right), defined(left, right), rtol=2e-6, atol=1e-5)


def test_heavy_tails_and_few_different_values() -> None:
    rng = np.random.default_rng(1)
    heavy = (rng.standard_t(1.5, (2, 70_000)) * 500 + BINS / 2).astype(np.float32)
    np.testing.assert_allclose(binned(*heavy), defined(*heavy), rtol=2e-6)
    few = rng.integers(0, 7, (2, 70_000)).astype(np.float32) * 1000
    np.testing.assert_allclose(binned(*few), defined(*few), rtol=2e-6)


def test_equal_samples_are_at_distance_zero() -> None:
    left = np.random.default_rng(0).normal(BINS / 2, BINS / 6, 100_000).astype(np.float32)
    assert binned(left, left[::-1]) == 0.0


def test_one_object_serves_many_samples() -> None:
    distance, rng = BinnedDistance(), np.random.default_rng(0)
    for n in (5000, 10, 100_000):
        left, right = rng.normal(BINS / 2, BINS / 6, (2, n)).astype(np.float32)
        assert distance(left, right) == binned(left, right)


def test_signs_are_those_that_cannot_change() -> None:
    left, right = np.zeros(BINS, np.int32), np.zeros(BINS, np.int32)
    left[[3, 4, 9]], right[[4, 8, 9]] = [2, 1, 3], [3, 2, 1]
    edges = np.concatenate([[0], np.cumsum(left - right)]).astype(np.int32)
    assert edges[3:11].tolist() == [0, 2, 0, 0, 0, 0, -2, 0]
    signs = bin_signs(edges, left, right)
    assert signs[3:11].tolist() == [1, 0, 0, 0, 0, -1, 0, 0]
    places, missing = missing_partners(edges, signs)
    assert list(zip(places.tolist(), missing.tolist(), strict=True)) == [(3, 0), (4, 2), (8, 0), (9, -2)]


def test_older_opencv_looks_up_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    table, index = rng.standard_normal(1 << 16, np.float32), rng.integers(0, 1 << 16, 1000).astype(np.uint16)
    expected = table[index]
    np.testing.assert_array_equal(look_up(table, index, np.empty(1000, np.float32)), expected)

    def refuse(*_: object, **__: object) -> None:
        raise cv2.error("8 bits only")

    monkeypatch.setattr(wasserstein.cv2, "LUT", refuse)
    np.testing.assert_array_equal(look_up(table, index, np.empty(1000, np.float32)), expected)
