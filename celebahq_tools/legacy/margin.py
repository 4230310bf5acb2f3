"""The compiled counterpart of `padding.pad_numpy`: the same bits at the pixels the quad looks at.

Only there, and at the few samples that decide the median, is the Gaussian computed exactly.
"""

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.blur import blur_where, extended_lines, filled_weights, same_lines
from celebahq_tools.legacy.compiled import compiled
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
    looked_at = np.zeros((height, width), dtype=np.bool_)
    mark_spans(spans, row_of, column_of, across, down, looked_at)

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
        candidates = median_candidates(frame, estimate, height * width // CANDIDATE_PART)
        wanted = looked_at.copy()
        if candidates is None:
            everywhere = np.tile(np.array([0, width]), (height, 1))
            mark_spans(everywhere, row_of, column_of, across, down, wanted)
        else:
            mark_points(candidates.y, candidates.x, row_of, column_of, across, down, wanted)
        blur = np.zeros((height, width), dtype=np.float32)
        blur_where(plane, rows, columns, weight, wanted, blur)
        median = _median(frame, blur, row_of, column_of, candidates)
        fade_spans(frame.wide, frame.rows, across, down, blur, row_of, column_of, spans, median, out[channel])
    return out


def _median(frame: Frame, blur: F32, row_of: I64, column_of: I64, candidates: Candidates | None) -> np.float32:
    """The median as NumPy takes it: the middle value, or the float32 mean of both."""
    total = len(frame.rows) * len(frame.across)
    if candidates is None:
        y, x = (axis.reshape(-1).astype(np.int32) for axis in np.indices((len(frame.rows), len(frame.across))))
        below = 0
    else:
        y, x, below = candidates.y, candidates.x, candidates.below
    values = np.empty(len(y), dtype=np.float32)
    blurred_points(y, x, frame.wide, frame.rows, frame.across, frame.down, blur, row_of, column_of, values)
    ranks = [(total - 1) // 2 - below, total // 2 - below]
    return np.partition(values, ranks)[ranks].mean(dtype=np.float32) if ranks[0] != ranks[1] else np.partition(
        values, ranks[0]
    )[ranks[0]]


@compiled
def mark_spans(spans: I64, row_of: I64, column_of: I64, across: F32, down: F32, out: Bool) -> None:
    """Mark, at their representatives, the pixels within the spans that the blur changes."""
    zero, one, three = np.float32(0), np.float32(1), np.float32(3)
    for y in range(spans.shape[0]):
        marks = out[row_of[y]]
        for x in range(spans[y, 0], spans[y, 1]):
            if (one - min(across[x], down[y])) * three + one > zero:
                marks[column_of[x]] = True


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
def fade_row(pixels: U8, across: F32, down: float, blur: F32, median: float, out: U8) -> None:
    """Blur and fade a run of one row, rounded half to even."""
    zero, one, three, most = np.float32(0), np.float32(1), np.float32(3), np.float32(255)
    near, middle = np.float32(down), np.float32(median)
    for x in range(out.shape[0]):
        m = one - min(across[x], near)
        pixel = np.float32(pixels[x])
        pixel = pixel + (blur[x] - pixel) * min(max(m * three + one, zero), one)
        pixel = pixel + (middle - pixel) * min(max(m, zero), one)
        out[x] = np.uint8(np.int32(min(max(np.rint(pixel), zero), most)))


@compiled
def fade_spans(
    wide: U8,
    rows: I64,
    across: F32,
    down: F32,
    blur: F32,
    row_of: I64,
    column_of: I64,
    spans: I64,
    median: float,
    out: U8,
) -> None:
    """Finish the pixels within the spans."""
    line = np.empty(across.shape[0], dtype=np.float32)
    for y in range(spans.shape[0]):
        first, last = spans[y, 0], spans[y, 1]
        if first >= last:
            continue
        source = blur[row_of[y]]
        for x in range(first, last):
            line[x] = source[column_of[x]]
        fade_row(wide[rows[y], first:last], across[first:last], down[y], line[first:last], median, out[y, first:last])
