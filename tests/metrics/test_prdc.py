import tracemalloc

import numpy as np
import pytest

from metrics import prdc
from metrics.errors import BatchError
from metrics.prdc import inside_manifolds, precision_recall, squared_radii


def draw(n: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, dim)) + shift).astype(np.float32)


def by_definition(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(a[:, None].astype(float) - b[None]).sum(2))

    def share(queries: np.ndarray, centres: np.ndarray) -> float:
        radii = np.sort(distances(centres, centres), axis=1)[:, k]
        return float((distances(queries, centres) <= radii).any(1).mean())

    return share(fake, real), share(real, fake)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_the_definition(k: int) -> None:
    real, fake = draw(150, 6, 0), draw(90, 6, 1, 0.5)
    found = precision_recall(real, fake, neighbours=k)
    assert (found.precision, found.recall) == by_definition(real, fake, k)


def test_radii_equal_scikit_learns() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed")
    x = draw(500, 32, 0)
    distances, _ = neighbors.NearestNeighbors(n_neighbors=4).fit(x.astype(float)).kneighbors(x.astype(float))
    np.testing.assert_allclose(np.sqrt(squared_radii(x)), distances[:, 3], rtol=1e-9)


@pytest.mark.parametrize("tile", [1, 2, 7, 64, 119])
def test_tiles_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    real, fake = draw(120, 4, 0), draw(100, 4, 1, 0.4)
    whole = precision_recall(real, fake)
    radii = squared_radii(real)
    monkeypatch.setattr(prdc, "TILE", tile)
    assert precision_recall(real, fake) == whole
    np.testing.assert_allclose(squared_radii(real), radii, rtol=1e-12)


def test_a_set_covers_itself_and_duplicates_have_radius_zero() -> None:
    x = draw(60, 1024, 0) * 100
    found = precision_recall(x, x[::-1].copy())
    assert (found.precision, found.recall) == (1, 1)
    twice = np.repeat(x[:20], 5, axis=0)
    np.testing.assert_array_equal(squared_radii(twice), 0)
    assert inside_manifolds(twice, twice, None, squared_radii(twice))[0].all()


def test_direction() -> None:
    real = draw(800, 8, 0)
    same = precision_recall(real, draw(800, 8, 1))
    narrow = precision_recall(real, draw(800, 8, 2) * 0.3)
    far = precision_recall(real, draw(800, 8, 3, 4.0))
    assert narrow.precision >= same.precision
    assert narrow.recall < same.recall / 2
    assert far.precision < 0.05
    assert far.recall < 0.05


def test_exchanging_the_sets_exchanges_the_two() -> None:
    real, fake = draw(200, 5, 0), draw(150, 5, 1, 0.6)
    one, other = precision_recall(real, fake), precision_recall(fake, real)
    assert (one.precision, one.recall) == (other.recall, other.precision)


def test_order_of_images_does_not_matter() -> None:
    real, fake = draw(200, 5, 0), draw(150, 5, 1, 0.6)
    assert precision_recall(real, fake) == precision_recall(real[::-1].copy(), np.roll(fake, 40, axis=0))


def test_progress_ends_at_its_total(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(prdc, "TILE", 8)
    precision_recall(draw(20, 3, 0), draw(30, 3, 1), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((9, 3)), np.zeros((9, 4)), "precision needs"),
        (np.zeros((9, 3)), np.zeros((3, 3)), "found 9 and 3"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), "generated image 0 hold NaN"),
    ],
)
def test_bad_input_is_refused(real: np.ndarray, fake: np.ndarray, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        precision_recall(real, fake)


def test_memory_is_bounded_by_the_features_and_a_few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prdc, "TILE", 100)
    real, fake = draw(3000, 4, 0), draw(3000, 4, 1)
    tracemalloc.start()
    precision_recall(real, fake)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 50
