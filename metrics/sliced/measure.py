"""From two image sets to a result: selection, statistics, distances, uncertainty."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError, UsageError
from metrics.protocol import Interval, Json, NoiseFloor, Protocol, Result, SetStamp, run_stamp
from metrics.sliced.accumulator import MEMORY_BYTES
from metrics.sliced.cache import StatisticsCache
from metrics.sliced.config import PAPER_IMAGES, REFERENCE, SwdConfig, level_sizes
from metrics.sliced.distance import sliced_distances
from metrics.sliced.draws import FAKE, REAL, ReferenceDraws, keyed_directions, keyed_order
from metrics.sliced.gather import Gathering, gather
from metrics.sliced.statistics import SwdStatistics
from metrics.sliced.uncertainty import (
    CONFIDENCE,
    MIN_BLOCK_IMAGES,
    MIN_BLOCKS,
    LevelDistances,
    block_count,
    block_values,
    confidence_interval,
    floor_distances,
    floor_slots,
    indistinguishable,
)
from metrics.sliced.work import Meter, feed_cost, pair_cost
from metrics.sources.base import ImageSet

Progress = Callable[[int, int], None]
HALVES = 0.5**0.5
"""Factor from the floor at n / 2 to the floor at n: the distance shrinks like 1 / sqrt(n)."""
PACKAGES = ("numpy", "opencv-python-headless", "scipy", "pillow", "h5py")


@dataclass(frozen=True, kw_only=True, slots=True)
class SwdPlan:
    """What will be measured.

    n         images per side; for the floor alone: images on each of its sides
    numbers   role -> image numbers to feed; the reals' include those only the floor uses
    floor     whether the noise floor is measured
    """

    config: SwdConfig
    res: int
    n: int
    numbers: dict[str, NDArray[np.int64]]
    floor: bool

    @property
    def alone(self) -> bool:
        """Whether there is one set only."""
        return FAKE not in self.numbers

    @property
    def floor_n(self) -> int:
        """Images on each side of the floor."""
        return self.n if len(self.numbers[REAL]) >= 2 * self.n else self.n // 2

    @property
    def work(self) -> int:
        """Estimated cost of all stages, in the units of `work`."""
        config, sizes = self.config, level_sizes(self.res)
        images = sum(len(numbers) for numbers in self.numbers.values())
        pairs = 0
        if not self.alone:
            pairs += self.n * config.all_directions
            if blocks := block_count(config, self.n):
                pairs += self.n // blocks * blocks * config.extra_directions
        if self.floor:
            pairs += self.floor_n * config.extra_directions
        return images * feed_cost(self.res) + pair_cost(pairs * config.patches * len(sizes))


def plan_swd(real: ImageSet, fake: ImageSet | None, *, config: SwdConfig, n: int | None, floor: bool = True) -> SwdPlan:
    """Decide which images are used; raises for sizes that differ and for fewer images than asked.

    Default protocol: a random sample of n, keyed by the seed. Reference protocol: the first n.
    n None: the paper's 16,384, or all there are if fewer.
    """
    level_sizes(real.res)
    if fake is not None and fake.res != real.res:
        raise ImageSetError(
            f"{real.label} has {real.res} pixels, {fake.label} {fake.res}; name one size with --res "
            "and a resizer with --resizer"
        )
    sets = [real] if fake is None else [real, fake]
    if n is not None:
        for one in sets:
            if n > one.n:
                raise ImageSetError(f"{one.label} has {one.n} images, asked for {n}; ask for at most {one.n}")
    if fake is None:
        half = real.n // 2
        if n is not None and n > half:
            raise ImageSetError(f"the floor at n = {n} needs {2 * n} images, {real.label} has {real.n}")
        count = min(PAPER_IMAGES, half) if n is None else n
    else:
        count = min(PAPER_IMAGES, *(one.n for one in sets)) if n is None else n
    if count < 1 or (floor and fake is not None and count < 2):
        raise UsageError(f"{count} images are too few for a sliced Wasserstein distance; 2 are the least")
    wanted = 2 * count if floor and real.n >= 2 * count and not config.is_reference else count
    if fake is None:
        wanted = 2 * count
    numbers = {REAL: _choose(config, real.n, count, wanted)}
    if fake is not None:
        numbers[FAKE] = _choose(config, fake.n, count, count)
    return SwdPlan(config=config, res=real.res, n=count, numbers=numbers, floor=floor)


def _choose(config: SwdConfig, available: int, count: int, wanted: int) -> NDArray[np.int64]:
    """`count` image numbers, ascending, then wanted - count others, ascending."""
    if config.is_reference:
        return np.arange(wanted)
    order = keyed_order(config.seed, available)[:wanted]
    return np.concatenate([np.sort(order[:count]), np.sort(order[count:])])


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

    cache   keeps the reals' statistics and floor between calls
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
        levels = _distances(plan, reals, fakes, reference, jobs, meter)
        value = float(np.mean([level.scaled for level in levels]))
        interval, intervals = None, {}
        if blocks := block_count(config, plan.n):
            cut = block_values(reals, fakes, blocks=blocks, jobs=jobs, step=meter.pairs)
            interval = confidence_interval(cut, levels)
            for column, level in enumerate(levels):
                own = confidence_interval(cut[:, [column]], [level])
                intervals[str(level.size)] = [own.low, own.high]
    finally:
        for statistics in opened:
            statistics.close()
    meter.finish()
    return Result(
        metric="swd",
        value=value,
        unit="mean over levels, x1e3",
        levels={str(level.size): level.scaled for level in levels},
        interval=interval,
        noise_floor=floor,
        details={"level_intervals": intervals},
        warnings=_warnings(plan, value, interval, floor),
        protocol=_protocol(plan, {REAL: real, FAKE: fake}),
        run=run_stamp(seconds=time.perf_counter() - started, jobs=jobs, packages=PACKAGES),
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
    levels = []
    for size in reals.sizes:
        if reference is None:
            directions = keyed_directions(plan.config, size)
            sides = reals.side(size), fakes.side(size)
        else:
            directions = reference.directions()
            sides = (
                reals.side(size, moments=reals.reference_moments(size)),
                fakes.side(size, moments=fakes.reference_moments(size)),
            )
        values = sliced_distances(*sides, directions, jobs=jobs, step=meter.pairs)
        levels.append(LevelDistances(size=size, values=values))
    return levels


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
        run=run_stamp(seconds=time.perf_counter() - started, jobs=jobs, packages=PACKAGES),
    )


def _few(plan: SwdPlan) -> tuple[str, ...]:
    if plan.n >= PAPER_IMAGES:
        return ()
    return (f"n is {plan.n}; published values use {PAPER_IMAGES}, and the distance depends on n",)


def _warnings(plan: SwdPlan, value: float, interval: Interval | None, floor: NoiseFloor | None) -> tuple[str, ...]:
    """Sentences about what the value cannot say."""
    warnings = list(_few(plan))
    if interval is None and plan.config.interval_blocks:
        least = MIN_BLOCKS * MIN_BLOCK_IMAGES
        warnings.append(f"n is {plan.n}: an interval needs at least {least} images per set")
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
