"""The whole measurement: determinism, direction, floor, interval, agreement of the two protocols."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, stats

import metrics
from metrics.errors import ImageSetError, UsageError
from metrics.sliced import acceleration, accumulator, blocks, distance, measure, uncertainty
from metrics.sliced.accumulator import SwdAccumulator
from metrics.sliced.cache import StatisticsCache
from metrics.sliced.config import SwdConfig, level_sizes
from metrics.sliced.draws import FAKE, REAL, ReferenceDraws, keyed_directions
from metrics.sliced.measure import measure_swd, swd_of_statistics
from metrics.sliced.plan import plan_swd
from metrics.sliced.projections import sliced_distances
from metrics.sliced.uncertainty import balanced_halves, compare_statistics, split_differences
from metrics.sources import ImageSet, as_image_set

VALUE_ONLY = SwdConfig(interval_splits=0)


def value(real: Any, fake: Any, **options: Any) -> float:
    """The value alone, without interval and floor."""
    return metrics.swd(real, fake, **{"config": VALUE_ONLY, "floor": False, **options}).value


def stable(result: Any) -> dict[str, Any]:
    """A result without the run's time."""
    plain = result.to_json()
    del plain["run"]
    return dict(plain)


def test_same_seed_same_bits_for_any_jobs_and_memory(natural_images: Any, tmp_path: Path) -> None:
    real, fake = natural_images(70, 32), natural_images(70, 32, seed=1)
    first = stable(metrics.swd(real, fake))
    assert stable(metrics.swd(real, fake, jobs=2)) == first
    assert stable(metrics.swd(real, fake, jobs=3)) == first
    sets = as_image_set(real), as_image_set(fake)
    plan = plan_swd(*sets, config=SwdConfig(), n=None)
    assert stable(measure_swd(*sets, plan, jobs=2, spill=tmp_path, memory=0)) == first
    other = metrics.swd(real, fake, config=SwdConfig(seed=1))
    assert other.value != first["value"]


@pytest.mark.skipif(not acceleration.have_native(), reason="the loops in C were not built")
def test_loops_in_c_change_no_more_than_the_last_digits(natural_images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "LEAST_BINNED", 1)
    reals, fakes = natural_images(80, 32, seed=0), natural_images(80, 32, seed=1)
    from metrics.sliced import _native
    from metrics.sliced.native_distance import NativeDistance

    calls, call, used = [], NativeDistance.__call__, set()
    loops = {"halve", "cut", "sum_channels", "project"}
    monkeypatch.setattr(NativeDistance, "__call__", lambda *given: calls.append(1) or call(*given))
    for name in loops:
        function = getattr(_native, name)
        monkeypatch.setattr(_native, name, lambda *given, name=name, f=function: used.add(name) or f(*given))
    results = [metrics.swd(reals, fakes, jobs=jobs) for jobs in (1, 3)]
    # Two levels: 512 directions for the value, 128 for the floor, 16 for either half of eight splits.
    assert len(calls) == 2 * 2 * (512 + 128 + 16 * 8 * 2)
    assert used == loops
    used.clear()
    for module in (accumulator, blocks, measure):
        monkeypatch.setattr(module, "have_native", lambda: False)
    expected = metrics.swd(reals, fakes)
    assert len(calls) == 2 * 2 * (512 + 128 + 16 * 8 * 2)
    assert not used
    assert [result.run.versions["loops"] for result in (*results, expected)] == ["C", "C", "NumPy"]
    assert results[0].levels == results[1].levels
    assert results[0].value == pytest.approx(expected.value, rel=1e-7)
    assert results[0].noise_floor.value == pytest.approx(expected.noise_floor.value, rel=1e-7)
    assert results[0].interval.low == pytest.approx(expected.interval.low, rel=1e-6)


def test_sets_that_are_read_in_one_thread_give_the_same(natural_images: Any) -> None:
    real, fake = as_image_set(natural_images(20, 32)), as_image_set(natural_images(20, 32, seed=1))
    expected = value(real, fake, jobs=2)
    real.threads = fake.threads = False
    assert value(real, fake, jobs=2) == expected


def test_every_decline_raises_the_distance(natural_images: Any) -> None:
    real, same = natural_images(200, 64), natural_images(200, 64, seed=1)
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(same.astype(np.float32), (0, 0, 0.7, 0.7)).astype(np.uint8)
    noisy = np.clip(same + rng.normal(0, 12, same.shape), 0, 255).astype(np.uint8)
    dropped = same[np.arange(200) % 5]
    base = metrics.swd(real, same, jobs=2)
    assert base.interval is not None
    base_levels, spread = base.levels, base.interval
    assert base_levels is not None
    for worse in (blurred, noisy, dropped):
        assert value(real, worse) > 1.1 * base.value
    # The finest level alone holds the frequencies that blur takes and noise adds.
    for worse in (blurred, noisy):
        result = metrics.swd(real, worse, jobs=2, floor=False)
        assert result.details["level_intervals"]["64"][0] > 1.5 * base_levels["64"]
    # Modes that are missing show everywhere.
    fewer = metrics.swd(real, dropped, jobs=2, floor=False).interval
    assert fewer is not None
    assert fewer.low > spread.high


def test_stronger_blur_is_further_away(natural_images: Any) -> None:
    real, same = natural_images(60, 32), natural_images(60, 32, seed=1)
    blurs = [
        value(real, ndimage.gaussian_filter(same.astype(np.float32), (0, 0, sigma, sigma)).astype(np.uint8))
        for sigma in (0.4, 0.8, 1.6)
    ]
    assert blurs == sorted(blurs)


def test_a_set_against_itself_is_at_the_floor(natural_images: Any) -> None:
    """Other positions in the same images: near zero, but not zero, since positions are independent."""
    images = natural_images(100, 32)
    result = metrics.swd(images, images)
    assert result.noise_floor is not None
    assert 0 < result.value < 1.2 * result.noise_floor.value


def test_distance_is_symmetric_up_to_the_draws(natural_images: Any) -> None:
    real, fake = natural_images(60, 32), natural_images(60, 32, seed=1, tint=30)
    there, back = value(real, fake), value(fake, real)
    assert there != back
    assert there == pytest.approx(back, rel=0.15)


def test_floor_is_measured_at_n_on_disjoint_images_when_there_are_enough(natural_images: Any) -> None:
    real, fake = natural_images(48, 32), natural_images(24, 32, seed=1)
    result = metrics.swd(real, fake, n=24)
    floor = result.noise_floor
    assert floor is not None
    assert (floor.n, floor.scaled) == (24, 1.0)
    halved = metrics.swd(real[:40], fake, n=24).noise_floor
    assert halved is not None
    assert (halved.n, halved.scaled) == (12, pytest.approx(0.7071, abs=1e-4))
    assert halved.value == pytest.approx(floor.value, rel=0.5)
    # The value does not depend on the images that only the floor sees.
    plan = plan_swd(as_image_set(real), as_image_set(fake), config=SwdConfig(), n=24)
    used = plan.numbers[REAL]
    assert len(set(used.tolist())) == 48
    assert value(real, fake, n=24) == result.value


def test_floor_alone(natural_images: Any) -> None:
    real = natural_images(60, 32)
    result = metrics.swd(real)
    assert result.metric == "swd-floor"
    assert result.protocol.sets["real"].n == 30
    assert result.noise_floor is not None
    assert result.value == result.noise_floor.value == pytest.approx(np.mean(list((result.levels or {}).values())))
    # Two draws of one distribution are as far apart as the floor says.
    other = value(natural_images(30, 32, seed=7), natural_images(30, 32, seed=8))
    assert result.value == pytest.approx(other, rel=0.4)


def test_the_floor_shrinks_like_the_root_of_n(natural_images: Any) -> None:
    values = [metrics.swd(natural_images(2 * n, 16)).value for n in (32, 128, 512)]
    for few, many in pairwise(values):
        assert 1.5 < few / many < 2.7


@pytest.mark.parametrize("differ", [False, True])
def test_interval_has_the_size_of_the_spread_between_samples(differ: bool, natural_images: Any) -> None:
    """Over 24 independent pairs of sets: the estimated standard error against the true one, and coverage."""
    config = SwdConfig(repeats=1, directions=64, patches=64)
    results = []
    for k in range(24):
        real, fake = natural_images(128, 16, seed=2 * k), natural_images(128, 16, seed=2 * k + 1)
        if differ:
            gains = np.random.default_rng(k).uniform(0.3, 1.5, (128, 1, 1, 1))
            fake = np.clip(128 + (fake - 128.0) * gains, 0, 255).astype(np.uint8)
        results.append(metrics.swd(real, fake, config=config, floor=False))
    values = np.array([result.value for result in results])
    errors = np.array([result.interval.standard_error for result in results if result.interval])
    assert len(errors) == 24
    ratio = np.sqrt(np.mean(errors**2)) / values.std(ddof=1)
    assert 0.6 < ratio < 2.2
    covered = [r.interval.low <= values.mean() <= r.interval.high for r in results if r.interval]
    assert sum(covered) >= 19


def test_halves_are_compared_like_whole_sets(
    natural_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SwdConfig(interval_splits=3, split_directions=5)
    gathered = []
    for role, images in ((REAL, natural_images(70, 32)), (FAKE, natural_images(70, 32, seed=1))):
        with SwdAccumulator(res=32, n=70, role=role, config=config, memory=0, spill=tmp_path) as accumulator:
            accumulator.feed(images)
            gathered.append(accumulator.finish())
    found = split_differences(*gathered, jobs=2)
    assert found.shape == (3, 2)
    np.testing.assert_array_equal(split_differences(*gathered, jobs=1), found)
    monkeypatch.setattr(uncertainty, "PROJECTED_BYTES", 2 * 2 * 3 * 4 * 70 * config.patches)
    np.testing.assert_allclose(split_differences(*gathered), found, rtol=1e-4, atol=1e-3)
    for column, size in enumerate((32, 16)):
        directions = keyed_directions(config, size)[:5]
        for row, pair in enumerate(balanced_halves(config, 70)):
            first, second = (
                sliced_distances(*(one.side(size, half) for one in gathered), directions).mean() for half in pair
            )
            assert found[row, column] == pytest.approx(1e3 * (first - second), rel=1e-4, abs=1e-3)


def test_halves_are_balanced_and_disjoint() -> None:
    halves = balanced_halves(SwdConfig(interval_splits=15), 167)
    assert len(halves) == 15
    for first, second in halves:
        assert len(first) == len(second) == 80
        assert len(np.union1d(first, second)) == 160
    for k, (first, _) in enumerate(halves):
        assert all(len(np.intersect1d(first, other)) == 40 for other, _ in halves[:k])
    assert balanced_halves(SwdConfig(), 63) == []


def test_warnings_say_when_the_value_is_not_above_the_floor(natural_images: Any) -> None:
    real, same = natural_images(150, 32), natural_images(75, 32, seed=1)
    near = metrics.swd(real, same, n=75)
    assert any("too small to tell" in warning for warning in near.warnings)
    white = np.random.default_rng(0).integers(0, 256, (75, 3, 32, 32), dtype=np.uint8)
    far = metrics.swd(real, white, n=75)
    assert not any("tell" in warning for warning in far.warnings)
    few = metrics.swd(real, same, n=20)
    assert few.interval is None
    assert any("at least 64 images" in warning for warning in few.warnings)
    assert any("16384" in warning for warning in few.warnings)


def reference_values(real: np.ndarray, fake: np.ndarray, seeds: range) -> np.ndarray:
    return np.array(
        [value(real, fake, config=SwdConfig(protocol="reference", seed=seed, interval_splits=0)) for seed in seeds]
    )


def default_values(real: np.ndarray, fake: np.ndarray, seeds: range, fake_role: str) -> np.ndarray:
    """The default protocol by hand, so that the fakes' role can be wrong."""
    values = []
    for seed in seeds:
        config = SwdConfig(seed=seed)
        sides = []
        for images, role in ((real, REAL), (fake, fake_role)):
            with SwdAccumulator(res=32, n=len(images), role=role, config=config) as accumulator:
                accumulator.feed(images)
                sides.append(accumulator.finish())
        distances = [
            sliced_distances(sides[0].side(size), sides[1].side(size), keyed_directions(config, size)).mean()
            for size in level_sizes(32)
        ]
        values.append(1e3 * float(np.mean(distances)))
    return np.array(values)


def same_distribution(one: np.ndarray, other: np.ndarray) -> bool:
    gap = abs(one.mean() - other.mean())
    error = np.hypot(one.std(ddof=1), other.std(ddof=1)) / np.sqrt(len(one))
    return bool(gap < 3.5 * error and stats.ks_2samp(one, other).pvalue > 1e-3)


def test_both_protocols_have_one_distribution_over_seeds(natural_images: Any) -> None:
    """Fakes that are the reals with noise: sharing the patch positions, a known mistake, must be caught."""
    real = natural_images(32, 32)
    noise = np.random.default_rng(0).normal(0, 6, real.shape)
    fake = np.clip(real + noise, 0, 255).astype(np.uint8)
    reference = reference_values(real, fake, range(20))
    assert same_distribution(reference, default_values(real, fake, range(100, 120), FAKE))
    assert not same_distribution(reference, default_values(real, fake, range(100, 120), REAL))
    public = np.array([value(real, fake, config=SwdConfig(seed=seed, interval_splits=0)) for seed in (100, 101)])
    np.testing.assert_array_equal(public, default_values(real, fake, range(100, 102), FAKE))


def test_reference_draws_need_their_order(natural_images: Any) -> None:
    with pytest.raises(metrics.errors.BatchError, match="ReferenceDraws"):
        SwdAccumulator(res=16, n=1, config=SwdConfig(protocol="reference"))
    draws = ReferenceDraws(SwdConfig(protocol="reference"), (16,))
    with pytest.raises(metrics.errors.BatchError, match="ReferenceDraws"):
        SwdAccumulator(res=16, n=1, reference=draws)


def test_cache_changes_nothing_but_the_time(natural_images: Any, tmp_path: Path) -> None:
    real, fake = natural_images(40, 32), natural_images(20, 32, seed=1)
    cache = StatisticsCache(tmp_path, limit=1 << 30)
    expected = stable(metrics.swd(real, fake, n=20))
    for _ in range(2):
        assert stable(metrics.swd(real, fake, n=20, cache=cache)) == expected
    assert len(list(cache.folder.iterdir())) == 1

    class Unreadable(type(as_image_set(real))):  # type: ignore[misc]
        """The reals come from the cache: reading them would fail."""

        def read(self, indices: Any) -> Any:
            raise AssertionError("the reals were read again")

    source = as_image_set(real)
    fingerprint = source.fingerprint
    source.__class__ = Unreadable
    assert source.fingerprint == fingerprint
    assert stable(metrics.swd(source, fake, n=20, cache=cache)) == expected


def test_progress_is_monotonic_and_complete(natural_images: Any) -> None:
    seen: list[tuple[int, int]] = []
    metrics.swd(
        natural_images(70, 16),
        natural_images(70, 16, seed=1),
        jobs=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert len({total for _, total in seen}) == 1
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 21}, ImageSetError, "has 20 images, asked for 21"),
        ({"config": SwdConfig(patches=1), "res": 24}, ImageSetError, "24"),
    ],
)
def test_wrong_requests_are_refused(options: Any, error: Any, message: str, natural_images: Any) -> None:
    with pytest.raises(error, match=message):
        metrics.swd(natural_images(20, 16), natural_images(30, 16), **options)


def test_wrong_sets_are_refused(natural_images: Any) -> None:
    with pytest.raises(ImageSetError, match="has 16 pixels, array 32"):
        metrics.swd(natural_images(4, 16), natural_images(4, 32))
    with pytest.raises(UsageError, match="power of two"):
        metrics.swd(np.zeros((4, 3, 24, 24), np.uint8))
    with pytest.raises(ImageSetError, match="needs 6 images, array has 5"):
        metrics.swd(natural_images(5, 16), n=3)


def test_a_set_of_ones_own_can_be_measured(natural_images: Any) -> None:
    class Generated(ImageSet):
        """Images made on demand."""

        label, kind, n, res, resizer, threads = "generator", "generated", 20, 16, None, False

        def read(self, indices: Any) -> Any:
            return natural_images(20, 16, seed=1)[np.asarray(indices)]

        def _fingerprint(self) -> str:
            return "none"

        def close(self) -> None:
            pass

    found = value(natural_images(20, 16), Generated())
    assert found == value(natural_images(20, 16), natural_images(20, 16, seed=1))


def test_statistics_gathered_elsewhere_give_the_result(natural_images: Any) -> None:
    real, fake = natural_images(140, 32), natural_images(70, 32, seed=1)
    sets = {REAL: as_image_set(real), FAKE: as_image_set(fake)}
    plan = plan_swd(sets[REAL], sets[FAKE], config=SwdConfig(), n=70)
    gathered = []
    for role, images in sets.items():
        numbers = plan.numbers[role]
        with SwdAccumulator(res=32, n=len(numbers), role=role, config=plan.config) as accumulator:
            order = np.random.default_rng(0).permutation(len(numbers))
            for some in np.array_split(order, 5):
                accumulator.feed(images.read(numbers[some]), numbers=numbers[some], slots=some)
            gathered.append(accumulator.finish())
    assert stable(swd_of_statistics(plan, sets, *gathered)) == stable(metrics.swd(real, fake, n=70))
    other = SwdAccumulator(res=32, n=1, role=FAKE, config=SwdConfig(seed=1))
    other.feed(fake[:1])
    with pytest.raises(metrics.errors.BatchError, match="other parameters"):
        compare_statistics(gathered[0], other.finish())
