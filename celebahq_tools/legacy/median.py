"""The exact median of the blurred picture, with the blur computed exactly for only few of its pixels.

The blur is first estimated everywhere: computed in float32 on a grid of every `step`-th pixel and interpolated
with six points per axis. Kernel and interpolation are linear, so the largest error of the estimate is known:
the L1 distance between the kernel and its stand-in, times half the range of the samples, plus rounding. The
estimates decide on which side of the median all but a few pixels lie; those few are computed exactly.

Legend: as in `blur`; N = H W, ranks count from 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.compiled import compiled, compiled_estimate
from celebahq_tools.legacy.kernels import TAP_BLOCK

POINTS = 6
"""Interpolation points per axis; they reach POINTS / 2 - 1 steps back and POINTS / 2 ahead."""
BACK = POINTS // 2 - 1

STEP_PER_SIGMA = 6.0
"""Grid steps per sigma: below 5 the interpolation loses, above 10 the jump at four sigma rules the error."""

CENTRE = 128.0
"""Subtracted from the samples, so that sums stay small."""
F32_STEP = 2.0**-24
"""Largest relative error of one float32 operation."""
MIX_SLACK = 1e-4
"""Bounds the float32 rounding of one sample's own interpolation and mixing, a few steps of at most 2^-16."""

BLOCK_SAMPLES = 512
"""Columns blurred together; the rows under the kernel then stay in the L2 cache."""

SAMPLE_STEP = 4
BINS_PER_LEVEL = 64
BINS = 256 * BINS_PER_LEVEL
RANK_MARGIN = 0.001
"""The first guess: ranks within this part of N around the middle of the sampled estimates."""

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """What every sample of the padded picture needs beside its blur.

    wide    (h, W) uint8, one channel with its mirrored columns
    rows    (H,) int64, row of `wide` for each padded row
    across  (W,) float32, down (H,) float32: distance from the edge in units of the margin
    """

    wide: U8
    rows: I64
    across: F32
    down: F32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimate:
    """Estimated blur.

    grid   (rows, W) float32, on every `step`-th row from -BACK steps on
    step   distance of the rows in pixels
    mix    (step, POINTS) float32, interpolation weights between the rows
    bound  largest error of any interpolated value
    """

    grid: F32
    step: int
    mix: F32
    bound: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """Samples that may be the median: n of them at (y, x); `below` others are certainly smaller."""

    y: I32
    x: I32
    below: int


def interpolation_weights(step: int) -> F64:
    """Lagrange weights (step, POINTS) at phase / step between the points BACK and BACK + 1."""
    nodes = np.arange(-BACK, POINTS - BACK, dtype=np.float64)
    at = np.arange(step) / step
    out = np.ones((step, POINTS))
    for i in range(POINTS):
        for j in range(POINTS):
            if i != j:
                out[:, i] *= (at - nodes[j]) / (nodes[i] - nodes[j])
    return out


def estimate_bound(weight: F64, step: int) -> float:
    """Largest error of an estimate for samples in 0..255, kernel `weight` (R + 1,) along both axes."""
    radius = len(weight) - 1
    reach = radius + POINTS * step
    kernel = np.zeros(2 * reach + 1)
    kernel[reach - radius : reach + radius + 1] = np.concatenate([weight[:0:-1], weight])
    mix = interpolation_weights(step)
    worst = 0.0
    for phase in range(step):
        stand_in = sum(mix[phase, i] * np.roll(kernel, (i - BACK) * step) for i in range(POINTS))
        worst = max(worst, float(np.abs(stand_in - np.roll(kernel, phase)).sum()))
    growth = float(np.abs(mix).sum(axis=1).max())
    # Each pass adds R + 1 terms, each addition off by a step of the largest possible partial sum.
    rounding = (radius + 8) * F32_STEP * CENTRE * growth
    return CENTRE * worst * (2 + worst) + rounding * (1 + growth) + MIX_SLACK


def estimate_step(sigma: float) -> int:
    """Distance of the grid's lines in pixels."""
    return max(int(sigma / STEP_PER_SIGMA), 1)


def estimate_blur(plane: U8, rows: I64, columns: I64, weight: F64, step: int) -> Estimate:
    """Estimate the blur of one channel (h, w); `rows` and `columns` are extended by R on both sides."""
    radius = len(weight) - 1
    weight32 = weight.astype(np.float32)
    y_lines, y_at = _grid_lines(rows, radius, step)
    x_lines, x_at = _grid_lines(columns, radius, step)
    vertical = np.empty((len(y_at), plane.shape[1]), dtype=np.float32)
    blur_lines(plane.astype(np.float32) - np.float32(CENTRE), y_lines, y_at, weight32, vertical)
    both = np.empty((len(x_at), len(y_at)), dtype=np.float32)
    blur_lines(np.ascontiguousarray(vertical.T), x_lines, x_at, weight32, both)
    mix = interpolation_weights(step)
    width = len(columns) - 2 * radius
    grid = np.empty((len(y_at), width), dtype=np.float32)
    mix32 = mix.astype(np.float32)
    spread_columns(np.ascontiguousarray(both.T), step, mix32, grid)
    return Estimate(grid=grid, step=step, mix=mix32, bound=estimate_bound(weight, step))


def _grid_lines(lines: I64, radius: int, step: int) -> tuple[I64, I64]:
    """`lines` extended far enough for the grid, and the position in it of each of the grid's lines."""
    size = len(lines) - 2 * radius
    more = POINTS * step
    inner = lines[radius : radius + size]
    extended = np.pad(inner, radius + more, "symmetric")
    count = (size - 1) // step + POINTS
    return extended, radius + more + (np.arange(count) - BACK) * step


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


def median_candidates(frame: Frame, estimate: Estimate, capacity: int) -> Candidates | None:
    """Narrow the median of one channel down to few samples; None where more than `capacity` remain."""
    args = (frame.wide, frame.rows, frame.across, frame.down, estimate.grid, estimate.step, estimate.mix)
    histogram = np.zeros(BINS, dtype=np.int64)
    sample_histogram(*args, histogram)
    ranks = np.cumsum(histogram)
    total = len(frame.rows) * len(frame.across)
    middle = ((total - 1) // 2, total // 2)
    y, x = np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.int32)
    value = np.empty(capacity, dtype=np.float32)
    margin = RANK_MARGIN
    while margin < 1:
        low = np.searchsorted(ranks, ranks[-1] * (0.5 - margin)) / BINS_PER_LEVEL - 2 * estimate.bound
        high = (np.searchsorted(ranks, ranks[-1] * (0.5 + margin)) + 1) / BINS_PER_LEVEL + 2 * estimate.bound
        below, found = collect(*args, low, high, y, x, value)
        if found < 0:
            return None
        if below <= middle[0] and middle[1] < below + found:
            narrow = _narrow(value[:found], below, middle, estimate.bound)
            if narrow[0] >= low and narrow[1] <= high:
                keep = (value[:found] >= narrow[0]) & (value[:found] <= narrow[1])
                smaller = below + int((value[:found] < narrow[0]).sum())
                return Candidates(y=y[:found][keep], x=x[:found][keep], below=smaller)
        margin *= 4
    return None


def _narrow(values: F32, below: int, middle: tuple[int, int], bound: float) -> tuple[float, float]:
    """The estimates that can belong to the middle ranks: those ranks move by at most `bound`, and so does each."""
    ranked = np.partition(values, [middle[0] - below, middle[1] - below])
    return float(ranked[middle[0] - below]) - 2 * bound, float(ranked[middle[1] - below]) + 2 * bound
