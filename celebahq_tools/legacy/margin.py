"""The compiled counterpart of `padding.pad_numpy`: the same bits at the pixels the quad looks at.

Only there, and at the few samples that decide the median, is the Gaussian computed exactly.
"""

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.blur import blur_where, extended_lines, filled_weights, same_lines, vertical_buffers
from celebahq_tools.legacy.compiled import compiled
from celebahq_tools.legacy.estimate_loops import fade_estimated
from celebahq_tools.legacy.median import Candidates, Frame, estimate_blur, estimate_step, median_candidates
from celebahq_tools.legacy.padding import edge_distance, gaussian_weights
from celebahq_tools.legacy.plan import Padding, Quad

LOOK_MARGIN_PX = 2
"""Pixels around the quad that bilinear sampling and its rounding may touch."""

CANDIDATE_PART = 16
"""More than this part of all samples undecided: the whole blur is computed instead."""

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


def quad_spans(quad: Quad, height: int, width: int) -> I64:
    """(H, 2): first and last + 1 column the quad looks at in each row; empty where first >= last."""
    corners = quad.astype(np.float64)
    y = np.arange(height, dtype=np.float64)
    low, high = np.full(height, np.inf), np.full(height, -np.inf)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[1])
        touched = (y + LOOK_MARGIN_PX >= y0) & (y - LOOK_MARGIN_PX <= y1)
        slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
        ends = [x0 + (at.clip(y0, y1) - y0) * slope for at in (y - LOOK_MARGIN_PX, y + LOOK_MARGIN_PX)]
        if y1 == y0:
            ends = [np.full(height, x0), np.full(height, x1)]
        low = np.where(touched, np.minimum(low, np.minimum(*ends)), low)
        high = np.where(touched, np.maximum(high, np.maximum(*ends)), high)
    first = np.floor(low - LOOK_MARGIN_PX).clip(0, width)
    last = np.ceil(high + LOOK_MARGIN_PX + 1).clip(0, width)
    return np.stack([first, last], axis=1).astype(np.int64)


def pad_compiled(pixels: U8, padding: Padding, spans: I64 | None = None) -> U8:
    """Pad an (h, w, 3) picture: (3, H, W) uint8, right within `spans` (H, 2), or everywhere without them."""
    left, top, right, bottom = padding.pad
    weight = filled_weights(gaussian_weights(padding.sigma))
    radius = len(weight) - 1
    rows = extended_lines(pixels.shape[0], top, bottom, radius)
    columns = extended_lines(pixels.shape[1], left, right, radius)
    row_of, column_of = same_lines(rows, radius), same_lines(columns, radius)
    height, width = len(row_of), len(column_of)
    across, down = edge_distance(width, left, right), edge_distance(height, top, bottom)
    if spans is None:
        spans = np.tile(np.array([0, width]), (height, 1))
    out = np.zeros((3, height, width), dtype=np.uint8)
    for channel in range(3):
        plane = np.ascontiguousarray(pixels[:, :, channel])
        frame = Frame(
            wide=np.pad(plane, ((0, 0), (left, right)), "reflect"),
            rows=rows[radius : radius + height],
            across=across,
            down=down,
        )
        estimate = estimate_blur(plane, rows, columns, weight, estimate_step(padding.sigma))
        blur = np.zeros((height, width), dtype=np.float32)
        buffers = vertical_buffers(plane, height)
        wanted = np.zeros((height, width), dtype=np.bool_)

        candidates = median_candidates(frame, estimate, height * width // CANDIDATE_PART)
        if candidates is None:
            candidates = _all_samples(height, width)
        mark_points(candidates.y, candidates.x, row_of, column_of, across, down, wanted)
        blur_where(plane, rows, columns, weight, wanted, *buffers, blur)
        median = _median(frame, blur, row_of, column_of, candidates)

        wanted[:] = False
        doubtful = np.zeros((height, width), dtype=np.bool_)
        lines = (frame.wide, frame.rows, across, down)
        grid = (estimate.grid, estimate.step, estimate.mix, estimate.bound)
        fade_estimated(*lines, *grid, row_of, column_of, spans, median, out[channel], doubtful, wanted)
        blur_where(plane, rows, columns, weight, wanted, *buffers, blur)
        fade_exactly(*lines, blur, row_of, column_of, spans, doubtful, median, out[channel])
    return out


def _all_samples(height: int, width: int) -> Candidates:
    y, x = (axis.reshape(-1).astype(np.int32) for axis in np.indices((height, width)))
    return Candidates(y=y, x=x, below=0)


def _median(frame: Frame, blur: F32, row_of: I64, column_of: I64, candidates: Candidates) -> float:
    """The median as NumPy takes it: the float32 mean of the one or two middle values."""
    total = len(frame.rows) * len(frame.across)
    values = np.empty(len(candidates.y), dtype=np.float32)
    lines = (frame.wide, frame.rows, frame.across, frame.down)
    blurred_points(candidates.y, candidates.x, *lines, blur, row_of, column_of, values)
    ranks = sorted({(total - 1) // 2 - candidates.below, total // 2 - candidates.below})
    middle = np.partition(values, ranks)[ranks]
    # A float32 is exact as a Python float, and comes back exact in the compiled loops.
    return float(middle.mean(dtype=np.float32))


@compiled
def mark_points(y: I32, x: I32, row_of: I64, column_of: I64, across: F32, down: F32, out: Bool) -> None:
    """Mark, at their representatives, those of the points that the blur changes."""
    zero, one, three = np.float32(0), np.float32(1), np.float32(3)
    for i in range(y.shape[0]):
        if (one - min(across[x[i]], down[y[i]])) * three + one > zero:
            out[row_of[y[i]], column_of[x[i]]] = True


@compiled
def blurred_points(
    y: I32, x: I32, wide: U8, rows: I64, across: F32, down: F32, blur: F32, row_of: I64, column_of: I64, out: F32
) -> None:
    """Samples of the blurred picture at the points."""
    zero, one, three = np.float32(0), np.float32(1), np.float32(3)
    for i in range(y.shape[0]):
        pixel = np.float32(wide[rows[y[i]], x[i]])
        share = min(max((one - min(across[x[i]], down[y[i]])) * three + one, zero), one)
        out[i] = pixel + (blur[row_of[y[i]], column_of[x[i]]] - pixel) * share


@compiled
def fade_exactly(
    wide: U8,
    rows: I64,
    across: F32,
    down: F32,
    blur: F32,
    row_of: I64,
    column_of: I64,
    spans: I64,
    doubtful: Bool,
    median: float,
    out: U8,
) -> None:
    """Finish the doubtful pixels from the exact blur."""
    zero, one, three, most = np.float32(0), np.float32(1), np.float32(3), np.float32(255)
    middle = np.float32(median)
    for y in range(spans.shape[0]):
        for x in range(spans[y, 0], spans[y, 1]):
            if doubtful[y, x]:
                m = one - min(across[x], down[y])
                pixel = np.float32(wide[rows[y], x])
                pixel = pixel + (blur[row_of[y], column_of[x]] - pixel) * min(max(m * three + one, zero), one)
                pixel = pixel + (middle - pixel) * min(max(m, zero), one)
                out[y, x] = np.uint8(np.int32(min(max(np.rint(pixel), zero), most)))
