"""The Wasserstein distance W1 of two one-dimensional samples of equal size n, exactly.

n W1 is the integral of |D(t)|, where D(t) is the number of left values below t less that of right ones, and also the
sum of |a - b| over the sorted values. `sorted_distance` takes the latter. `BinnedDistance` hardly sorts: values are
counted in bins, which gives D at every edge. Inside most bins D cannot change its sign, and there

    integral of D over bin k = D(k + 1) - sum of (a - k) + sum of (b - k)        in units of a bin,

summed over the values in the bin. Only the values of the other bins are sorted, a few per cent: D is a walk that from
one edge to the next moves by less than its own size, except near its zeros.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 1 << 15
"""Of the bulk of the values; what lies outside goes to the first and the last one."""
MOST_BINNED = 1 << 24
"""Largest n whose counts OpenCV's float32 histograms hold exactly."""
CHUNK = 1 << 17
"""Values at a time, so that they stay in the processor's cache; decides rounding."""
PIECE = 1 << 15
BLOCK = 1 << 16
TABLE = 1 << 16
"""Values of an uint16, of which BINS are in use."""
ZERO, LAST = np.float32(0), np.float32(BINS - 1)

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


def sorted_distance(left: Float32, right: Float32, shift: float, scratch: Float32) -> float:
    """Mean |left - right - shift| of two sorted arrays (n,); float64 sum of float32 blocks."""
    total = 0.0
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        gap = scratch[: stop - start]
        np.subtract(left[start:stop], right[start:stop], out=gap)
        gap -= np.float32(shift)
        np.abs(gap, out=gap)
        total += float(gap.sum())
    return total / len(left)


class BinnedDistance:
    """W1 of samples of n values, nearly without sorting; holds the scratch space, one per thread."""

    def __init__(self, n: int) -> None:
        self._bin_of = np.empty((2, n), np.uint16)
        self._clipped = np.empty(min(n, CHUNK), np.float32)
        self._signs = np.empty(min(n, CHUNK), np.float32)
        self._table = np.zeros(TABLE, np.float32)

    def __call__(self, left: Float32, right: Float32, shift: float, low: float, high: float) -> float:
        """W1 of `left` and `right` + shift, both (n,), which are overwritten.

        low, high   where the bulk of `left` lies, low < high; decides the time it takes, not the distance
        """
        scale = np.float32(BINS / (high - low))
        start = np.float32(-low * float(scale))
        right += np.float32(shift)
        count_left = self._count(left, scale, start, self._bin_of[0])
        count_right = self._count(right, scale, start, self._bin_of[1])
        edges = np.zeros(BINS + 1, np.int32)
        np.cumsum(count_left - count_right, out=edges[1:])
        signs = bin_signs(edges, count_left, count_right)
        self._table[:BINS] = signs
        total = float(np.dot(signs.astype(np.float64), edges[1:].astype(np.float64)))
        unsigned_right, sum_right = self._signed_sum(right, self._bin_of[1])
        unsigned_left, sum_left = self._signed_sum(left, self._bin_of[0])
        total += sum_right - sum_left
        total += unsigned_integral(unsigned_left, unsigned_right, edges, signs == 0)
        return total / (float(scale) * len(left))

    def _count(self, values: Float32, scale: np.float32, start: np.float32, bin_of: NDArray[np.uint16]) -> Int32:
        """Put `values` into units of bins, note the bin of each and count them: (BINS,)."""
        counts = None
        for first in range(0, len(values), CHUNK):
            chunk = values[first : first + CHUNK]
            chunk *= scale
            chunk += start
            clipped = np.clip(chunk, ZERO, LAST, out=self._clipped[: len(chunk)])
            np.copyto(bin_of[first : first + CHUNK], clipped, casting="unsafe")
            counts = cv2.calcHist([clipped[None]], [0], None, [BINS], [0, BINS], counts, accumulate=first > 0)
        assert counts is not None
        return counts.astype(np.int32).ravel()

    def _signed_sum(self, values: Float32, bin_of: NDArray[np.uint16]) -> tuple[list[Float32], float]:
        """(values in bins without a sign, sum over the others of the distance to the bin's edge times its sign)."""
        unsigned, total = [], 0.0
        for first in range(0, len(values), PIECE):
            chunk, bins = values[first : first + PIECE], bin_of[first : first + PIECE]
            signs = look_up(self._table, bins, self._signs[: len(chunk)])
            # Boolean indices do the same, but at random places take four times as long.
            unsigned.append(chunk.compress(signs == 0))
            edge = self._clipped[: len(chunk)]
            np.copyto(edge, bins)
            chunk -= edge
            total += float(np.dot(chunk, signs))
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


def unsigned_integral(left: list[Float32], right: list[Float32], edges: Int32, unsigned: NDArray[np.bool_]) -> float:
    """Integral of |D| over the `unsigned` bins, from all values in them, in units of a bin.

    Where a run of such bins begins or ends with D != 0, |D| values of one side have their partners beyond that
    edge. The edge takes the partners' place, and then the sum of |a - b| of all sorted values is the integral.
    """
    begins, ends = unsigned.copy(), unsigned.copy()
    begins[1:] &= ~unsigned[:-1]
    ends[:-1] &= ~unsigned[1:]
    first, last = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    places = np.concatenate([first, last]).astype(np.float32)
    missing = np.concatenate([edges[first], -edges[last]])
    one = np.concatenate([*left, np.repeat(places, np.maximum(missing, 0))])
    other = np.concatenate([*right, np.repeat(places, np.maximum(-missing, 0))])
    if not len(one):
        return 0.0
    one.sort()
    other.sort()
    return len(one) * sorted_distance(one, other, 0.0, np.empty(min(len(one), BLOCK), np.float32))


def look_up(table: Float32, index: NDArray[np.uint16], out: Float32) -> Float32:
    """table[index], in `out`; OpenCV is faster at it, but older versions take 8 bits only."""
    try:
        cv2.LUT(index[None], table[None], dst=out[None])
    except cv2.error:
        table.take(index, out=out, mode="clip")
    return out
