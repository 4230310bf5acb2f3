"""W1 of two samples by counting in bins, as in `wasserstein`, by loops in C and without copies of the values.

A value is taken as a whole number of 2^-15 bins, so that all sums are exact: one 64-bit number per bin holds how many
values fell into it and, below that, the sum of their distances to the bin's edge. Values in bins without a sign are
sorted as they are, in float32.
"""

import numpy as np
from numpy.typing import NDArray

from metrics.sliced import _native
from metrics.sliced.wasserstein import BINS, sorted_integral

FRACTION_BITS = 15
WORD_BITS = 64
SIDES = 2

Float32 = NDArray[np.float32]


class NativeDistance:
    """W1 of values in blocks, in units of a bin; holds the scratch space, one per thread."""

    def __init__(self) -> None:
        self._sums = np.empty((SIDES, BINS), np.uint64)
        self._open = np.empty(BINS // WORD_BITS, np.uint64)
        self._turns = np.empty((BINS + 1, 2), np.int32)
        self._rest = np.empty((SIDES, 0), np.float32)

    def __call__(self, real: Float32, fake: Float32, rows: int, shifts: tuple[float, float]) -> float:
        """W1 of the first `rows` values, at most 2^24, of either side's (b, block) blocks, each plus its shift."""
        values = real, fake, rows, *shifts
        integral, count, turns = _native.count(*values, self._sums, self._open, self._turns)
        if count > self._rest.shape[1]:
            self._rest = np.empty((SIDES, 2 * count), np.float32)
        found = _native.collect(*values, self._open, self._turns, turns, self._rest)
        assert found == (count, count)
        rest = self._rest[:, :count]
        return (integral / (1 << FRACTION_BITS) + sorted_integral(rest[0], rest[1])) / rows
