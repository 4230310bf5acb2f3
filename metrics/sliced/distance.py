"""One-dimensional Wasserstein distances between the projections of two sets of descriptors.

W1 of two samples of equal size is the mean |a - b| of the sorted values. The standardisation is folded into
the directions: with d' = d / std per channel, the projection of a standardised descriptor is x . d' - mean . d'.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.sliced.config import CHANNELS, VALUES_PER_CHANNEL
from metrics.sliced.store import DescriptorStore
from metrics.threads import one_blas_thread

BLOCK_ROWS = 8192
"""Rows per matrix product, about: fixed, so that rounding does not depend on the number of threads."""
BUFFER_BYTES = 2 << 30
"""Memory for the projections of both sets; decides how many directions go at a time."""
SUM_BLOCK = 1 << 16
FLOAT_BYTES = 4
MAX_AT_ONCE = 256
"""Directions at a time: more would hardly speed up the matrix product and only need memory."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Slots = NDArray[np.int64]
Step = Callable[[int], None]
"""Called from any thread with the number of descriptors of one direction that was finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and population standard deviation per colour channel: (3,) float64 each, in grey levels."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def fold_moments(directions: Float32, moments: Moments) -> tuple[Float32, Float64]:
    """Directions (D, 147) with the standardisation folded in: (D, 147) float32 and offsets (D,) float64.

    A channel without any variation contributes nothing: its standardised values are all 0.
    """
    scale = np.divide(1.0, moments.std, out=np.zeros(CHANNELS), where=moments.std > 0)
    folded = (directions * np.repeat(scale, VALUES_PER_CHANNEL)).astype(np.float32)
    offsets = folded.astype(np.float64) @ np.repeat(moments.mean, VALUES_PER_CHANNEL)
    return folded, offsets


def project(
    store: DescriptorStore,
    slots: Slots,
    patches: int,
    directions: Float32,
    out: Float32,
    pool: ThreadPoolExecutor,
) -> None:
    """Projections of the descriptors of the images in `slots` on (D, 147) directions.

    Written into `out` (D, len(slots) * patches), rows of which are contiguous.
    """
    images = max(1, BLOCK_ROWS // patches)

    def block(start: int) -> None:
        chosen = slots[start : start + images]
        read = store.read_images(chosen, patches)
        np.matmul(directions, read.T, out=out[:, start * patches : (start + len(chosen)) * patches])

    list(pool.map(block, range(0, len(slots), images)))


def sorted_distance(left: Float32, right: Float32, shift: float, scratch: Float32) -> float:
    """Mean |left - right - shift| of two sorted arrays (n,); float64 sum of float32 blocks."""
    total = 0.0
    for start in range(0, len(left), SUM_BLOCK):
        stop = min(start + SUM_BLOCK, len(left))
        gap = scratch[: stop - start]
        np.subtract(left[start:stop], right[start:stop], out=gap)
        gap -= np.float32(shift)
        np.abs(gap, out=gap)
        total += float(gap.sum())
    return total / len(left)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison at one level: descriptors, their moments and the images to use.

    slots    (n,) image slots of `store`
    patches  rows per image
    """

    store: DescriptorStore
    moments: Moments
    slots: Slots
    patches: int

    @property
    def rows(self) -> int:
        """Descriptors on this side."""
        return len(self.slots) * self.patches


class Projections:
    """Memory for the projections of both sides, kept from one comparison to the next."""

    def __init__(self, limit: int = BUFFER_BYTES) -> None:
        self._limit = limit
        self._memory = np.empty(0, np.float32)

    def of(self, directions: int, rows: int) -> NDArray[np.float32]:
        """(2, d, rows) float32 with d as many of the directions as fit the limit, one at least."""
        at_once = max(1, min(directions, MAX_AT_ONCE, self._limit // (2 * FLOAT_BYTES * rows)))
        needed = 2 * at_once * rows
        if len(self._memory) < needed:
            self._memory = np.empty(0, np.float32)
            self._memory = np.empty(needed, np.float32)
        return self._memory[:needed].reshape(2, at_once, rows)


def sliced_distances(
    real: Side,
    fake: Side,
    directions: Float32,
    *,
    jobs: int = 1,
    projections: Projections | None = None,
    step: Step | None = None,
) -> Float64:
    """W1 along each of (D, 147) unit directions, of descriptors standardised by each side's moments: (D,).

    Bitwise the same for any `jobs`. Raises BatchError for unequal numbers of descriptors.
    """
    count = real.rows
    if count != fake.rows or count < 1:
        raise BatchError(f"sets of {count} and {fake.rows} descriptors are not compared; use equal n")
    left_folded, left_offsets = fold_moments(directions, real.moments)
    right_folded, right_offsets = fold_moments(directions, fake.moments)
    left, right = (projections or Projections()).of(len(directions), count)
    at_once = len(left)
    result = np.empty(len(directions))
    with one_blas_thread(), ThreadPoolExecutor(max(1, jobs)) as pool:
        for start in range(0, len(directions), at_once):
            stop = min(start + at_once, len(directions))
            for side, folded, out in ((real, left_folded, left), (fake, right_folded, right)):
                project(side.store, side.slots, side.patches, folded[start:stop], out[: stop - start], pool)

            def one(row: int, start: int = start) -> None:
                left[row].sort()
                right[row].sort()
                shift = left_offsets[start + row] - right_offsets[start + row]
                scratch = np.empty(min(SUM_BLOCK, count), np.float32)
                result[start + row] = sorted_distance(left[row], right[row], float(shift), scratch)
                if step is not None:
                    step(count)

            list(pool.map(one, range(stop - start)))
    return result
