"""Compiled loops of LANCZOS and QUAD. The NumPy functions in `lanczos` and `quad` define what they compute.

Inner loops run over long contiguous rows, which is what makes the compiler vectorise them: a row of output
pixels at a time for each tap, never a tap at a time for each pixel. The order of additions per pixel is kept.

Legend: M samples of one row (pixels times channels), K taps, a multiple of TAP_BLOCK; W, H the picture.
"""

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.legacy.compiled import compiled

TAP_BLOCK = 4
"""Taps added in one sweep over a row; fewer sweeps, the same order."""

PHASES = 4
"""The transform is reduced four times, so tap k of output i reads phase k % 4 of the row at i + k // 4."""

CHANNELS = 3

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@compiled
def add_four(total: F32, a: U8, b: U8, c: U8, d: U8, weight: F32) -> None:
    """Add four weighted rows of pixels (M,) to (M,) float32, one after another."""
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for i in range(total.shape[0]):
        value = total[i] + np.float32(a[i]) * w0
        value = value + np.float32(b[i]) * w1
        value = value + np.float32(c[i]) * w2
        total[i] = value + np.float32(d[i]) * w3


@compiled
def store_row(total: F32, out: U8) -> None:
    """Cut (M,) float32 to integers in 0..255."""
    low, high = np.float32(0), np.float32(255)
    for i in range(total.shape[0]):
        out[i] = np.uint8(np.int32(min(max(total[i], low), high)))


@compiled
def reduce_rows(source: U8, start: I64, weight: F32, out: U8) -> None:
    """One LANCZOS pass along axis 0: (n, M) uint8 to (m, M) uint8."""
    total = np.empty(source.shape[1], dtype=np.float32)
    for i in range(out.shape[0]):
        total[:] = np.float32(0.5)
        for k in range(0, weight.shape[1], TAP_BLOCK):
            row = start[i] + k
            add_four(
                total, source[row], source[row + 1], source[row + 2], source[row + 3], weight[i, k : k + TAP_BLOCK]
            )
        store_row(total, out[i])


@compiled
def pack_pixels(pixels: U8, out: U32) -> None:
    """(H, W, 3) uint8 to (H + 2, W + 2) uint32, R + G * 2^8 + B * 2^16, the edge repeated once around."""
    height, width = pixels.shape[:2]
    for y in range(height + 2):
        row = pixels[min(max(y - 1, 0), height - 1)]
        packed = out[y]
        for x in range(width):
            packed[x + 1] = (
                np.uint32(row[x, 0]) | (np.uint32(row[x, 1]) << np.uint32(8)) | (np.uint32(row[x, 2]) << np.uint32(16))
            )
        packed[0] = packed[1]
        packed[width + 1] = packed[width]


@compiled
def pack_planes(planes: U8, out: U32) -> None:
    """(3, H, W) uint8 to (H + 2, W + 2) uint32, like `pack_pixels`."""
    height, width = planes.shape[1:]
    for y in range(height + 2):
        from_y = min(max(y - 1, 0), height - 1)
        pack_row(planes[0, from_y], planes[1, from_y], planes[2, from_y], out[y, 1 : width + 1])
        out[y, 0] = out[y, 1]
        out[y, width + 1] = out[y, width]


@compiled
def pack_row(red: U8, green: U8, blue: U8, out: U32) -> None:
    """Three rows (W,) uint8 to one (W,) uint32."""
    for x in range(out.shape[0]):
        out[x] = np.uint32(red[x]) | (np.uint32(green[x]) << np.uint32(8)) | (np.uint32(blue[x]) << np.uint32(16))


@compiled
def quad_positions(a: F64, y: float, phase: int, stride: int, at: I32, dx: F64, dy: F64) -> None:
    """Where the output pixels x = phase, phase + 4, ... of row y look: index of the upper left pixel, weights."""
    x_row, y_row = a[2] * y, a[6] * y
    width = np.int32(stride)
    one = np.int32(1)
    for i in range(at.shape[0]):
        x = np.float64(i * PHASES + phase)
        x_in = ((a[0] + a[1] * x) + x_row) + (a[3] * x) * y - 0.5
        y_in = ((a[4] + a[5] * x) + y_row) + (a[7] * x) * y - 0.5
        left, top = np.int32(x_in), np.int32(y_in)
        dx[i] = x_in - left
        dy[i] = y_in - top
        at[i] = (top + one) * width + (left + one)


@compiled
def gather_corners(flat: U32, stride: int, at: I32, a: U32, b: U32, c: U32, d: U32) -> None:
    """Fetch the four packed pixels around each position."""
    down, one = np.uint64(stride), np.uint64(1)
    for i in range(at.shape[0]):
        p = np.uint64(at[i])
        a[i] = flat[p]
        b[i] = flat[p + one]
        c[i] = flat[p + down]
        d[i] = flat[p + down + one]


@compiled
def mix_corners(shift: int, a: U32, b: U32, c: U32, d: U32, dx: F64, dy: F64, out: F32) -> None:
    """Bilinear value of one channel in double, cut to an integer, kept as float32."""
    bits, byte = np.uint32(shift), np.uint32(255)
    for i in range(out.shape[0]):
        v00 = np.float64(np.int32((a[i] >> bits) & byte))
        v01 = np.float64(np.int32((b[i] >> bits) & byte))
        v10 = np.float64(np.int32((c[i] >> bits) & byte))
        v11 = np.float64(np.int32((d[i] >> bits) & byte))
        upper = v00 + (v01 - v00) * dx[i]
        lower = v10 + (v11 - v10) * dx[i]
        out[i] = np.float32(np.int32(upper + (lower - upper) * dy[i]))


@compiled
def add_four_phases(total: F32, a: F32, b: F32, c: F32, d: F32, weight: F32) -> None:
    """Like `add_four`, for rows already in float32."""
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for i in range(total.shape[0]):
        value = total[i] + a[i] * w0
        value = value + b[i] * w1
        value = value + c[i] * w2
        total[i] = value + d[i] * w3


@compiled
def reduce_phases(phases: F32, start: I64, weight: F32, inner: I64, out: U8) -> None:
    """Reduce one row, split as (4, n) float32 by phase, to (n,) uint8.

    inner  (2,) the outputs first..last-1 that share the weights of output `first`, each four pixels further on
    """
    n = phases.shape[1]
    first, last = inner[0], inner[1]
    total = np.empty(n, dtype=np.float32)
    middle = total[first:last]
    middle[:] = np.float32(0.5)
    for k in range(0, weight.shape[1], TAP_BLOCK):
        tap = start[first] + k
        t0, t1, t2, t3 = tap, tap + 1, tap + 2, tap + 3
        add_four_phases(
            middle,
            phases[t0 % PHASES, t0 // PHASES : t0 // PHASES + last - first],
            phases[t1 % PHASES, t1 // PHASES : t1 // PHASES + last - first],
            phases[t2 % PHASES, t2 // PHASES : t2 // PHASES + last - first],
            phases[t3 % PHASES, t3 // PHASES : t3 // PHASES + last - first],
            weight[first, k : k + TAP_BLOCK],
        )
    for i in range(n):
        if i < first or i >= last:
            value = np.float32(0.5)
            for k in range(weight.shape[1]):
                tap = start[i] + k
                value = value + phases[tap % PHASES, tap // PHASES] * weight[i, k]
            total[i] = value
    store_row(total, out)


@compiled
def crop_rows(flat: U32, stride: int, a: F64, start: I64, weight: F32, inner: I64, rows: int, out: U8) -> None:
    """Rows 0..rows-1 of the transform, each reduced at once: out (3, rows, n) uint8."""
    n = out.shape[2]
    at = np.empty((PHASES, n), dtype=np.int32)
    dx = np.empty((PHASES, n), dtype=np.float64)
    dy = np.empty((PHASES, n), dtype=np.float64)
    corners = np.empty((4, n), dtype=np.uint32)
    phases = np.empty((CHANNELS, PHASES, n), dtype=np.float32)
    for y in range(rows):
        for p in range(PHASES):
            quad_positions(a, np.float64(y), p, stride, at[p], dx[p], dy[p])
            gather_corners(flat, stride, at[p], corners[0], corners[1], corners[2], corners[3])
            for c in range(CHANNELS):
                mix_corners(8 * c, corners[0], corners[1], corners[2], corners[3], dx[p], dy[p], phases[c, p])
        for c in range(CHANNELS):
            reduce_phases(phases[c], start, weight, inner, out[c, y])
