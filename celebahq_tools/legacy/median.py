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

from celebahq_tools.legacy.estimate_loops import (
    BINS,
    BINS_PER_LEVEL,
    CENTRE,
    MIX_SLACK,
    blur_lines,
    collect,
    sample_histogram,
    spread_columns,
)

POINTS = 6
"""Interpolation points per axis; they reach POINTS / 2 - 1 steps back and POINTS / 2 ahead."""
BACK = POINTS // 2 - 1

STEP_PER_SIGMA = 6.0
"""Grid steps per sigma: below 5 the interpolation loses, above 10 the jump at four sigma rules the error."""

F32_STEP = 2.0**-24
"""Largest relative error of one float32 operation."""

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
    # A sum is off by a step of each of its partial sums; from the outermost pair inwards these are the weights'
    # tails, which add up to the mean distance from the centre. A few more for products, pairs and weights.
    mean_distance = float(2 * (np.arange(radius + 1) * weight).sum())
    passes = 2 * (mean_distance + 8) * F32_STEP * CENTRE * growth * growth
    interpolations = 2 * POINTS * F32_STEP * 2 * CENTRE * growth * (1 + growth)
    return CENTRE * worst * (2 + worst) + passes + interpolations + MIX_SLACK


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
