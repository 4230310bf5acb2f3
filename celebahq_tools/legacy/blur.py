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

BLOCK_COLUMNS = 128
"""Columns of the picture whose vertical blur is computed together; h of them in double fit the L2 cache."""

ROUNDING = 2.0**-53
"""Largest relative error of one operation in double. Samples and weights are not negative, so that a sum of R
pairs is off by at most 2 R + 2 of these of its own value, with or without fused multiply-add."""

LONG_RUN = 16
"""Runs of so many pixels are summed as vectors, shorter ones pixel by pixel."""

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
def add_pairs_two_rows(total: F64, above: F64, block: F64, rows: I64, low: int, high: int, weight: F64, k: int) -> None:
    """`add_pairs` for two neighbouring lines, which share most of what they read, with fused multiply-add.

    total, above  sums of the first and of the second line
    low, high     positions in `rows` of the first line's pair at distance k
    """
    w0, w1, w2, w3 = weight[k], weight[k - 1], weight[k - 2], weight[k - 3]
    a0, a1, a2 = block[rows[low]], block[rows[low + 1]], block[rows[low + 2]]
    a3, a4 = block[rows[low + 3]], block[rows[low + 4]]
    b0, b1, b2 = block[rows[high]], block[rows[high - 1]], block[rows[high - 2]]
    b3, c1 = block[rows[high - 3]], block[rows[high + 1]]
    for i in range(total.shape[0]):
        value = total[i] + (a0[i] + b0[i]) * w0
        value = value + (a1[i] + b1[i]) * w1
        value = value + (a2[i] + b2[i]) * w2
        total[i] = value + (a3[i] + b3[i]) * w3
        value = above[i] + (a1[i] + c1[i]) * w0
        value = value + (a2[i] + b0[i]) * w1
        value = value + (a3[i] + b1[i]) * w2
        above[i] = value + (a4[i] + b2[i]) * w3


@compiled
def blur_pixels(line: F64, x: I64, weight: F64, out: F32) -> None:
    """Horizontal pass at four padded columns `x`, anywhere in the line: four sums that do not wait for another."""
    radius = weight.shape[0] - 1
    p0, p1, p2, p3 = x[0] + radius, x[1] + radius, x[2] + radius, x[3] + radius
    v0, v1 = line[p0] * weight[0], line[p1] * weight[0]
    v2, v3 = line[p2] * weight[0], line[p3] * weight[0]
    for k in range(radius, 0, -1):
        w = weight[k]
        v0 = v0 + (line[p0 - k] + line[p0 + k]) * w
        v1 = v1 + (line[p1 - k] + line[p1 + k]) * w
        v2 = v2 + (line[p2 - k] + line[p2 + k]) * w
        v3 = v3 + (line[p3 - k] + line[p3 + k]) * w
    out[x[0]], out[x[1]] = np.float32(v0), np.float32(v1)
    out[x[2]], out[x[3]] = np.float32(v2), np.float32(v3)


@compiled
def vertical_pixel(block: F64, column: int, rows: I64, at: int, weight: F64) -> float:
    """The vertical blur of one column at position `at` of `rows`."""
    value: float = block[rows[at], column] * weight[0]
    for k in range(weight.shape[0] - 1, 0, -1):
        value = value + (block[rows[at - k], column] + block[rows[at + k], column]) * weight[k]
    return value


@compiled
def round_row(total: F64, slack: float, out: F32) -> int:
    """Round (n,) to float32 and count the values that a relative error of `slack` could round otherwise."""
    open_count: int = 0
    for i in range(total.shape[0]):
        out[i] = np.float32(total[i])
        open_count += int(np.float32(total[i] * (1 - slack)) != np.float32(total[i] * (1 + slack)))
    return open_count


@compiled
def blur_column_block(block: F64, rows: I64, weight: F64, wanted: Bool, column: int, out: F32) -> None:
    """Vertical pass of (h, n) double where `wanted` (H,), to the columns from `column` on: out (H, w) float32."""
    radius = weight.shape[0] - 1
    height = wanted.shape[0]
    # Both sums may be off, and the bounds are rounded, too.
    slack = (4 * radius + 8) * ROUNDING
    total = np.empty((2, block.shape[1]), dtype=np.float64)
    y = 0
    while y < height:
        if not wanted[y]:
            y += 1
            continue
        # A line alone is summed together with a neighbour, whose sum is left unused.
        first = min(y, height - 2)
        at = first + radius
        start_row(total[0], block[rows[at]], weight[0])
        start_row(total[1], block[rows[at + 1]], weight[0])
        for k in range(radius, 0, -TAP_BLOCK):
            add_pairs_two_rows(total[0], total[1], block, rows, at - k, at + k, weight, k)
        for j in range(2):
            if wanted[first + j]:
                row = out[first + j, column : column + block.shape[1]]
                if round_row(total[j], slack, row) > 0:
                    for i in range(row.shape[0]):
                        if np.float32(total[j, i] * (1 - slack)) != np.float32(total[j, i] * (1 + slack)):
                            row[i] = np.float32(vertical_pixel(block, i, rows, at + j, weight))
        y = first + 2


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
def blur_row(source: F32, columns: I64, weight: F64, wanted: Bool, line: F64, total: F64, out: F32) -> None:
    """Horizontal pass of one row at the columns `wanted` (W,): long runs at once, the others four by four."""
    width = wanted.shape[0]
    radius = weight.shape[0] - 1
    single = np.empty(4, dtype=np.int64)
    waiting = 0
    loaded = 0
    x = 0
    while x < width:
        if not wanted[x]:
            x += 1
            continue
        end = x + 1
        while end < width and wanted[end]:
            end += 1
        for i in range(max(loaded, x), end + 2 * radius):
            line[i] = source[columns[i]]
        loaded = end + 2 * radius
        if end - x >= LONG_RUN:
            blur_span(line, x, end, weight, total, out)
        else:
            for i in range(x, end):
                single[waiting] = i
                waiting += 1
                if waiting == 4:
                    blur_pixels(line, single, weight, out)
                    waiting = 0
        x = end
    if waiting > 0:
        for i in range(waiting, 4):
            single[i] = single[0]
        blur_pixels(line, single, weight, out)


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
def blur_where(
    plane: U8, rows: I64, columns: I64, weight: F64, wanted: Bool, vertical: F32, done: Bool, out: F32
) -> None:
    """Blur one channel (h, w) at the padded pixels `wanted` (H, W): out (H, W) float32, the rest untouched.

    vertical, done  (H, w) float32 and (H, blocks): the vertical pass and where it has been made; both are kept
                    for further calls with other pixels. H is at least 2.
    """
    height, width = wanted.shape
    radius = weight.shape[0] - 1
    marks = np.zeros(done.shape, dtype=np.bool_)
    mark_blocks(wanted, columns, radius, marks)
    for b in range(done.shape[1]):
        first = b * BLOCK_COLUMNS
        last = min(first + BLOCK_COLUMNS, plane.shape[1])
        fresh = marks[:, b] & ~done[:, b]
        if fresh.any():
            # A slice of columns is not contiguous, which keeps loops from being vectorised.
            block = np.ascontiguousarray(plane[:, first:last].astype(np.float64))
            blur_column_block(block, rows, weight, fresh, first, vertical)
            done[:, b] |= fresh
    line = np.empty(columns.shape[0], dtype=np.float64)
    total = np.empty(width, dtype=np.float64)
    for y in range(height):
        if wanted[y].any():
            blur_row(vertical[y], columns, weight, wanted[y], line, total, out[y])


def vertical_buffers(plane: U8, height: int) -> tuple[F32, Bool]:
    """Empty `vertical` and `done` for `blur_where` of one channel padded to `height`."""
    blocks = -(-plane.shape[1] // BLOCK_COLUMNS)
    return np.empty((height, plane.shape[1]), dtype=np.float32), np.zeros((height, blocks), dtype=np.bool_)
