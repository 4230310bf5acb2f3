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

from celebahq_tools.legacy.compiled import compiled, compiled_estimate
from celebahq_tools.legacy.kernels import TAP_BLOCK

BLOCK_COLUMNS = 64
"""Columns of the picture whose vertical blur is computed together; h of them in double fit the L2 cache."""

FUSED_SLACK = 1e-10
"""Bounds the difference between a blurred value summed with and without fused multiply-add: twice (2 R + 2)
roundings of at most 2^-53 * 255, some 1e-11 for R = 200."""

SHORT_SPAN = 4
"""Shorter runs of pixels are summed one by one."""

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


@compiled_estimate
def add_pairs_fused(
    total: F64, a0: F64, b0: F64, a1: F64, b1: F64, a2: F64, b2: F64, a3: F64, b3: F64, weight: F64, k: int
) -> None:
    """`add_pairs` with fused multiply-add: off by less than FUSED_SLACK at the end."""
    w0, w1, w2, w3 = weight[k], weight[k - 1], weight[k - 2], weight[k - 3]
    for i in range(total.shape[0]):
        value = total[i] + (a0[i] + b0[i]) * w0
        value = value + (a1[i] + b1[i]) * w1
        value = value + (a2[i] + b2[i]) * w2
        total[i] = value + (a3[i] + b3[i]) * w3


@compiled
def blur_pixel(line: F64, at: int, weight: F64) -> float:
    """The blur at one position of an extended line."""
    value: float = line[at] * weight[0]
    for k in range(weight.shape[0] - 1, 0, -1):
        value = value + (line[at - k] + line[at + k]) * weight[k]
    return value


@compiled
def vertical_pixel(block: F64, column: int, rows: I64, at: int, weight: F64) -> float:
    """The vertical blur of one column at position `at` of `rows`."""
    value: float = block[rows[at], column] * weight[0]
    for k in range(weight.shape[0] - 1, 0, -1):
        value = value + (block[rows[at - k], column] + block[rows[at + k], column]) * weight[k]
    return value


@compiled
def round_row(total: F64, slack: float, out: F32) -> int:
    """Round (n,) to float32 and count the values that `slack` would round otherwise."""
    open_count: int = 0
    for i in range(total.shape[0]):
        out[i] = np.float32(total[i])
        open_count += int(np.float32(total[i] - slack) != np.float32(total[i] + slack))
    return open_count


@compiled
def blur_column_block(block: F64, rows: I64, weight: F64, wanted: Bool, out: F32) -> None:
    """Vertical pass of (h, n) double where `wanted` (H,): out (H, n) float32."""
    radius = weight.shape[0] - 1
    total = np.empty(block.shape[1], dtype=np.float64)
    for y in range(wanted.shape[0]):
        if not wanted[y]:
            continue
        at = y + radius
        start_row(total, block[rows[at]], weight[0])
        for k in range(radius, 0, -TAP_BLOCK):
            add_pairs_fused(
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
        row = out[y]
        if round_row(total, FUSED_SLACK, row) > 0:
            for i in range(total.shape[0]):
                if np.float32(total[i] - FUSED_SLACK) != np.float32(total[i] + FUSED_SLACK):
                    row[i] = np.float32(vertical_pixel(block, i, rows, at, weight))


@compiled
def blur_span(line: F64, first: int, last: int, weight: F64, total: F64, out: F32) -> None:
    """Horizontal pass at padded columns first..last-1; `line` (W + 2 R,) double is extended on both sides."""
    radius = weight.shape[0] - 1
    n = last - first
    at = first + radius
    if n < SHORT_SPAN:
        for i in range(n):
            out[first + i] = np.float32(blur_pixel(line, at + i, weight))
        return
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
