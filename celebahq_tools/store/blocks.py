"""The order in which a data set is gone through: random enough for training, local enough for a disk."""

import numpy as np
from numpy.typing import NDArray

BLOCK_IMAGES = 64
"""Neighbouring images that stay together when blocks are shuffled."""

WINDOW_BLOCKS = 16
"""Blocks whose images are mixed with each other."""


def shuffled_order(
    indices: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    block: int = BLOCK_IMAGES,
    window: int = WINDOW_BLOCKS,
) -> NDArray[np.int64]:
    """A permutation of `indices`: blocks of `block` neighbours are shuffled, then images inside a window.

    A window is `window` blocks in their new order, so reads stay inside window * block images at a time.
    Raises ValueError unless block and window are positive.
    """
    if block < 1 or window < 1:
        raise ValueError(f"block and window must be positive, not {block} and {window}")
    starts = rng.permutation(np.arange(0, len(indices), block))
    order = np.empty_like(indices)
    filled = 0
    for first in range(0, len(starts), window):
        parts = [indices[start : start + block] for start in starts[first : first + window]]
        mixed = rng.permutation(np.concatenate(parts))
        order[filled : filled + len(mixed)] = mixed
        filled += len(mixed)
    return order
