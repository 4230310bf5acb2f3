"""Projection and distance against their definitions, sorted and counted in bins."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.errors import BatchError
from metrics.sliced import distance, projections
from metrics.sliced.acceleration import have_native
from metrics.sliced.blocks import Workspace, join_blocks
from metrics.sliced.config import SwdConfig
from metrics.sliced.distance import Comparison, FoldedComparison, Moments, Side
from metrics.sliced.draws import keyed_directions
from metrics.sliced.projections import Projections, all_distances, sliced_distances
from metrics.sliced.store import DescriptorStore

PATCHES = 32


@pytest.fixture(params=["sorted", "counted", "native"], autouse=True)
def least_binned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with all ways to the distance, which are chosen by the number of descriptors, and small blocks."""
    if request.param == "native":
        if not have_native():
            pytest.skip("compiling needs numba")
        monkeypatch.setattr(projections, "Workspace", lambda native: Workspace(native=True))
    monkeypatch.setattr(projections, "BLOCK_ROWS", 1000)
    monkeypatch.setattr(distance, "LEAST_BINNED", 1 << 30 if request.param == "sorted" else 1)


def stored(rows: np.ndarray, folder: Path | None = None) -> DescriptorStore:
    """Rows (images * PATCHES, 147) as a store keeps them."""
    store = DescriptorStore(len(rows) // PATCHES, PATCHES, folder)
    store.write(0, rows.reshape(-1, PATCHES, 147).swapaxes(1, 2))
    return store


def moments_of(rows: np.ndarray) -> Moments:
    cube = rows.reshape(len(rows), 3, 49).astype(np.float64)
    return Moments(mean=cube.mean(axis=(0, 2)), std=cube.std(axis=(0, 2)))


def side(rows: np.ndarray, folder: Path | None = None, slots: np.ndarray | None = None) -> Side:
    chosen = np.arange(len(rows) // PATCHES) if slots is None else slots
    return Side(store=stored(rows, folder), moments=moments_of(rows), slots=chosen)


def rows_of(images: int, seed: int, scale: float = 20.0, shift: float = 90.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (shift + scale * rng.gamma(2.0, size=(images * PATCHES, 147))).astype(np.float32)


def defined(real: np.ndarray, fake: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Every step in float64, as written down."""
    projected = []
    for rows in (real, fake):
        cube = rows.reshape(len(rows), 3, 49).astype(np.float64)
        cube = (cube - cube.mean(axis=(0, 2), keepdims=True)) / cube.std(axis=(0, 2), keepdims=True)
        projected.append(np.sort(cube.reshape(len(rows), -1) @ directions.T.astype(np.float64), axis=0))
    return np.abs(projected[0] - projected[1]).mean(axis=0)


def test_distances_are_the_definition() -> None:
    real, fake = rows_of(70, 0), rows_of(70, 1, scale=30.0)
    fake[:, :49] **= 1.1
    directions = keyed_directions(SwdConfig(), 64)[:50]
    np.testing.assert_allclose(
        sliced_distances(side(real), side(fake), directions), defined(real, fake, directions), rtol=2e-5, atol=2e-7
    )


@pytest.mark.parametrize("images", [1, 300])
def test_any_threads_and_any_store_give_the_same_bits(images: int, tmp_path: Path) -> None:
    real, fake = rows_of(images, 0), rows_of(images, 1)
    directions = keyed_directions(SwdConfig(), 64)[:40]
    expected = sliced_distances(side(real), side(fake), directions, jobs=1)
    for jobs in (2, 3, 5):
        np.testing.assert_array_equal(sliced_distances(side(real), side(fake), directions, jobs=jobs), expected)
    filed = sliced_distances(side(real, tmp_path), side(fake, tmp_path), directions, jobs=2)
    np.testing.assert_array_equal(filed, expected)
    small = Projections(limit=1)
    one_by_one = sliced_distances(side(real), side(fake), directions, projections=small)
    np.testing.assert_allclose(one_by_one, expected, rtol=2e-5)


def test_distance_is_symmetric_and_zero_for_equal_sets() -> None:
    real, fake = rows_of(20, 0), rows_of(20, 1)
    directions = keyed_directions(SwdConfig(), 64)[:20]
    there = sliced_distances(side(real), side(fake), directions)
    back = sliced_distances(side(fake), side(real), directions)
    np.testing.assert_allclose(there, back, rtol=1e-6)
    assert there.min() > 0
    np.testing.assert_array_equal(sliced_distances(side(real), side(real.copy()), directions), 0)


def test_order_of_descriptors_does_not_matter() -> None:
    real, fake = rows_of(20, 0), rows_of(20, 1)
    directions = keyed_directions(SwdConfig(), 64)[:20]
    shuffled = real[np.random.default_rng(0).permutation(len(real))]
    np.testing.assert_allclose(
        sliced_distances(side(shuffled), side(fake), directions),
        sliced_distances(side(real), side(fake), directions),
        rtol=1e-5,
    )


def test_each_set_is_standardised_by_its_own_moments() -> None:
    real = rows_of(20, 0)
    brighter = real * 2 + 10
    directions = keyed_directions(SwdConfig(), 64)[:20]
    assert sliced_distances(side(real), side(brighter), directions).max() < 1e-5


def test_slots_choose_images(tmp_path: Path) -> None:
    real, fake = rows_of(12, 0), rows_of(12, 1)
    slots = np.array([0, 1, 2, 7, 9, 10])
    rows = (slots[:, None] * PATCHES + np.arange(PATCHES)).ravel()
    directions = keyed_directions(SwdConfig(), 64)[:20]
    whole = moments_of(real), moments_of(fake)
    expected = sliced_distances(
        Side(store=stored(real[rows]), moments=whole[0], slots=np.arange(6)),
        Side(store=stored(fake[rows]), moments=whole[1], slots=np.arange(6)),
        directions,
    )
    for folder in (None, tmp_path):
        found = sliced_distances(side(real, folder, slots), side(fake, folder, slots), directions)
        np.testing.assert_array_equal(found, expected)


def test_a_channel_without_variation_contributes_nothing() -> None:
    real, fake = rows_of(10, 0), rows_of(10, 1)
    real[:, :49], fake[:, :49] = 128, 128
    distances = sliced_distances(side(real), side(fake), keyed_directions(SwdConfig(), 64)[:10])
    assert np.isfinite(distances).all()


def test_nearly_all_descriptors_may_be_equal() -> None:
    """Then the sample does not show where the others lie."""
    real, fake = np.full((2, 40 * PATCHES, 147), 7, np.float32)
    real[-3:] += rows_of(1, 0)[:3]
    fake[-5:] += rows_of(1, 1)[:5]
    directions = keyed_directions(SwdConfig(), 64)[:20]
    np.testing.assert_allclose(
        sliced_distances(side(real), side(fake), directions), defined(real, fake, directions), rtol=1e-4
    )


def test_many_comparisons_are_as_each_alone() -> None:
    sets = [side(rows_of(images, seed)) for images, seed in ((9, 0), (9, 1), (4, 2), (4, 3))]
    directions = keyed_directions(SwdConfig(), 64)
    comparisons = [
        Comparison(real=sets[0], fake=sets[1], directions=directions[:200]),
        Comparison(real=sets[2], fake=sets[3], directions=directions[:3]),
        Comparison(real=sets[1], fake=sets[0], directions=directions[:130]),
    ]
    done: list[int] = []
    found = all_distances(comparisons, jobs=3, step=done.append)
    for comparison, one in zip(comparisons, found, strict=True):
        alone = sliced_distances(comparison.real, comparison.fake, comparison.directions)
        np.testing.assert_array_equal(one, alone)
    assert sum(done) == sum(comparison.rows * len(comparison.directions) for comparison in comparisons)


@pytest.mark.parametrize(
    ("directions", "rows", "expected"),
    [
        (512, 1 << 21, (1, 128)),
        (512, 1 << 20, (1, 132)),
        (512, (1 << 21) + 1, (1, 108)),
        (512, 1 << 30, (1, 1)),
        (128, 1 << 20, (2, 128)),
        (128, 1 << 21, (1, 128)),
        (300, 1 << 17, (1, 108)),
        (96, 1 << 17, (2, 96)),
    ],
)
def test_memory_decides_how_many_directions_go_at_a_time(directions: int, rows: int, expected: tuple[int, int]) -> None:
    assert Projections(2 << 30).shape(directions, rows) == expected


def test_an_error_in_a_thread_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise ZeroDivisionError("in a thread")

    monkeypatch.setattr(FoldedComparison, "distance", fail)
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        sliced_distances(side(rows_of(4, 0)), side(rows_of(4, 1)), keyed_directions(SwdConfig(), 64), jobs=2)


def test_unequal_sets_are_refused() -> None:
    with pytest.raises(BatchError, match="320 and 352 descriptors"):
        sliced_distances(side(rows_of(10, 0)), side(rows_of(11, 1)), keyed_directions(SwdConfig(), 64)[:2])


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_blocks_are_joined_in_order(rows: int, block: int, shift: int) -> None:
    blocks = np.full((-(-rows // block), block), np.nan, np.float32)
    blocks.ravel()[:rows] = np.arange(rows)
    found = join_blocks(blocks, shift, np.empty(rows, np.float32))
    np.testing.assert_array_equal(found, np.arange(rows) + shift)
