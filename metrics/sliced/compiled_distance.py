"""W1 of two samples by counting in bins, as in `wasserstein`, compiled and without copies of the values.

A value is taken as a whole number of 2^-15 bins, so that all sums are exact: one 64-bit number per bin holds how many
values fell into it and, below that, the sum of their distances to the bin's edge. Values in bins without a sign are
sorted as they are, in float32.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from metrics.sliced.compiled import compiled
from metrics.sliced.wasserstein import BINS, sorted_integral

PIECE = 2048
"""Values at a time."""
FRACTION_BITS = 15
COUNT_SHIFT = 39
"""A sum of 2^24 fractions stays below."""
UNITS = np.float32(1 << FRACTION_BITS)
ZERO = np.float32(0)
COUNT = np.uint64(COUNT_SHIFT)
ONE = np.uint64(1) << COUNT
SUM_MASK = ONE - np.uint64(1)
BIN = np.uint32(FRACTION_BITS)
WORD_BITS = 64
WORD, WORD_MASK, BIT = np.uint32(6), np.uint32(WORD_BITS - 1), np.uint64(1)
SIDES = 2
FRACTION_MASK = np.uint32((1 << FRACTION_BITS) - 1)

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
UInt64 = NDArray[np.uint64]
UInt32 = NDArray[np.uint32]
UInt16 = NDArray[np.uint16]
Blocks = tuple[Float32, int, int]
"""Contiguous memory, values per block, values from one block to the next."""


@compiled
def split(values: Float32, shift: np.float32, bins: int, out: UInt32) -> None:
    """Values plus `shift` in units of 2^-15 bins, clipped to the bins, at most 2^15."""
    last = np.float32((bins << FRACTION_BITS) - 64)
    for i in range(len(values)):
        out[i] = np.uint32(np.int32(min(max((values[i] + shift) * UNITS, ZERO), last)))


@compiled
def count_values(blocks: Blocks, rows: int, shift: np.float32, sums: UInt64, piece: UInt32) -> None:
    """Count the first `rows` values: sums (BINS,) = count << 39 | sum of fractions."""
    flat, block, step = blocks
    sums[:] = 0
    for start in range(0, rows, block):
        row, stop = start // block * step, min(block, rows - start)
        for first in range(row, row + stop, PIECE):
            part = flat[first : min(first + PIECE, row + stop)]
            split(part, shift, len(sums), piece)
            for i in range(len(part)):
                value = piece[i]
                sums[value >> BIN] += ONE + np.uint64(value & FRACTION_MASK)


@compiled
def pick(
    blocks: Blocks, rows: int, shift: np.float32, open_bins: UInt64, piece: UInt32, places: UInt16, out: Float32
) -> int:
    """Write the values, plus `shift`, that lie in open bins: how many.

    open_bins   (bins / 64,) a bit for every bin, set in those whose values are wanted
    places      (PIECE + 1,) scratch
    """
    flat, block, step = blocks
    found = np.uint64(0)
    for start in range(0, rows, block):
        row, stop = start // block * step, min(block, rows - start)
        for first in range(row, row + stop, PIECE):
            part = flat[first : min(first + PIECE, row + stop)]
            split(part, shift, WORD_BITS * len(open_bins), piece)
            # Without branches, which could not be predicted.
            count = np.uint32(0)
            for i in range(len(part)):
                places[count] = i
                k = piece[i] >> BIN
                count += np.uint32((open_bins[k >> WORD] >> np.uint64(k & WORD_MASK)) & BIT)
            for i in range(count):
                out[found + np.uint64(i)] = part[places[i]] + shift
            found += np.uint64(count)
    return int(found)


@compiled
def walk(left: UInt64, right: UInt64, open_bins: UInt64, turns: Int32) -> tuple[int, int, int]:
    """Follow D from bin to bin: find the open ones, where it may change its sign, and integrate over the others.

    left, right   (bins,) from `count_values`
    open_bins     (bins / 64,), filled: a bit for every bin, set where values have to be looked at one by one
    turns         (bins + 1, 2), filled: edges where runs of open bins end or begin, and how many values the left side
                  lacks there, negative: the right side. They have their partners beyond that edge.

    Returns (integral of |D| over bins that are not open, in 2^-15; values of either side in the others, with partners;
    turns).
    """
    total, values, difference, before, found = 0, 0, 0, True, 0
    last = len(left) - 1
    open_bins[:] = 0
    for k in range(len(left)):
        ones, others = np.int64(left[k] >> COUNT), np.int64(right[k] >> COUNT)
        following = difference + ones - others
        positive, negative = difference >= others, difference <= -ones
        is_open = positive == negative or k == 0 or k == last
        if is_open != before:
            missing = difference if is_open else -difference
            turns[found, 0], turns[found, 1] = k, missing
            found += 1
            values += max(missing, 0)
        if is_open:
            values += ones
        else:
            part = (following << FRACTION_BITS) - np.int64(left[k] & SUM_MASK) + np.int64(right[k] & SUM_MASK)
            total += part if positive else -part
        open_bins[np.uint32(k) >> WORD] |= np.uint64(is_open) << np.uint64(np.uint32(k) & WORD_MASK)
        difference, before = following, is_open
    return total, values, found


@compiled
def fill_partners(turns: Int32, found: int, one: Float32, other: Float32) -> tuple[int, int]:
    """Write edges in the place of partners beyond them to the beginning of either side: how many."""
    to_one, to_other = 0, 0
    for turn in range(found):
        edge, missing = turns[turn, 0], turns[turn, 1]
        for _ in range(missing):
            one[to_one] = edge
            to_one += 1
        for _ in range(-missing):
            other[to_other] = edge
            to_other += 1
    return to_one, to_other


@compiled
def count_both(
    left: Blocks,
    right: Blocks,
    rows: int,
    shifts: tuple[np.float32, np.float32],
    sums: UInt64,
    open_bins: UInt64,
    turns: Int32,
    piece: UInt32,
) -> tuple[int, int, int]:
    """`count_values` of both sides, sums (2, bins), and `walk`."""
    count_values(left, rows, shifts[0], sums[0], piece)
    count_values(right, rows, shifts[1], sums[1], piece)
    return walk(sums[0], sums[1], open_bins, turns)


@compiled
def collect(
    left: Blocks,
    right: Blocks,
    rows: int,
    shifts: tuple[np.float32, np.float32],
    open_bins: UInt64,
    turns: Int32,
    found: int,
    piece: UInt32,
    places: UInt16,
    rest: Float32,
) -> tuple[int, int]:
    """Either side's values in open bins, with their partners, to `rest` (2, m): how many."""
    first, second = fill_partners(turns, found, rest[0], rest[1])
    first += pick(left, rows, shifts[0], open_bins, piece, places, rest[0, first:])
    second += pick(right, rows, shifts[1], open_bins, piece, places, rest[1, second:])
    return first, second


def flatten(blocks: Float32) -> Blocks:
    """Blocks (b, block) in the form that compiled loops are fast with."""
    step = blocks.strides[0] // blocks.itemsize
    span = (len(blocks) - 1) * step + blocks.shape[1]
    return as_strided(blocks, (span,), blocks.strides[1:]), blocks.shape[1], step


class CompiledDistance:
    """W1 of values in blocks, in units of a bin; holds the scratch space, one per thread."""

    def __init__(self) -> None:
        self._sums = np.empty((SIDES, BINS), np.uint64)
        self._open = np.empty(BINS // WORD_BITS, np.uint64)
        self._turns = np.empty((BINS + 1, 2), np.int32)
        self._piece = np.empty(PIECE, np.uint32)
        self._places = np.empty(PIECE + 1, np.uint16)
        self._rest = np.empty((SIDES, 0), np.float32)

    @classmethod
    def warm_up(cls) -> None:
        """Let everything be compiled."""
        values = np.zeros((1, 1), np.float32)
        cls()(values, values, 1, (0.0, 0.0))

    def __call__(self, real: Float32, fake: Float32, rows: int, shifts: tuple[float, float]) -> float:
        """W1 of the first `rows` values, at most 2^24, of either side's (b, block) blocks, each plus its shift."""
        values = flatten(real), flatten(fake), rows, (np.float32(shifts[0]), np.float32(shifts[1]))
        counted, count, turns = count_both(*values, self._sums, self._open, self._turns, self._piece)
        if count > self._rest.shape[1]:
            self._rest = np.empty((SIDES, 2 * count), np.float32)
        found = collect(*values, self._open, self._turns, turns, self._piece, self._places, self._rest)
        assert found == (count, count)
        rest = self._rest[:, :count]
        return (counted / (1 << FRACTION_BITS) + sorted_integral(rest[0], rest[1])) / rows
