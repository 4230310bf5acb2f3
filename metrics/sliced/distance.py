"""One-dimensional Wasserstein distances between the projections of two sets of descriptors.

The standardisation is folded into the directions: with d' = d / std per channel, the projection of a standardised
descriptor is x . d' - mean . d'.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.sliced.config import CHANNELS, VALUES_PER_CHANNEL
from metrics.sliced.store import DescriptorStore
from metrics.sliced.wasserstein import BLOCK, MOST_BINNED, BinnedDistance, sorted_distance
from metrics.threads import one_blas_thread, one_opencv_thread

BLOCK_ROWS = 8192
"""Rows per matrix product, about: fixed, so that rounding does not depend on the number of threads."""
BUFFER_BYTES = 1 << 30
"""Memory for the projections of both sets; decides how many directions go at a time."""
FLOAT_BYTES = 4
MAX_AT_ONCE = 256
"""Directions at a time: more would hardly speed up the matrix product and only need memory."""
LEAST_BINNED = 1 << 16
"""Descriptors on a side from which on counting in bins is faster than sorting."""
SAMPLE_IMAGES, SAMPLE_ROWS = 64, 8
"""Images, and descriptors of each, that show where projections lie."""
OUTSIDE = 0.002
"""Share of the sample that may lie outside the bins, on either end."""
LEAST_BULK = 1e-6
"""Where the bulk of the projections of standardised descriptors is narrower, they are all one value, and are sorted."""

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

    def sample(self) -> Float32:
        """A few of the descriptors, spread over the images: (k, 147) float32."""
        count = len(self.slots)
        chosen = self.slots[np.linspace(0, count - 1, min(count, SAMPLE_IMAGES)).astype(np.int64)]
        step = max(1, self.patches // SAMPLE_ROWS)
        return np.concatenate([self.store.read_images(slot[None], self.patches)[::step] for slot in chosen])


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folded:
    """A side with its moments folded into the directions: standardised projections are x . directions - offsets."""

    side: Side
    directions: Float32
    offsets: Float64

    @classmethod
    def of(cls, side: Side, directions: Float32) -> "_Folded":
        folded, offsets = fold_moments(directions, side.moments)
        return cls(side=side, directions=folded, offsets=offsets)

    def sample(self) -> Float64:
        """Standardised projections of a few descriptors: (D, k)."""
        projected: Float64 = self.directions @ self.side.sample().T - self.offsets[:, None]
        return projected


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
    folded = _Folded.of(real, directions), _Folded.of(fake, directions)
    memory = (projections or Projections()).of(len(directions), count)
    at_once = memory.shape[1]
    result = np.empty(len(directions))
    with one_blas_thread(), one_opencv_thread(), ThreadPoolExecutor(max(1, jobs)) as pool:
        distance = _DistanceAlong(*folded)
        for start in range(0, len(directions), at_once):
            stop = min(start + at_once, len(directions))
            for one, out in zip(folded, memory, strict=True):
                side, own = one.side, one.directions[start:stop]
                project(side.store, side.slots, side.patches, own, out[: stop - start], pool)

            def row(number: int, start: int = start) -> None:
                result[start + number] = distance(start + number, memory[0, number], memory[1, number])
                if step is not None:
                    step(count)

            list(pool.map(row, range(stop - start)))
    return result


class _DistanceAlong:
    """W1 of the projections on one direction; may be called from several threads."""

    def __init__(self, left: _Folded, right: _Folded) -> None:
        self._left, self._right = left.offsets, right.offsets
        self._count = left.side.rows
        self._local = local()
        self._bulk: Float64 | None = None
        if LEAST_BINNED <= self._count <= MOST_BINNED:
            sample = np.sort(np.concatenate([left.sample(), right.sample()], axis=1), axis=1)
            outside = int(OUTSIDE * sample.shape[1])
            self._bulk = sample[:, [outside, -1 - outside]]

    def __call__(self, direction: int, left: Float32, right: Float32) -> float:
        """W1 of both sides' projections (rows,) on direction number `direction`; they are overwritten."""
        shift = float(self._left[direction] - self._right[direction])
        if self._bulk is not None:
            low, high = self._bulk[direction] + self._left[direction]
            if high - low >= LEAST_BULK:
                return self._binned(left, right, shift, float(low), float(high))
        left.sort()
        right.sort()
        return sorted_distance(left, right, shift, np.empty(min(BLOCK, self._count), np.float32))

    @property
    def _binned(self) -> BinnedDistance:
        """The calling thread's."""
        found: BinnedDistance | None = getattr(self._local, "binned", None)
        if found is None:
            found = self._local.binned = BinnedDistance(self._count)
        return found
