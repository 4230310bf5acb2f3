"""Compiled Gaussian blur of a mirrored picture, only where it is asked for.

The padded picture is never built for this: a line of it is a line of the picture read through an index. Two
lines of the padded picture whose surroundings mirror each other have the same blur to the last bit, because
the two terms of each pair may be exchanged; only one of them is computed.

Legend: (h, w) one channel of the picture, (H, W) padded; R the radius, a multiple of TAP_BLOCK after filling
with zero weights; `rows` (H + 2 R,) and `columns` (W + 2 R,) picture line of each padded line and its
extension on both sides.
"""

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.compiled import compiled
from celebahq_tools.legacy.kernels import TAP_BLOCK

BLOCK_COLUMNS = 64
"""Columns of the picture whose vertical blur is computed together; h of them in double fit the L2 cache."""

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


def extended_lines(size: int, before: int, after: int, radius: int) -> NDArray[np.int64]:
    """Picture line of each line of the padded axis, mirrored about the edge line, and of its R neighbours
    outside, which the blur mirrors about the edge itself: (before + size + after + 2 R,).
    """
    padded = np.pad(np.arange(size), (before, after), "reflect")
    return np.pad(padded, radius, "symmetric")


def same_lines(lines: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """For each padded line, the first one with the same blur: (len(lines) - 2 R,)."""
    first: dict[bytes, int] = {}
    out = np.empty(len(lines) - 2 * radius, dtype=np.int64)
    forward = lines.astype(np.int32)
    backward = forward[::-1].copy()
    for at in range(len(out)):
        window = forward[at : at + 2 * radius + 1].tobytes()
        end = len(lines) - at
        mirrored = backward[end - 2 * radius - 1 : end].tobytes()
        out[at] = first.setdefault(min(window, mirrored), at)
    return out


def filled_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights at distance 0..R with R filled up to a multiple of TAP_BLOCK by zeros, which change no sum."""
    radius = -(-(len(weights) - 1) // TAP_BLOCK) * TAP_BLOCK
    return np.concatenate([weights, np.zeros(radius + 1 - len(weights))])


@compiled
def start_row(total: F64, source: F64, weight: float) -> None:
    """Begin a sum with the centre."""
    for i in range(total.shape[0]):
        total[i] = source[i] * weight


@compiled
def add_pairs(
    total: F64, a0: F64, b0: F64, a1: F64, b1: F64, a2: F64, b2: F64, a3: F64, b3: F64, weight: F64, k: int
) -> None:
    """Add the pairs at distance k, k - 1, k - 2 and k - 3, one after another."""
    w0, w1, w2, w3 = weight[k], weight[k - 1], weight[k - 2], weight[k - 3]
    for i in range(total.shape[0]):
        value = total[i] + (a0[i] + b0[i]) * w0
        value = value + (a1[i] + b1[i]) * w1
        value = value + (a2[i] + b2[i]) * w2
        total[i] = value + (a3[i] + b3[i]) * w3


@compiled
def add_pairs_four_rows(
    t0: F64, t1: F64, t2: F64, t3: F64, block: F64, rows: I64, low: int, high: int, weight: F64, k: int
) -> None:
    """`add_pairs` for four neighbouring lines at once, which share most of what they read.

    low, high  positions in `rows` of the pair at distance k of the first line
    """
    w0, w1, w2, w3 = weight[k], weight[k - 1], weight[k - 2], weight[k - 3]
    a0, a1, a2, a3 = block[rows[low]], block[rows[low + 1]], block[rows[low + 2]], block[rows[low + 3]]
    a4, a5, a6 = block[rows[low + 4]], block[rows[low + 5]], block[rows[low + 6]]
    b0, b1, b2, b3 = block[rows[high]], block[rows[high - 1]], block[rows[high - 2]], block[rows[high - 3]]
    c1, c2, c3 = block[rows[high + 1]], block[rows[high + 2]], block[rows[high + 3]]
    for i in range(t0.shape[0]):
        value = t0[i] + (a0[i] + b0[i]) * w0
        value = value + (a1[i] + b1[i]) * w1
        value = value + (a2[i] + b2[i]) * w2
        t0[i] = value + (a3[i] + b3[i]) * w3
        value = t1[i] + (a1[i] + c1[i]) * w0
        value = value + (a2[i] + b0[i]) * w1
        value = value + (a3[i] + b1[i]) * w2
        t1[i] = value + (a4[i] + b2[i]) * w3
        value = t2[i] + (a2[i] + c2[i]) * w0
        value = value + (a3[i] + c1[i]) * w1
        value = value + (a4[i] + b0[i]) * w2
        t2[i] = value + (a5[i] + b1[i]) * w3
        value = t3[i] + (a3[i] + c3[i]) * w0
        value = value + (a4[i] + c2[i]) * w1
        value = value + (a5[i] + c1[i]) * w2
        t3[i] = value + (a6[i] + b0[i]) * w3


@compiled
def blur_column_block(block: F64, rows: I64, weight: F64, wanted: Bool, out: F32) -> None:
    """Vertical pass of (h, n) double where `wanted` (H,), in groups of four lines: out (H, n) float32."""
    radius = weight.shape[0] - 1
    height, n = wanted.shape[0], block.shape[1]
    total = np.empty((4, n), dtype=np.float64)
    y = 0
    while y < height:
        if not wanted[y]:
            y += 1
            continue
        # The last group is moved back to end with the last line.
        first = max(min(y, height - 4), 0)
        count = min(height - first, 4)
        at = first + radius
        for j in range(count):
            start_row(total[j], block[rows[at + j]], weight[0])
        for k in range(radius, 0, -TAP_BLOCK):
            if count == 4:
                add_pairs_four_rows(total[0], total[1], total[2], total[3], block, rows, at - k, at + k, weight, k)
            else:
                for j in range(count):
                    add_pairs_of_row(total[j], block, rows, at + j, weight, k)
        for j in range(count):
            row, source = out[first + j], total[j]
            for i in range(n):
                row[i] = np.float32(source[i])
        y = first + count


@compiled
def add_pairs_of_row(total: F64, block: F64, rows: I64, at: int, weight: F64, k: int) -> None:
    """`add_pairs` for one line, at position `at` of `rows`."""
    add_pairs(
        total,
        block[rows[at - k]],
        block[rows[at + k]],
        block[rows[at - k + 1]],
        block[rows[at + k - 1]],
        block[rows[at - k + 2]],
        block[rows[at + k - 2]],
        block[rows[at - k + 3]],
        block[rows[at + k - 3]],
        weight,
        k,
    )


@compiled
def blur_span(line: F64, first: int, last: int, weight: F64, total: F64, out: F32) -> None:
    """Horizontal pass at padded columns first..last-1; `line` (W + 2 R,) double is extended on both sides."""
    radius = weight.shape[0] - 1
    n = last - first
    at = first + radius
    part = total[:n]
    start_row(part, line[at : at + n], weight[0])
    for k in range(radius, 0, -TAP_BLOCK):
        add_pairs(
            part,
            line[at - k : at - k + n],
            line[at + k : at + k + n],
            line[at - k + 1 : at - k + 1 + n],
            line[at + k - 1 : at + k - 1 + n],
            line[at - k + 2 : at - k + 2 + n],
            line[at + k - 2 : at + k - 2 + n],
            line[at - k + 3 : at - k + 3 + n],
            line[at + k - 3 : at + k - 3 + n],
            weight,
            k,
        )
    for i in range(n):
        out[first + i] = np.float32(part[i])


@compiled
def mark_blocks(wanted: Bool, columns: I64, radius: int, out: Bool) -> None:
    """Which blocks of picture columns the horizontal pass of `wanted` (H, W) reads: out (H, blocks)."""
    height, width = wanted.shape
    for y in range(height):
        row, marks = wanted[y], out[y]
        seen_to = 0
        for x in range(width):
            if row[x]:
                for i in range(max(x, seen_to), x + 2 * radius + 1):
                    marks[columns[i] // BLOCK_COLUMNS] = True
                seen_to = x + 2 * radius + 1


@compiled
def blur_where(plane: U8, rows: I64, columns: I64, weight: F64, wanted: Bool, out: F32) -> None:
    """Blur one channel (h, w) at the padded pixels `wanted` (H, W): out (H, W) float32, the rest untouched."""
    height, width = wanted.shape
    columns_count = plane.shape[1]
    radius = weight.shape[0] - 1
    blocks = (columns_count + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
    marks = np.zeros((height, blocks), dtype=np.bool_)
    mark_blocks(wanted, columns, radius, marks)
    vertical = np.empty((height, columns_count), dtype=np.float32)
    for b in range(blocks):
        first = b * BLOCK_COLUMNS
        last = min(first + BLOCK_COLUMNS, columns_count)
        block = plane[:, first:last].astype(np.float64)
        blur_column_block(block, rows, weight, marks[:, b], vertical[:, first:last])
    line = np.empty(columns.shape[0], dtype=np.float64)
    total = np.empty(width, dtype=np.float64)
    for y in range(height):
        loaded = False
        x = 0
        while x < width:
            if not wanted[y, x]:
                x += 1
                continue
            end = x + 1
            while end < width and wanted[y, end]:
                end += 1
            if not loaded:
                source = vertical[y]
                for i in range(columns.shape[0]):
                    line[i] = source[columns[i]]
                loaded = True
            blur_span(line, x, end, weight, total, out[y])
            x = end
