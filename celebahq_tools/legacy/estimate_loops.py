"""Compiled loops on the estimated blur. `median` says what the estimate is and how far it may be off.

Legend: as in `blur`; a grid is (rows, W) float32 on every `step`-th row, `mix` (step, POINTS) float32.
"""

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.compiled import compiled, compiled_estimate
from celebahq_tools.legacy.kernels import TAP_BLOCK

CENTRE = 128.0
"""Subtracted from the samples, so that sums stay small."""

MIX_SLACK = 2e-4
"""Bounds the float32 rounding of a sample's mixing and fading, here and where it is exact: a dozen of 2^-17."""

BLOCK_SAMPLES = 512
"""Columns blurred together; the rows under the kernel then stay in the L2 cache."""

SAMPLE_STEP = 4
BINS_PER_LEVEL = 64
BINS = 256 * BINS_PER_LEVEL

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@compiled_estimate
def add_pairs_f32(
    total: F32, a0: F32, b0: F32, a1: F32, b1: F32, a2: F32, b2: F32, a3: F32, b3: F32, weight: F32, k: int
) -> None:
    """Add the pairs at distance k to k - 3."""
    w0, w1, w2, w3 = weight[k], weight[k - 1], weight[k - 2], weight[k - 3]
    for i in range(total.shape[0]):
        value = total[i] + (a0[i] + b0[i]) * w0
        value = value + (a1[i] + b1[i]) * w1
        value = value + (a2[i] + b2[i]) * w2
        total[i] = value + (a3[i] + b3[i]) * w3


@compiled
def blur_lines(source: F32, lines: I64, at: I64, weight: F32, out: F32) -> None:
    """Blur (n, M) along axis 0 at the positions `at` of `lines`: out (len(at), M)."""
    radius = weight.shape[0] - 1
    for first in range(0, source.shape[1], BLOCK_SAMPLES):
        part = np.ascontiguousarray(source[:, first : first + BLOCK_SAMPLES])
        for j in range(at.shape[0]):
            p = at[j]
            total = out[j, first : first + BLOCK_SAMPLES]
            centre = part[lines[p]]
            for i in range(total.shape[0]):
                total[i] = centre[i] * weight[0]
            for k in range(radius, 0, -TAP_BLOCK):
                add_pairs_f32(
                    total,
                    part[lines[p - k]],
                    part[lines[p + k]],
                    part[lines[p - k + 1]],
                    part[lines[p + k - 1]],
                    part[lines[p - k + 2]],
                    part[lines[p + k - 2]],
                    part[lines[p - k + 3]],
                    part[lines[p + k - 3]],
                    weight,
                    k,
                )


@compiled_estimate
def spread_columns(both: F32, step: int, mix: F32, out: F32) -> None:
    """Interpolate (rows, grid columns) along the rows to (rows, W) and undo the centring."""
    width = out.shape[1]
    for k in range(out.shape[0]):
        source, row = both[k], out[k]
        for phase in range(step):
            c0, c1, c2 = mix[phase, 0], mix[phase, 1], mix[phase, 2]
            c3, c4, c5 = mix[phase, 3], mix[phase, 4], mix[phase, 5]
            for i in range((width - phase + step - 1) // step):
                value = source[i] * c0 + source[i + 1] * c1 + source[i + 2] * c2
                value += source[i + 3] * c3 + source[i + 4] * c4 + source[i + 5] * c5
                row[i * step + phase] = value + np.float32(CENTRE)


@compiled_estimate
def mix_row(
    g0: F32, g1: F32, g2: F32, g3: F32, g4: F32, g5: F32, mix: F32, pixels: U8, across: F32, down: float, out: F32
) -> None:
    """One row of the blurred picture from the estimate: img + (blur - img) * clip(3 m + 1, 0, 1)."""
    c0, c1, c2, c3, c4, c5 = mix[0], mix[1], mix[2], mix[3], mix[4], mix[5]
    zero, one, three, near = np.float32(0), np.float32(1), np.float32(3), np.float32(down)
    for x in range(out.shape[0]):
        blur = g0[x] * c0 + g1[x] * c1 + g2[x] * c2 + g3[x] * c3 + g4[x] * c4 + g5[x] * c5
        m = one - min(across[x], near)
        share = min(max(m * three + one, zero), one)
        pixel = np.float32(pixels[x])
        out[x] = pixel + (blur - pixel) * share


@compiled
def estimate_row(
    y: int, first: int, last: int, wide: U8, rows: I64, across: F32, down: F32, grid: F32, step: int, mix: F32, out: F32
) -> None:
    """Columns first..last-1 of row y of the blurred picture from the estimate: to the same columns of out (W,)."""
    k = y // step
    mix_row(
        grid[k, first:last],
        grid[k + 1, first:last],
        grid[k + 2, first:last],
        grid[k + 3, first:last],
        grid[k + 4, first:last],
        grid[k + 5, first:last],
        mix[y % step],
        wide[rows[y], first:last],
        across[first:last],
        down[y],
        out[first:last],
    )


@compiled
def sample_histogram(wide: U8, rows: I64, across: F32, down: F32, grid: F32, step: int, mix: F32, out: I64) -> None:
    """Count every SAMPLE_STEP-th estimate of every SAMPLE_STEP-th row: out (BINS,)."""
    row = np.empty(across.shape[0], dtype=np.float32)
    for y in range(0, rows.shape[0], SAMPLE_STEP):
        estimate_row(y, 0, row.shape[0], wide, rows, across, down, grid, step, mix, row)
        for x in range(0, row.shape[0], SAMPLE_STEP):
            at = np.int64(row[x] * np.float32(BINS_PER_LEVEL))
            out[min(max(at, 0), BINS - 1)] += 1


@compiled
def count_row(row: F32, low: float, high: float) -> tuple[int, int]:
    """How many of a row lie below `low`, and how many from `low` to `high`."""
    from_value, to_value = np.float32(low), np.float32(high)
    below, between = np.int32(0), np.int32(0)
    for x in range(row.shape[0]):
        below += np.int32(row[x] < from_value)
        between += np.int32(row[x] >= from_value) & np.int32(row[x] <= to_value)
    return below, between


@compiled
def collect(
    wide: U8,
    rows: I64,
    across: F32,
    down: F32,
    grid: F32,
    step: int,
    mix: F32,
    low: float,
    high: float,
    out_y: I32,
    out_x: I32,
    out_value: F32,
) -> tuple[int, int]:
    """Count the estimates below `low` and list those up to `high`; a count over the capacity is cut there."""
    row = np.empty(across.shape[0], dtype=np.float32)
    from_value, to_value = np.float32(low), np.float32(high)
    below, found = 0, 0
    for y in range(rows.shape[0]):
        estimate_row(y, 0, row.shape[0], wide, rows, across, down, grid, step, mix, row)
        row_below, row_between = count_row(row, low, high)
        below += row_below
        if row_between == 0:
            continue
        if found + row_between > out_y.shape[0]:
            return below, -1
        for x in range(row.shape[0]):
            if row[x] >= from_value and row[x] <= to_value:
                out_y[found] = y
                out_x[found] = x
                out_value[found] = row[x]
                found += 1
    return below, found


@compiled
def fade_estimated_row(row: F32, across: F32, down: float, bound: float, median: float, out: U8, open_: Bool) -> int:
    """Fade a run of estimates, round half to even, and tell which could round otherwise."""
    zero, one, most = np.float32(0), np.float32(1), np.float32(255)
    near, middle, slack = np.float32(down), np.float32(median), np.float32(MIX_SLACK)
    reach = np.float32(bound)
    count: int = 0
    for x in range(out.shape[0]):
        share = min(max(one - min(across[x], near), zero), one)
        value = row[x] + (middle - row[x]) * share
        error = reach * (one - share) + slack
        low = np.rint(min(max(value - error, zero), most))
        high = np.rint(min(max(value + error, zero), most))
        out[x] = np.uint8(np.int32(low))
        open_[x] = low != high
        count += int(low != high)
    return count


@compiled
def fade_estimated(
    wide: U8,
    rows: I64,
    across: F32,
    down: F32,
    grid: F32,
    step: int,
    mix: F32,
    bound: float,
    row_of: I64,
    column_of: I64,
    spans: I64,
    median: float,
    out: U8,
    doubtful: Bool,
    wanted: Bool,
) -> None:
    """Finish the pixels within the spans from the estimate; mark those it leaves open, and their blur wanted."""
    row = np.empty(across.shape[0], dtype=np.float32)
    for y in range(spans.shape[0]):
        first, last = spans[y, 0], spans[y, 1]
        if first >= last:
            continue
        estimate_row(y, first, last, wide, rows, across, down, grid, step, mix, row)
        marks = doubtful[y, first:last]
        count = fade_estimated_row(
            row[first:last], across[first:last], down[y], bound, median, out[y, first:last], marks
        )
        if count > 0:
            target = wanted[row_of[y]]
            for x in range(first, last):
                if doubtful[y, x]:
                    target[column_of[x]] = True
