"""Patches of Laplacian levels, as in `patches`, with the steps that cost most compiled: the same bits.

The finest level is halved in whole numbers, 16 bits wide, and the next in float32, which holds all their sums exactly:
OpenCV's are the same. up() under patches adds in the order of `laplacian.up_patches`.
"""

import numpy as np
from numpy.typing import NDArray

from metrics.sliced.compiled import compiled
from metrics.sliced.config import CHANNELS, PATCH
from metrics.sliced.laplacian import WIDE, WINDOW
from metrics.sliced.patches import PatchExtractor, TallLevel

BORDER = 2
"""Pixels beyond the border that the filter reaches."""
FOUR, SIX, HALF, EIGHTH = np.float32(4), np.float32(6), np.float32(0.5), np.float32(0.125)
WARM_UP_RES = 64
SUM_OF_WEIGHTS = np.float32(1 / 256)

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]


@compiled
def mirrored(k: int, size: int) -> int:
    """Pixel that stands for pixel k of a row, the edge pixel not repeated."""
    if k < 0:
        return -k
    return k if k < size else 2 * size - 2 - k


@compiled
def halve_bytes(plane: UInt8, sums: UInt16, out: Float32) -> None:
    """down() of a plane (R, R) uint8 to (R / 2, R / 2) float32.

    sums   (R + 4,) scratch for the sum of five rows, with the columns beyond the borders
    """
    size = len(plane)
    for y in range(size // 2):
        a, b, c = plane[mirrored(2 * y - 2, size)], plane[mirrored(2 * y - 1, size)], plane[2 * y]
        d, e = plane[mirrored(2 * y + 1, size)], plane[mirrored(2 * y + 2, size)]
        inner = sums[BORDER : BORDER + size]
        for x in range(size):
            inner[x] = np.uint16(a[x]) + np.uint16(e[x]) + 4 * (np.uint16(b[x]) + np.uint16(d[x])) + 6 * np.uint16(c[x])
        sums[0], sums[1] = sums[4], sums[3]
        sums[size + 2], sums[size + 3] = sums[size], sums[size - 1]
        row = out[y]
        for x in range(size // 2):
            outer = np.int32(sums[2 * x]) + np.int32(sums[2 * x + 4])
            near = np.int32(sums[2 * x + 1]) + np.int32(sums[2 * x + 3])
            row[x] = np.float32(np.int32(outer + 4 * near + 6 * np.int32(sums[2 * x + 2]))) * SUM_OF_WEIGHTS


@compiled
def halve_floats(plane: Float32, sums: Float32, out: Float32) -> None:
    """`halve_bytes` of a plane of float32, whose values must be what it made: whole numbers of 1/256, below 256."""
    size = len(plane)
    for y in range(size // 2):
        a, b, c = plane[mirrored(2 * y - 2, size)], plane[mirrored(2 * y - 1, size)], plane[2 * y]
        d, e = plane[mirrored(2 * y + 1, size)], plane[mirrored(2 * y + 2, size)]
        inner = sums[BORDER : BORDER + size]
        for x in range(size):
            inner[x] = (a[x] + e[x]) + FOUR * (b[x] + d[x]) + SIX * c[x]
        sums[0], sums[1] = sums[4], sums[3]
        sums[size + 2], sums[size + 3] = sums[size], sums[size - 1]
        row = out[y]
        for x in range(size // 2):
            outer, near = sums[2 * x] + sums[2 * x + 4], sums[2 * x + 1] + sums[2 * x + 3]
            row[x] = (outer + FOUR * near + SIX * sums[2 * x + 2]) * SUM_OF_WEIGHTS


@compiled
def gather(flat: Float32 | UInt8, first: Int64, offsets: Int64, out: Float32) -> None:
    """out[v, p] = flat[first[p] + offsets[v]]."""
    for v in range(len(offsets)):
        offset, row = offsets[v], out[v]
        for p in range(len(first)):
            row[p] = flat[np.uint64(first[p] + offset)]


@compiled
def subtract_up(
    coarse: Float32,
    plane_step: int,
    size: int,
    corners: Int64,
    fine_size: int,
    transposed: bool,
    window: Float32,
    tiles: Float32,
    out: Float32,
) -> None:
    """Subtract up() of one image's coarse planes under its patches, out (147, P).

    coarse     flat, from the first plane's first pixel on
    corners    (P,) y * fine_size + x
    window     (6 + 9, 9) scratch
    tiles      (P, 147) scratch
    """
    for p in range(len(corners)):
        y, x = corners[p] // fine_size, corners[p] % fine_size
        top, left = ((y + 1) >> 1) - 1, ((x + 1) >> 1) - 1
        skip_y, skip_x = 1 - (y & 1), 1 - (x & 1)
        tile = tiles[p]
        for channel in range(CHANNELS):
            for r in range(WINDOW):
                k = top + r
                k = -k if k < 0 else min(k, size - 1)
                base = channel * plane_step + k * size
                if left >= 0 and left + WINDOW <= size:
                    near = coarse[base + left : base + left + WINDOW]
                    up_row(near, window[r])
                else:
                    edge = window[WINDOW + WIDE]
                    for c in range(WINDOW):
                        k = left + c
                        edge[c] = coarse[base + (-k if k < 0 else min(k, size - 1))]
                    up_row(edge[:WINDOW], window[r])
            up_columns(window[:WINDOW], window[WINDOW : WINDOW + WIDE])
            for i in range(PATCH):
                row = window[WINDOW + skip_y + i, skip_x : skip_x + PATCH]
                start = channel * PATCH * PATCH
                if transposed:
                    for j in range(PATCH):
                        tile[start + j * PATCH + i] = row[j]
                else:
                    for j in range(PATCH):
                        tile[start + i * PATCH + j] = row[j]
    for v in range(len(out)):
        row = out[v]
        for p in range(len(corners)):
            row[p] -= tiles[p, v]


@compiled
def up_row(g: Float32, out: Float32) -> None:
    """Six coarse pixels of a row to nine fine ones."""
    for i in range(WINDOW - 1):
        out[2 * i] = (g[i] + g[i + 1]) * HALF
    for i in range(1, WINDOW - 1):
        out[2 * i - 1] = ((g[i] * FOUR + (g[i - 1] + g[i])) + (g[i] + g[i + 1])) * EIGHTH


@compiled
def up_columns(g: Float32, out: Float32) -> None:
    """Six rows (6, 9) to nine (9, 9)."""
    for i in range(WINDOW - 1):
        for c in range(WIDE):
            out[2 * i, c] = (g[i, c] + g[i + 1, c]) * HALF
    for i in range(1, WINDOW - 1):
        for c in range(WIDE):
            out[2 * i - 1, c] = ((g[i, c] * FOUR + (g[i - 1, c] + g[i, c])) + (g[i, c] + g[i + 1, c])) * EIGHTH


class CompiledPatchExtractor(PatchExtractor):
    """A `PatchExtractor` with compiled steps; one per thread."""

    def __init__(self, res: int, patches: int, *, transposed: bool) -> None:
        super().__init__(res, patches, transposed=transposed)
        self._sums = np.empty(res + 2 * BORDER, np.uint16)
        self._float_sums = np.empty(res // 2 + 2 * BORDER, np.float32)
        self._window = np.empty((WINDOW + WIDE + 1, WIDE), np.float32)
        self._tiles = np.empty((patches, len(self._offsets[0])), np.float32)
        self._flat_offsets = [np.ascontiguousarray(offsets[:, 0]) for offsets in self._offsets]

    @classmethod
    def warm_up(cls) -> None:
        """Let everything be compiled."""
        extractor = cls(WARM_UP_RES, 1, transposed=False)
        corners = [np.zeros((1, 1), np.int64) for _ in extractor.sizes]
        out = [np.empty((1, *offsets.shape), np.float32) for offsets in extractor._offsets]
        extractor.extract(np.zeros((1, CHANNELS, WARM_UP_RES, WARM_UP_RES), np.uint8), corners, out)

    def _finest(self, number: int, image: UInt8, corners: Int64, out: Float32) -> None:
        gather(image.reshape(-1), corners, self._flat_offsets[0], out)
        for pixels, below in zip(image, self._below[number], strict=True):
            if below is None:
                return
            halve_bytes(pixels, self._sums, below)
        self._subtract_up(0, slice(number, number + 1), corners[None], out[None])

    def _halve(self, finer: TallLevel, coarser: TallLevel, count: int) -> None:
        if finer is not self._low[0]:
            super()._halve(finer, coarser, count)
            return
        for planes, below in zip(finer.inner[:count], coarser.inner[:count], strict=True):
            for channel in range(CHANNELS):
                halve_floats(planes[channel], self._float_sums, below[channel])

    def _take(self, level: int, tall: TallLevel, corners: Int64, out: Float32) -> None:
        flat = tall.planes.reshape(-1)
        for places, patches in zip(tall.places(len(corners), corners), out, strict=True):
            gather(flat, places, self._flat_offsets[level], patches)

    def _subtract_up(self, level: int, images: slice, corners: Int64, out: Float32) -> None:
        coarse = self._low[level]
        flat = coarse.planes.reshape(-1)
        first = coarse.places(images.stop, np.zeros((images.stop, 1), np.int64))[images, 0]
        for start, own, patches in zip(first, corners, out, strict=True):
            subtract_up(
                flat[start:],
                coarse.plane_step,
                coarse.size,
                own,
                self.sizes[level],
                self.transposed,
                self._window,
                self._tiles,
                patches,
            )
