"""The Wasserstein distance W1 of two one-dimensional samples of equal size n, exactly.

n W1 is the integral of |D(t)|, where D(t) is the number of left values below t less that of right ones, and also the
sum of |a - b| over the sorted values. `sorted_distance` takes the latter. `BinnedDistance` hardly sorts: values are
counted in bins, which gives D at every edge. Inside most bins D cannot change its sign, and there

    integral of D over bin k = D(k + 1) - sum of (a - k) + sum of (b - k)        in units of a bin,

summed over the values in the bin. Only the values of the other bins are sorted, a few per cent: D is a walk that from
one edge to the next moves by less than its own size, except near its zeros. If they are many, they are first counted
again, in bins that are finer because only those intervals are left.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 1 << 15
"""The first and the last one also take what lies beyond them."""
MOST_BINNED = 1 << 24
"""Largest n whose counts OpenCV's float32 histograms hold exactly."""
PIECE = 1 << 18
"""Values at a time, so that they stay in the processor's cache; decides rounding."""
BLOCK = 1 << 16
"""Sorted values whose differences are added in float32."""
LEAST_AGAIN = 1 << 15
"""Values without a sign from which on counting them again is faster than sorting."""
SIDES = 2
TABLE = 1 << 16
"""Values of an uint16, of which BINS are in use."""
ZERO, ONE, LAST = np.float32(0), np.float32(1), np.float32(BINS - 1)

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


def sorted_distance(left: Float32, right: Float32) -> float:
    """Mean |left - right| of two sorted arrays (n,); float64 sum of float32 blocks."""
    total, scratch = 0.0, np.empty(min(len(left), BLOCK), np.float32)
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        gap = np.subtract(left[start:stop], right[start:stop], out=scratch[: stop - start])
        total += float(np.abs(gap, out=gap).sum())
    return total / len(left)


class BinnedDistance:
    """W1 nearly without sorting, in units of a bin; holds the scratch space, one per thread.

    The bulk of the values should lie in 0 .. BINS: this decides the time it takes, not the distance.
    """

    def __init__(self) -> None:
        # New arrays of this size would cost more than what is done with them: the system clears their memory.
        self._histogram = np.empty((BINS, 1), np.float32)
        self._counts = np.empty((SIDES, BINS), np.int32)
        self._edges = np.zeros(BINS + 1, np.int32)
        self._doubles = np.empty((2, BINS))
        self._table = np.zeros(TABLE, np.float32)
        self._bin_of = np.empty(PIECE, np.uint16)
        self._fraction = np.empty(PIECE, np.float32)
        self._signs = np.empty(PIECE, np.float32)
        self._chosen = np.empty(PIECE, np.bool_)

    def __call__(self, left: Float32, right: Float32) -> float:
        """W1 of `left` and `right`, both (n,), n at most MOST_BINNED."""
        return self._integral(left, right) / len(left)

    def _integral(self, left: Float32, right: Float32) -> float:
        """Integral of |D|; many values without a sign are counted again, in finer bins."""
        counts, edges = self._counts, self._edges
        self._count(left, counts[0])
        self._count(right, counts[1])
        np.subtract(counts[0], counts[1], out=edges[1:])
        np.cumsum(edges[1:], out=edges[1:])
        edges[-1] = 0
        signs = bin_signs(edges, counts[0], counts[1])
        self._table[:BINS] = signs
        np.copyto(self._doubles[0], signs)
        np.copyto(self._doubles[1], edges[1:])
        total = float(np.dot(self._doubles[0], self._doubles[1]))
        unsigned_right, sum_right = self._signed_sum(right)
        unsigned_left, sum_left = self._signed_sum(left)
        total += sum_right - sum_left
        one, other = with_partners(unsigned_left, unsigned_right, edges, signs)
        if len(one) < LEAST_AGAIN or 2 * len(one) > len(left):
            return total + sorted_integral(one, other)
        # D is 0 now between the runs of such bins, so that the gaps may be closed, and the bins are few.
        before = np.cumsum(signs == 0)
        finer = np.float32(BINS / before[-1])
        self._table[0], self._table[1:BINS] = 0, before[:-1]
        self._close_gaps(one, finer)
        self._close_gaps(other, finer)
        return total + self._integral(one, other) / float(finer)

    def _close_gaps(self, values: Float32, finer: np.float32) -> None:
        """Put values (m,) of bin k into bin table[k], and into units of finer bins then."""
        for first in range(0, len(values), PIECE):
            chunk = values[first : first + PIECE]
            bins = self._split(chunk)
            np.copyto(chunk, self._fraction[: len(chunk)])
            chunk += look_up(self._table, bins, self._signs[: len(chunk)])
            chunk *= finer

    def _split(self, chunk: Float32) -> NDArray[np.uint16]:
        """The bins of the values, and in `_fraction` how far they lie beyond their bins' edges."""
        fraction, bins = self._fraction[: len(chunk)], self._bin_of[: len(chunk)]
        np.clip(chunk, ZERO, LAST, out=fraction)
        np.copyto(bins, fraction, casting="unsafe")
        np.copyto(fraction, bins)
        np.subtract(chunk, fraction, out=fraction)
        return bins

    def _count(self, values: Float32, count: Int32) -> None:
        """Count the values, (n,), in each bin: bin k holds k <= value < k + 1."""
        below = 0
        for first in range(0, len(values), PIECE):
            chunk = values[first : first + PIECE]
            cv2.calcHist([chunk[None]], [0], None, [BINS], [0, BINS], self._histogram, accumulate=first > 0)
            below += np.count_nonzero(np.less(chunk, ONE, out=self._chosen[: len(chunk)]))
        np.copyto(count, self._histogram[:, 0], casting="unsafe")
        # What lies outside is not counted.
        count[0] = below

    def _signed_sum(self, values: Float32) -> tuple[list[Float32], float]:
        """(values in bins without a sign, sum over the others of the distance to the bin's edge times its sign)."""
        unsigned, total = [], 0.0
        for first in range(0, len(values), PIECE):
            chunk = values[first : first + PIECE]
            signs = look_up(self._table, self._split(chunk), self._signs[: len(chunk)])
            total += float(np.dot(self._fraction[: len(chunk)], signs))
            # Boolean indices do the same, but at random places take four times as long.
            unsigned.append(chunk.compress(np.equal(signs, ZERO, out=self._chosen[: len(chunk)])))
        return unsigned, total


def bin_signs(edges: Int32, left: Int32, right: Int32) -> NDArray[np.int8]:
    """Sign of D in each bin, (BINS,): 1, -1, or 0 where it may change, where it is 0, and in the two outer bins.

    edges         D at the edges of the bins, (BINS + 1,)
    left, right   values in each bin, by which D can rise and fall from its left edge on
    """
    signs = (edges[:-1] >= right).view(np.int8)
    signs -= (edges[:-1] <= -left).view(np.int8)
    signs[0] = signs[-1] = 0
    return signs


def with_partners(
    left: list[Float32], right: list[Float32], edges: Int32, signs: NDArray[np.int8]
) -> tuple[Float32, Float32]:
    """All values in bins of sign 0, completed to m on either side: W1 times m is the integral of |D| over these bins.

    Where a run of such bins begins or ends with D != 0, |D| values of one side have their partners beyond that
    edge. The edge takes the partners' place.
    """
    places, missing = missing_partners(edges, signs)
    one = np.concatenate([*left, np.repeat(places, np.maximum(missing, 0))])
    other = np.concatenate([*right, np.repeat(places, np.maximum(-missing, 0))])
    return one, other


def sorted_integral(left: Float32, right: Float32) -> float:
    """Integral of |D| of values (m,), which are sorted in place."""
    if not len(left):
        return 0.0
    left.sort()
    right.sort()
    return len(left) * sorted_distance(left, right)


def missing_partners(edges: Int32, signs: NDArray[np.int8]) -> tuple[Float32, Int32]:
    """(edges of runs of bins of sign 0, how many values the left side lacks there, negative: the right side)."""
    signed = signs != 0
    # The first and the last bin have no sign, so that edges where runs end and begin take turns.
    inner = np.flatnonzero(signed[1:] != signed[:-1]) + 1
    missing = edges[inner]
    missing[0::2] *= -1
    return inner.astype(np.float32), missing


def look_up(table: Float32, index: NDArray[np.uint16], out: Float32) -> Float32:
    """table[index], in `out`; OpenCV is faster at it, but older versions take 8 bits only."""
    try:
        cv2.LUT(index[None], table[None], dst=out[None])
    except cv2.error:
        table.take(index, out=out, mode="clip")
    return out
