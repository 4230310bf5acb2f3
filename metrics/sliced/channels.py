"""Projections channel by channel, from which those of many standardisations follow.

Halves of a set are each standardised by their own moments, which is a factor per channel and an offset. So descriptors
are projected once, every channel by itself, and what is compared are the sums of three numbers, which are descriptors
of their own: of 3 D values instead of 147.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from metrics.sliced.config import CHANNELS
from metrics.sliced.distance import IMAGES_AT_ONCE
from metrics.sliced.store import DescriptorStore
from metrics.threads import one_blas_thread

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def channel_projections(store: DescriptorStore, directions: Float32, *, jobs: int = 1) -> DescriptorStore:
    """Descriptors (n, 147, P) along directions (D, 147), each channel alone: (n, 3 D, P), in memory."""
    count, patches = len(directions), store.patches
    projected = DescriptorStore(store.images, patches, None, values=CHANNELS * count)
    # (3, D, 49)
    parts = np.ascontiguousarray(directions.reshape(count, CHANNELS, -1).swapaxes(0, 1))

    def project(first: int) -> None:
        slots = np.arange(first, min(first + IMAGES_AT_ONCE, store.images))
        read = store.read(slots).reshape(len(slots), CHANNELS, -1, patches)
        projected.write(first, np.matmul(parts, read).reshape(len(slots), CHANNELS * count, patches))

    with one_blas_thread(), ThreadPoolExecutor(max(1, jobs)) as pool:
        list(pool.map(project, range(0, store.images, IMAGES_AT_ONCE)))
    return projected


def channel_sums(directions: Float32) -> tuple[Float32, Float64]:
    """For (D, 147) directions: the directions (D, 3 D) that add up what `channel_projections` made, and their units.

    units   (3 D,) `channel_projections` of a descriptor that is 1 everywhere
    """
    count = len(directions)
    units = directions.astype(np.float64).reshape(count, CHANNELS, -1).sum(axis=2).T.reshape(-1)
    return np.tile(np.eye(count, dtype=np.float32), CHANNELS), units
