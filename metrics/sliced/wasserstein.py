"""The Wasserstein distance W1 of two one-dimensional samples of equal size n, exactly.

n W1 is the integral of |D(t)|, where D(t) is the number of left values below t less that of right values, and also the
sum of |a - b| over the sorted values. `sorted_distance` takes the latter. `binned_distance` hardly sorts: values are
counted in bins, which gives D at every edge. Inside most bins D cannot change its sign, and there

    integral of D over bin k = D(k + 1) - sum of (a - k) + sum of (b - k)        in units of a bin,

summed over the values in the bin. Only the values of the other bins are sorted, which are few: D is a walk that moves by
less than its own size from one edge to the next, but for the neighbourhoods of its zeros.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 1 << 15
"""Of the bulk of the values; what lies outside counts for the first and the last one."""
MOST_BINNED = 1 << 24
"""Largest n whose counts are exact in OpenCV's float32 histograms."""
CHUNK = 1 << 17
"""Values at a time, so that they stay in the processor's cache; decides rounding."""
BLOCK = 1 << 16
ZERO, LAST = np.float32(0), np.float32(BINS - 1)
TABLE = 1 << 16
"""Values of an uint16, whatever number of bins is in use."""

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
    """W1 of samples of n values without sorting them; holds the scratch space, one per thread."""

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
        np.copyto(self._table[:BINS], signs)
        total = float(np.dot(signs.astype(np.float64), edges[1:].astype(np.float64)))
        outside_left, sum_left = self._signed_sum(left, self._bin_of[0])
        outside_right, sum_right = self._signed_sum(right, self._bin_of[1])
        total += sum_right - sum_left
        total += _undecided(outside_left, outside_right, edges, signs == 0)
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
        return counts.astype(np.int32).ravel()

    def _signed_sum(self, values: Float32, bin_of: NDArray[np.uint16]) -> tuple[list[Float32], float]:
        """(values in bins without a sign, sum of the others' distances to their bin's edge times its sign)."""
        undecided, total = [], 0.0
        for first in range(0, len(values), CHUNK):
            chunk, bins = values[first : first + CHUNK], bin_of[first : first + CHUNK]
            signs = look_up(self._table, bins, self._signs[: len(chunk)])
            undecided.append(chunk[signs == 0])
            edge = self._clipped[: len(chunk)]
            np.copyto(edge, bins)
            chunk -= edge
            total += float(np.dot(chunk, signs))
        return undecided, total


def bin_signs(edges: Int32, left: Int32, right: Int32) -> NDArray[np.int8]:
    """Sign of D in each bin, (BINS,): 1, -1, or 0 where it may change, in empty bins and in the two outer ones.

    From D at its left edge, D can fall by `right` and rise by `left`, the numbers of values in the bin.
    """
    signs = (edges[:-1] >= right).view(np.int8)
    signs -= (edges[:-1] <= -left).view(np.int8)
    signs[0] = signs[-1] = 0
    return signs


def _undecided(left: list[Float32], right: list[Float32], edges: Int32, undecided: NDArray[np.bool_]) -> float:
    """Integral of |D| over the undecided bins, from the values in them, in units of a bin.

    Where a run of such bins begins or ends with D != 0, |D| values of one side have their partners beyond the
    edge; the edge takes their place, and then |a - b| of all sorted values is the integral.
    """
    before, after = undecided.copy(), undecided.copy()
    before[1:] &= ~undecided[:-1]
    after[:-1] &= ~undecided[1:]
    begins, ends = np.flatnonzero(before), np.flatnonzero(after) + 1
    places = np.concatenate([begins, ends]).astype(np.float32)
    missing = np.concatenate([edges[begins], -edges[ends]])
    one = np.concatenate([*left, np.repeat(places, np.maximum(missing, 0))])
    other = np.concatenate([*right, np.repeat(places, np.maximum(-missing, 0))])
    one.sort()
    other.sort()
    return len(one) * sorted_distance(one, other, 0.0, np.empty(min(len(one), BLOCK), np.float32)) if len(one) else 0.0


def look_up(table: Float32, index: NDArray[np.uint16], out: Float32) -> Float32:
    """table[index]; OpenCV is the faster, but takes 16 bits only in recent versions."""
    try:
        return cv2.LUT(index[None], table[None], dst=out[None])[0]  # type: ignore[no-any-return]
    except cv2.error:
        return table.take(index, out=out, mode="clip")
