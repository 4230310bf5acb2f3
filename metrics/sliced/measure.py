"""From two image sets to a result: selection, statistics, distances, uncertainty."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metrics.protocol import Interval, Json, NoiseFloor, Protocol, Result, RunStamp, SetStamp, run_stamp
from metrics.sliced.acceleration import have_native
from metrics.sliced.accumulator import MEMORY_BYTES
from metrics.sliced.cache import StatisticsCache
from metrics.sliced.config import PAPER_IMAGES, REFERENCE, level_sizes
from metrics.sliced.distance import Comparison
from metrics.sliced.draws import FAKE, REAL, ReferenceDraws
from metrics.sliced.gather import Gathering, gather
from metrics.sliced.plan import SwdPlan
from metrics.sliced.projections import all_distances
from metrics.sliced.statistics import SwdStatistics
from metrics.sliced.uncertainty import (
    CONFIDENCE,
    MIN_IMAGES,
    LevelDistances,
    compare_statistics,
    confidence_interval,
    floor_distances,
    floor_slots,
    indistinguishable,
    split_count,
    split_differences,
)
from metrics.sliced.work import Meter
from metrics.sources.base import ImageSet

Progress = Callable[[int, int], None]
HALVES = 0.5**0.5
"""Factor from the floor at n / 2 to the floor at n: the distance shrinks like 1 / sqrt(n)."""
PACKAGES = ("numpy", "opencv-python-headless", "scipy", "pillow", "h5py")


def measure_swd(
    real: ImageSet,
    fake: ImageSet | None,
    plan: SwdPlan,
    *,
    jobs: int = 1,
    spill: Path | None = None,
    memory: int = MEMORY_BYTES,
    cache: StatisticsCache | None = None,
    dask: str | None = None,
    progress: Progress | None = None,
) -> Result:
    """Sliced Wasserstein distance of two sets, or the noise floor of one.

    cache   keeps the reals' statistics between calls
    dask    address of a scheduler whose workers read the images; the result is the same
    """
    started = time.perf_counter()
    config, sizes = plan.config, level_sizes(plan.res)
    reference = ReferenceDraws(config, sizes) if config.is_reference else None
    meter = Meter(plan.work, progress)
    how = Gathering(config=config, jobs=jobs, spill=spill, memory=memory, dask=dask, reference=reference)
    reals = gather(real, plan.numbers[REAL], REAL, how, meter, cache)
    opened = [reals]
    try:
        if reference is not None:
            reference.close_reals()
        floor = _floor(plan, reals, jobs, meter) if plan.floor or fake is None else None
        reals.keep_first(plan.n)
        if fake is None:
            return _floor_result(plan, real, floor, started, jobs)
        fakes = gather(fake, plan.numbers[FAKE], FAKE, how, meter, None)
        opened.append(fakes)
        compared = _compare(plan, reals, fakes, reference, jobs, meter)
    finally:
        for statistics in opened:
            statistics.close()
    meter.finish()
    return _result(plan, {REAL: real, FAKE: fake}, compared, floor, started, jobs)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compared:
    """Distances per level and how sure they are; `level_intervals` side -> [low, high]."""

    levels: list[LevelDistances]
    interval: Interval | None
    level_intervals: dict[str, list[float]]


def swd_of_statistics(
    plan: SwdPlan,
    sets: Mapping[str, ImageSet],
    reals: SwdStatistics,
    fakes: SwdStatistics,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Result:
    """The result of `measure_swd` from statistics that were gathered elsewhere (default protocol).

    sets    'real' and 'fake': what the result names
    reals   of the plan's reals in the plan's order; those that only the floor uses are forgotten
    """
    started = time.perf_counter()
    meter = Meter(plan.work, progress)
    floor = _floor(plan, reals, jobs, meter) if plan.floor else None
    reals.keep_first(plan.n)
    compared = _compare(plan, reals, fakes, None, jobs, meter)
    meter.finish()
    return _result(plan, dict(sets), compared, floor, started, jobs)


def _compare(
    plan: SwdPlan,
    reals: SwdStatistics,
    fakes: SwdStatistics,
    reference: ReferenceDraws | None,
    jobs: int,
    meter: Meter,
) -> _Compared:
    levels = _distances(plan, reals, fakes, reference, jobs, meter)
    interval, intervals = None, {}
    if split_count(plan.config, plan.n):
        differences = split_differences(reals, fakes, jobs=jobs, step=meter.pairs)
        interval = confidence_interval(differences, levels)
        for column, level in enumerate(levels):
            own = confidence_interval(differences[:, [column]], [level])
            intervals[str(level.size)] = [own.low, own.high]
    return _Compared(levels=levels, interval=interval, level_intervals=intervals)


def _result(
    plan: SwdPlan,
    sets: dict[str, ImageSet | None],
    compared: _Compared,
    floor: NoiseFloor | None,
    started: float,
    jobs: int,
) -> Result:
    value = float(np.mean([level.scaled for level in compared.levels]))
    return Result(
        metric="swd",
        value=value,
        unit="mean over levels, x1e3",
        levels={str(level.size): level.scaled for level in compared.levels},
        interval=compared.interval,
        noise_floor=floor,
        details={"level_intervals": compared.level_intervals},
        warnings=_warnings(plan, value, compared.interval, floor),
        protocol=_protocol(plan, sets),
        run=_run_stamp(started, jobs),
    )


def _distances(
    plan: SwdPlan,
    reals: SwdStatistics,
    fakes: SwdStatistics,
    reference: ReferenceDraws | None,
    jobs: int,
    meter: Meter,
) -> list[LevelDistances]:
    """The comparison itself, level by level from the finest."""
    if reference is None:
        return compare_statistics(reals, fakes, jobs=jobs, step=meter.pairs)
    # Float32 moments load whole levels, so they come before the projections take their memory.
    moments = {size: (reals.reference_moments(size), fakes.reference_moments(size)) for size in reals.sizes}
    comparisons = [
        Comparison(
            real=reals.side(size, moments=of_reals),
            fake=fakes.side(size, moments=of_fakes),
            directions=reference.directions(),
        )
        for size, (of_reals, of_fakes) in moments.items()
    ]
    distances = all_distances(comparisons, jobs=jobs, step=meter.pairs)
    return [LevelDistances(size=size, values=values) for size, values in zip(moments, distances, strict=True)]


def _floor(plan: SwdPlan, reals: SwdStatistics, jobs: int, meter: Meter) -> NoiseFloor:
    """Reals against disjoint reals: at n when there are 2n, else two halves of the n, scaled."""
    slots = floor_slots(plan.config, plan.n, reals.n)
    levels = floor_distances(reals, slots, jobs=jobs, step=meter.pairs)
    exact = len(slots[0]) == plan.n
    scaled = 1.0 if exact else HALVES
    return NoiseFloor(
        value=scaled * float(np.mean([level.scaled for level in levels])),
        levels={str(level.size): scaled * level.scaled for level in levels},
        n=len(slots[0]),
        scaled=scaled,
        method="reals against disjoint reals" + ("" if exact else f", at n / 2 times {HALVES:.4f}"),
    )


def _floor_result(plan: SwdPlan, real: ImageSet, floor: NoiseFloor | None, started: float, jobs: int) -> Result:
    """The result of one set alone."""
    assert floor is not None
    return Result(
        metric="swd-floor",
        value=floor.value,
        unit="mean over levels, x1e3",
        levels=floor.levels,
        noise_floor=floor,
        warnings=_few(plan),
        protocol=_protocol(plan, {REAL: real, FAKE: None}),
        run=_run_stamp(started, jobs),
    )


def _run_stamp(started: float, jobs: int) -> RunStamp:
    """With the language of the loops, which decides the last digits."""
    stamp = run_stamp(seconds=time.perf_counter() - started, jobs=jobs, packages=PACKAGES)
    return replace(stamp, versions={**stamp.versions, "loops": "C" if have_native() else "NumPy"})


def _few(plan: SwdPlan) -> tuple[str, ...]:
    if plan.n >= PAPER_IMAGES:
        return ()
    return (f"n is {plan.n}; published values use {PAPER_IMAGES}, and the distance depends on n",)


def _warnings(plan: SwdPlan, value: float, interval: Interval | None, floor: NoiseFloor | None) -> tuple[str, ...]:
    """Sentences about what the value cannot say."""
    warnings = list(_few(plan))
    if interval is None and plan.config.interval_splits:
        warnings.append(f"n is {plan.n}: an interval needs at least {MIN_IMAGES} images per set")
    if floor is not None:
        told = not indistinguishable(interval, floor.value) if interval is not None else None
        if told is False:
            warnings.append(
                f"n is too small to tell the value {value:.2f} from the noise floor {floor.value:.2f} "
                f"({CONFIDENCE:.0%} confidence); use more images"
            )
        if told is None:
            warnings.append(
                f"without an interval the value {value:.2f} cannot be told from the noise floor "
                f"{floor.value:.2f}; use more images"
            )
    return tuple(warnings)


def _protocol(plan: SwdPlan, sets: dict[str, ImageSet | None]) -> Protocol:
    config = plan.config
    stamps: dict[str, SetStamp] = {}
    for role, one in sets.items():
        if one is None:
            continue
        if plan.n == one.n:
            selection = "all"
        else:
            selection = f"first {plan.n}" if config.is_reference else f"random {plan.n}, seed {config.seed}"
        stamps[role] = one.stamp(used=plan.n, selection=selection)
    settings: dict[str, Json] = {
        "levels": list(level_sizes(plan.res)),
        "patches": config.patches,
        "patch": "7x7x3",
        "repeats": config.repeats,
        "directions": config.directions,
        "moments": "float32, each set its own" if config.is_reference else "float64, each set its own",
    }
    return Protocol(
        metric="swd-floor" if plan.alone else "swd",
        name=config.protocol,
        settings=settings,
        sets=stamps,
        seed=config.seed,
        batch=config.batch if config.protocol == REFERENCE else None,
    )
