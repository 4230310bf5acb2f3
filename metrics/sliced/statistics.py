"""The descriptors and moments of one set: what two sets are compared by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.sliced.config import CHANNELS, PATCH, VALUES_PER_CHANNEL, SwdConfig, level_sizes
from metrics.sliced.distance import Moments, Side
from metrics.sliced.store import DescriptorStore

SUM, SQUARES = 0, 1


class SwdStatistics:
    """Descriptors of n images at every level.

    config    parameters they were drawn by
    role      'real' or 'fake'
    res       side of the finest level
    numbers   (n,) int64, image number in each slot
    stores    level side -> descriptors (n, 147, P)
    sums      level side -> (n, 3, 2) float64: per image and channel the sum and the sum of squares
    """

    def __init__(
        self,
        *,
        config: SwdConfig,
        role: str,
        res: int,
        numbers: NDArray[np.int64],
        stores: dict[int, DescriptorStore],
        sums: dict[int, NDArray[np.float64]],
    ) -> None:
        self.config = config
        self.role = role
        self.res = res
        self.numbers = numbers
        self.stores = stores
        self.sums = sums

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.numbers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Level sides, finest first."""
        return level_sizes(self.res)

    def moments(self, size: int, slots: NDArray[np.int64] | None = None) -> Moments:
        """Float64 moments of a level over the images in `slots` (all by default).

        The sums are added in the order of slots, so that the result does not depend on batches or shards.
        """
        chosen = self.sums[size] if slots is None else self.sums[size][slots]
        count = len(chosen) * self.config.patches * VALUES_PER_CHANNEL
        total = chosen.sum(axis=0)
        mean = total[:, SUM] / count
        variance = np.maximum(total[:, SQUARES] / count - np.square(mean), 0.0)
        return Moments(mean=mean, std=np.sqrt(variance))

    def reference_moments(self, size: int) -> Moments:
        """Moments as NumPy reduces them in float32 over (rows, 3, 7, 7).

        Loads the level and a temporary of equal size: 2.5 GiB at 2^21 rows.
        """
        rows = np.array(self.stores[size].read(np.arange(self.n)).swapaxes(1, 2), order="C")
        cube = rows.reshape(-1, CHANNELS, PATCH, PATCH)
        mean = np.mean(cube, axis=(0, 2, 3), keepdims=True)
        cube -= mean
        std = np.std(cube, axis=(0, 2, 3))
        return Moments(mean=mean.reshape(CHANNELS).astype(np.float64), std=std.astype(np.float64))

    def side(self, size: int, slots: NDArray[np.int64] | None = None, *, moments: Moments | None = None) -> Side:
        """This set's side of a comparison at a level, of all images or of those in `slots`."""
        return Side(
            store=self.stores[size],
            moments=moments or self.moments(size, slots),
            slots=np.arange(self.n) if slots is None else slots,
        )

    def keep_first(self, n: int) -> None:
        """Forget the images in slots n and later."""
        self.numbers = self.numbers[:n]
        for size in self.sizes:
            self.stores[size].truncate(n)
            self.sums[size] = self.sums[size][:n]

    def close(self) -> None:
        """Free memory and disk space."""
        for store in self.stores.values():
            store.close()


def merge_statistics(parts: Sequence[SwdStatistics], into: SwdStatistics, starts: Sequence[int]) -> None:
    """Copy parts computed elsewhere into `into`, part k into the slots from starts[k] on.

    Raises BatchError for parts of another configuration, role or resolution, or that do not fit.
    """
    for part, start in zip(parts, starts, strict=True):
        if (part.config, part.role, part.res) != (into.config, into.role, into.res):
            raise BatchError(f"a part of {part.n} images was computed with other parameters or size")
        if start < 0 or start + part.n > into.n:
            raise BatchError(f"a part of {part.n} images does not fit into slots {start}.. of {into.n}")
        for size in into.sizes:
            for slot in range(part.n):
                into.stores[size].write(start + slot, part.stores[size].read(np.array([slot])))
            into.sums[size][start : start + part.n] = part.sums[size]
        into.numbers[start : start + part.n] = part.numbers
