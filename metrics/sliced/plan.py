"""Which images are measured, and what it will cost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError, UsageError
from metrics.sliced.config import PAPER_IMAGES, SwdConfig, level_sizes
from metrics.sliced.draws import FAKE, REAL, keyed_order
from metrics.sliced.uncertainty import split_count
from metrics.sliced.work import feed_cost, pair_cost
from metrics.sources.base import ImageSet


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
    def pairs(self) -> int:
        """(descriptor, direction) pairs of all comparisons: value, interval, floor."""
        config, images = self.config, 0
        if not self.alone:
            images += self.n * config.all_directions
            images += split_count(config, self.n) * self.n * config.split_directions
        if self.floor or self.alone:
            images += self.floor_n * config.floor_directions
        return images * config.patches * len(level_sizes(self.res))

    @property
    def work(self) -> int:
        """Estimated cost of all stages, in the units of `work`."""
        images = sum(len(numbers) for numbers in self.numbers.values())
        return images * feed_cost(self.res) + pair_cost(self.pairs)


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
