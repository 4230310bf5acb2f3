"""W1 of two samples by counting in bins, as in `wasserstein`, by loops in C and without copies of the values.

A value is taken as a whole number of 2^-15 bins, so that all sums are exact. Values in bins without a sign are sorted
as they are, in float32.
"""

import numpy as np
from numpy.typing import NDArray

from metrics.sliced import _native
from metrics.sliced.wasserstein import BINS, sorted_integral

FRACTION_BITS = 15
CODES = 16
SIDES = 2

Float32 = NDArray[np.float32]


class NativeDistance:
    """W1 of values in blocks, in units of a bin; holds the scratch space, one per thread."""

    def __init__(self) -> None:
        self._counts = np.empty((SIDES, BINS), np.int32)
        self._signs = np.empty(BINS // CODES, np.int32)
        self._turns = np.empty((BINS + 1, 2), np.int32)
        self._rest = np.empty((SIDES, 0), np.float32)

    def __call__(self, real: Float32, fake: Float32, rows: int, shifts: tuple[float, float]) -> float:
        """W1 of the first `rows` values, at most 2^24, of either side's (b, block) blocks, each plus its shift."""
        values = real, fake, rows, *shifts
        integral, count, turns = _native.count(*values, self._counts, self._signs, self._turns)
        if count > self._rest.shape[1]:
            self._rest = np.empty((SIDES, 2 * count), np.float32)
        *found, fractions = _native.collect(*values, self._signs, self._turns, turns, self._rest)
        assert found == [count, count]
        rest = self._rest[:, :count]
        return (integral + fractions / (1 << FRACTION_BITS) + sorted_integral(rest[0], rest[1])) / rows
