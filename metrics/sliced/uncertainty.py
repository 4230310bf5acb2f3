"""How far a sliced Wasserstein distance can be trusted: value per level, interval, noise floor.

Interval. Both sets are cut into K disjoint random blocks of images; block k of the reals against block k of the
fakes gives K independent estimates at n / K images. Their standard deviation over sqrt(K) estimates the standard
error at n: the spread of the distance shrinks like 1 / sqrt(n) both where the sets differ (it is then
asymptotically linear) and where they do not (Politis & Romano 1994 on sub-sampling; the bootstrap and the
jackknife fail in the second case, where |F - G| is not differentiable). Each block is standardised by its own
moments. The spread over directions is added in quadrature. The interval is for the expected value AT THIS n;
the bias, which is what the floor shows, is no part of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.protocol import Interval
from metrics.sliced.config import SwdConfig
from metrics.sliced.distance import Projections, Step, sliced_distances
from metrics.sliced.draws import keyed_directions, keyed_generator
from metrics.sliced.statistics import SwdStatistics

SCALE = 1e3
"""Distances are given times 1e3."""
CONFIDENCE = 0.95
MIN_BLOCKS = 4
MIN_BLOCK_IMAGES = 16
INTERVAL_METHOD = "Student t over disjoint blocks of images, directions in quadrature"

Directions = Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelDistances:
    """Distances of one level: `values` (D,) along each direction, not scaled."""

    size: int
    values: NDArray[np.float64]

    @property
    def scaled(self) -> float:
        """Mean over directions, times 1e3."""
        return SCALE * float(self.values.mean())

    @property
    def variance(self) -> float:
        """Squared standard error of `scaled` from the choice of directions."""
        if len(self.values) < 2:
            return 0.0
        return SCALE**2 * float(self.values.var(ddof=1)) / len(self.values)


def compare_statistics(
    real: SwdStatistics, fake: SwdStatistics, *, jobs: int = 1, step: Step | None = None
) -> list[LevelDistances]:
    """Distances of two sets level by level from the finest, by the default protocol.

    Raises BatchError for sets of different configuration or resolution, or unequal n.
    """
    if (real.config, real.res) != (fake.config, fake.res):
        raise BatchError("the two sets' descriptors were drawn with other parameters or sizes")
    levels, projections = [], Projections()
    for size in real.sizes:
        directions = keyed_directions(real.config, size)
        sides = real.side(size), fake.side(size)
        values = sliced_distances(*sides, directions, jobs=jobs, projections=projections, step=step)
        levels.append(LevelDistances(size=size, values=values))
    return levels


def extra_directions(config: SwdConfig, sizes: tuple[int, ...]) -> dict[int, NDArray[np.float32]]:
    """The directions of the interval and the floor: the first `extra_directions` of the default draws."""
    return {size: keyed_directions(config, size)[: config.extra_directions] for size in sizes}


def block_count(config: SwdConfig, n: int) -> int:
    """Blocks that n images are cut into, 0 when there are too few for an interval."""
    blocks = min(config.interval_blocks, n // MIN_BLOCK_IMAGES)
    return blocks if blocks >= MIN_BLOCKS else 0


def block_slots(config: SwdConfig, n: int, blocks: int) -> list[NDArray[np.int64]]:
    """`blocks` disjoint random sets of n // blocks slots, each ascending."""
    order = keyed_generator(config.seed, "blocks", blocks).permutation(n)
    each = n // blocks
    return [np.sort(order[k * each : (k + 1) * each]) for k in range(blocks)]


def block_values(
    real: SwdStatistics, fake: SwdStatistics, *, blocks: int, jobs: int, step: Step | None = None
) -> NDArray[np.float64]:
    """Each block of reals against the same block of fakes, times 1e3: (blocks, levels)."""
    config = real.config
    directions = extra_directions(config, real.sizes)
    slots = block_slots(config, real.n, blocks)
    projections = Projections()
    values = np.empty((blocks, len(real.sizes)))
    for level, size in enumerate(real.sizes):
        for block, chosen in enumerate(slots):
            distances = sliced_distances(
                real.side(size, chosen),
                fake.side(size, chosen),
                directions[size],
                jobs=jobs,
                projections=projections,
                step=step,
            )
            values[block, level] = SCALE * distances.mean()
    return values


def confidence_interval(blocks: NDArray[np.float64], levels: list[LevelDistances]) -> Interval:
    """95 % interval of the mean over `levels`, from the (K, levels) values of the blocks."""
    from scipy.special import stdtrit

    value = float(np.mean([level.scaled for level in levels]))
    images = float(blocks.mean(axis=1).std(ddof=1)) / math.sqrt(len(blocks))
    directions = math.sqrt(sum(level.variance for level in levels)) / len(levels)
    error = math.hypot(images, directions)
    reach = float(stdtrit(len(blocks) - 1, 0.5 + CONFIDENCE / 2)) * error
    return Interval(
        low=value - reach, high=value + reach, level=CONFIDENCE, method=INTERVAL_METHOD, standard_error=error
    )


def floor_slots(config: SwdConfig, n: int, available: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Slots of two disjoint samples of the reals.

    With 2n images the first n against the rest; else two random halves of the n.
    """
    if available >= 2 * n:
        return np.arange(n), np.arange(n, 2 * n)
    first, second = block_slots(config, n, 2)
    return first, second


def floor_distances(
    real: SwdStatistics,
    slots: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    jobs: int,
    step: Step | None = None,
) -> list[LevelDistances]:
    """Distances between two disjoint samples of one set, each standardised by its own moments."""
    directions, projections, levels = extra_directions(real.config, real.sizes), Projections(), []
    for size in real.sizes:
        sides = real.side(size, slots[0]), real.side(size, slots[1])
        values = sliced_distances(*sides, directions[size], jobs=jobs, projections=projections, step=step)
        levels.append(LevelDistances(size=size, values=values))
    return levels


def indistinguishable(interval: Interval, floor: float) -> bool:
    """Whether the value cannot be told from the floor, taken to be as uncertain as the value.

    The reach of a difference of two such values is sqrt(2) times the reach of one.
    """
    middle = (interval.low + interval.high) / 2
    return middle - math.sqrt(2) * (interval.high - middle) <= floor
