"""One-dimensional Wasserstein distances between the projections of two sets of descriptors.

W1 of two samples of equal size is the mean |a - b| of the sorted values. The standardisation is folded into
the directions: with d' = d / std per channel, the projection of a standardised descriptor is x . d' - mean . d'.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.sliced.config import CHANNELS, DESCRIPTOR_VALUES
from metrics.sliced.statistics import VALUES_PER_CHANNEL, Moments
from metrics.sliced.store import DescriptorStore

BLOCK_ROWS = 8192
"""Rows per matrix product: fixed, so that rounding does not depend on the number of threads."""
BUFFER_BYTES = 2 << 30
"""Memory for the projections of both sets; decides how many directions go at a time."""
SUM_BLOCK = 1 << 16

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Span = tuple[int, int]
Step = Callable[[int], None]
"""Called with the number of (row, direction) pairs that were finished."""


def fold_moments(directions: Float32, moments: Moments) -> tuple[Float32, Float64]:
    """Directions (D, 147) with the standardisation folded in: (D, 147) float32 and offsets (D,) float64.

    A channel without any variation contributes nothing: its standardised values are all 0.
    """
    scale = np.divide(1.0, moments.std, out=np.zeros(CHANNELS), where=moments.std > 0)
    folded = (directions * np.repeat(scale, VALUES_PER_CHANNEL)).astype(np.float32)
    offsets = folded.astype(np.float64) @ np.repeat(moments.mean, VALUES_PER_CHANNEL)
    return folded, offsets


def one_blas_thread() -> AbstractContextManager[object]:
    """Matrix products run one per thread of ours, so NumPy's BLAS must not start its own."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def project(
    store: DescriptorStore, rows: Span, directions: Float32, out: Float32, pool: ThreadPoolExecutor
) -> None:
    """Projections of rows rows[0]..rows[1]-1 on (D, 147) directions into `out` (D, rows), C-contiguous."""

    def block(start: int) -> None:
        stop = min(start + BLOCK_ROWS, rows[1])
        scratch = np.empty((stop - start, DESCRIPTOR_VALUES), np.float32)
        read = store.read(start, stop, scratch)
        np.matmul(directions, read.T, out=out[:, start - rows[0] : stop - rows[0]])

    list(pool.map(block, range(rows[0], rows[1], BLOCK_ROWS)))


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


def sliced_distances(
    real: DescriptorStore,
    fake: DescriptorStore,
    real_moments: Moments,
    fake_moments: Moments,
    directions: Float32,
    *,
    real_rows: Span | None = None,
    fake_rows: Span | None = None,
    jobs: int = 1,
    buffer_bytes: int = BUFFER_BYTES,
    step: Step | None = None,
) -> Float64:
    """W1 along each of (D, 147) unit directions, of descriptors standardised by the given moments: (D,).

    Bitwise the same for any `jobs` and `buffer_bytes`. Raises BatchError for unequal numbers of rows.
    """
    left_rows = real_rows or (0, real.rows)
    right_rows = fake_rows or (0, fake.rows)
    count = left_rows[1] - left_rows[0]
    if count != right_rows[1] - right_rows[0] or count < 1:
        raise BatchError(f"sets of {count} and {right_rows[1] - right_rows[0]} descriptors are not compared")
    left_folded, left_offsets = fold_moments(directions, real_moments)
    right_folded, right_offsets = fold_moments(directions, fake_moments)
    at_once = max(1, min(len(directions), buffer_bytes // (2 * 4 * count)))
    left, right = np.empty((2, at_once, count), np.float32)
    result = np.empty(len(directions))
    with one_blas_thread(), ThreadPoolExecutor(max(1, jobs)) as pool:
        for start in range(0, len(directions), at_once):
            stop = min(start + at_once, len(directions))
            project(real, left_rows, left_folded[start:stop], left[: stop - start], pool)
            project(fake, right_rows, right_folded[start:stop], right[: stop - start], pool)

            def one(row: int, start: int = start) -> None:
                left[row].sort()
                right[row].sort()
                shift = left_offsets[start + row] - right_offsets[start + row]
                scratch = np.empty(SUM_BLOCK, np.float32)
                result[start + row] = sorted_distance(left[row], right[row], float(shift), scratch)
                if step is not None:
                    step(count)

            list(pool.map(one, range(stop - start)))
    return result
