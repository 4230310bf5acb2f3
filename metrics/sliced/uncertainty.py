"""How far a sliced Wasserstein distance can be trusted: value per level, interval, noise floor.

Interval. Both sets are cut into two random halves, and the distance of the first halves is compared with the
distance of the second ones. The difference of two independent estimates at n / 2 has four times the variance of
one estimate at n, since the variance goes like 1 / n both where the sets differ (the distance is then
asymptotically linear) and where they do not; its expectation is 0. Eight such splits, balanced over 16 blocks of
images by rows of a Hadamard matrix (balanced half-samples, McCarthy 1969) so that they are uncorrelated, give a
standard error with 8 degrees of freedom. Each half is standardised by its own moments. The spread over directions
is added in quadrature. The bootstrap and the jackknife are of no use near zero distance, where |F - G| is not
differentiable, and small blocks are of no use far from it, where their own noise hides what differs. The interval
is for the expected value AT THIS n; the bias, which is what the floor shows, is no part of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.protocol import Interval
from metrics.sliced.blocks import SIDES
from metrics.sliced.channels import channel_projections, channel_sums
from metrics.sliced.config import CHANNELS, SwdConfig
from metrics.sliced.distance import Comparison, Side
from metrics.sliced.draws import keyed_directions, keyed_generator
from metrics.sliced.projections import FLOAT_BYTES, Projections, Step, all_distances
from metrics.sliced.statistics import SwdStatistics

SCALE = 1e3
"""Distances are given times 1e3."""
CONFIDENCE = 0.95
BLOCKS = 16
"""Blocks of images that the halves are made of; a power of two."""
MIN_IMAGES = 64
"""Fewer images give no interval."""
INTERVAL_METHOD = "Student t over balanced half-samples of the images, directions in quadrature"

PROJECTED_BYTES = 1 << 30
"""Memory for what halves are compared by."""
VARIANCE_OF_DIFFERENCE = 4
"""Of two estimates at n / 2, in units of the variance of one at n."""

Slots = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


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
    real: SwdStatistics,
    fake: SwdStatistics,
    *,
    jobs: int = 1,
    step: Step | None = None,
) -> list[LevelDistances]:
    """Distances of two sets level by level from the finest, by the default protocol.

    Raises BatchError for sets of different configuration or resolution, or unequal n.
    """
    if (real.config, real.res) != (fake.config, fake.res):
        raise BatchError("the two sets' descriptors were drawn with other parameters or sizes")
    comparisons = [
        Comparison(real=real.side(size), fake=fake.side(size), directions=keyed_directions(real.config, size))
        for size in real.sizes
    ]
    return _levels(real.sizes, all_distances(comparisons, jobs=jobs, step=step))


def _levels(sizes: Sequence[int], distances: Sequence[Float64]) -> list[LevelDistances]:
    return [LevelDistances(size=size, values=values) for size, values in zip(sizes, distances, strict=True)]


def split_count(config: SwdConfig, n: int) -> int:
    """Splits into halves from which the interval of n images is estimated, 0 for none."""
    return config.interval_splits if n >= MIN_IMAGES else 0


def random_blocks(config: SwdConfig, n: int, blocks: int) -> list[Slots]:
    """`blocks` disjoint random sets of n // blocks slots."""
    order = keyed_generator(config.seed, "blocks", blocks).permutation(n)
    each = n // blocks
    return [order[k * each : (k + 1) * each] for k in range(blocks)]


def balanced_halves(config: SwdConfig, n: int) -> list[tuple[Slots, Slots]]:
    """Splits of n slots into two halves of 8 random blocks each, by the rows of a Hadamard matrix.

    Any two splits share half of each half. A remainder of n / 16 is left out.
    """
    blocks = random_blocks(config, n, BLOCKS)
    halves = []
    for row in range(1, split_count(config, n) + 1):
        sides: tuple[list[Slots], list[Slots]] = ([], [])
        for column, block in enumerate(blocks):
            sides[(row & column).bit_count() & 1].append(block)
        halves.append((np.sort(np.concatenate(sides[0])), np.sort(np.concatenate(sides[1]))))
    return halves


def split_differences(
    real: SwdStatistics,
    fake: SwdStatistics,
    *,
    jobs: int = 1,
    step: Step | None = None,
) -> Float64:
    """First halves' distance minus second halves', times 1e3: (splits, levels), by few directions."""
    config = real.config
    halves = balanced_halves(config, real.n)
    projections, columns = Projections(), []
    for size in real.sizes:
        directions = keyed_directions(config, size)[: config.split_directions]
        sides = [(real.moments(size, half), fake.moments(size, half), half) for pair in halves for half in pair]
        groups = []
        for some in _fitting(directions, real.n * config.patches):
            adding, units = channel_sums(some)
            stores = [channel_projections(one.stores[size], some, jobs=jobs) for one in (real, fake)]
            comparisons = [
                Comparison(
                    real=Side(store=stores[0], moments=of_real, slots=half),
                    fake=Side(store=stores[1], moments=of_fake, slots=half),
                    directions=adding,
                    units=units,
                )
                for of_real, of_fake, half in sides
            ]
            found = all_distances(comparisons, jobs=jobs, projections=projections, step=step)
            groups.append(np.stack(found))
        distances = np.concatenate(groups, axis=1).mean(axis=1).reshape(len(halves), 2)
        columns.append(distances[:, 0] - distances[:, 1])
    differences: Float64 = SCALE * np.stack(columns, axis=1)
    return differences


def _fitting(directions: Float32, rows: int) -> list[Float32]:
    """Directions in as few groups as fit the memory, projected channel by channel for `rows` descriptors a side."""
    at_once = max(1, PROJECTED_BYTES // (SIDES * CHANNELS * FLOAT_BYTES * rows))
    return [directions[first : first + at_once] for first in range(0, len(directions), at_once)]


def confidence_interval(differences: Float64, levels: list[LevelDistances]) -> Interval:
    """95 % interval of the mean over `levels`, from the (splits, levels) differences of halves."""
    from scipy.special import stdtrit

    value = float(np.mean([level.scaled for level in levels]))
    images = float(np.mean(np.square(differences.mean(axis=1)))) / VARIANCE_OF_DIFFERENCE
    directions = sum(level.variance for level in levels) / len(levels) ** 2
    error = math.sqrt(images + directions)
    reach = float(stdtrit(len(differences), 0.5 + CONFIDENCE / 2)) * error
    return Interval(
        low=value - reach, high=value + reach, level=CONFIDENCE, method=INTERVAL_METHOD, standard_error=error
    )


def floor_slots(config: SwdConfig, n: int, available: int) -> tuple[Slots, Slots]:
    """Slots of two disjoint samples of the reals.

    With 2n images the first n against the rest; else two random halves of the n.
    """
    if available >= 2 * n:
        return np.arange(n), np.arange(n, 2 * n)
    first, second = random_blocks(config, n, 2)
    return np.sort(first), np.sort(second)


def floor_distances(
    real: SwdStatistics,
    slots: tuple[Slots, Slots],
    *,
    jobs: int,
    step: Step | None = None,
) -> list[LevelDistances]:
    """Distances between two disjoint samples of one set, each standardised by its own moments."""
    comparisons = [
        Comparison(
            real=real.side(size, slots[0]),
            fake=real.side(size, slots[1]),
            directions=keyed_directions(real.config, size)[: real.config.floor_directions],
        )
        for size in real.sizes
    ]
    return _levels(real.sizes, all_distances(comparisons, jobs=jobs, step=step))


def indistinguishable(interval: Interval, floor: float) -> bool:
    """Whether the value cannot be told from the floor, taken to be as uncertain as the value.

    The reach of a difference of two such values is sqrt(2) times the reach of one.
    """
    middle = (interval.low + interval.high) / 2
    return middle - math.sqrt(2) * (interval.high - middle) <= floor
