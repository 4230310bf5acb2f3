"""Improved precision and recall (Kynkäänniemi et al. 2019, sec. 2): shares inside k-nearest manifolds.

Legend: N real and M generated images, D feature channels. Distances are float64 and formed tile by tile, so
memory is bounded by the features and two tiles, whatever N and M are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError

Float64Array = NDArray[np.float64]
Features = NDArray[np.floating]
ProgressFn = Callable[[int, int], None]

DEFAULT_NEIGHBOURS = 3
TILE_ROWS = 1024
TILE_COLUMNS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionRecall:
    """Shares in [0, 1].

    precision      share of generated images inside the manifold of the reals
    recall         share of reals inside the manifold of the generated images
    precision_std  binomial standard error given the manifold of the reals
    recall_std     likewise, given the manifold of the generated images
    """

    precision: float
    recall: float
    precision_std: float
    recall_std: float


def precision_recall(
    real: Features,
    fake: Features,
    *,
    neighbours: int = DEFAULT_NEIGHBOURS,
    progress: ProgressFn | None = None,
) -> PrecisionRecall:
    """Precision and recall between (N, D) and (M, D) features (eqs. 1 to 3).

    `progress` is called with finished and total tile rows. BatchError for mismatched channels, NaN, or sets
    of no more than `neighbours` images.
    """
    _check(real, fake, neighbours)
    passes = (len(real), len(fake), len(fake), len(real))
    total = sum(-(-size // TILE_ROWS) for size in passes)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    real_radii = squared_radii(real, neighbours=neighbours, step=step)
    fake_radii = squared_radii(fake, neighbours=neighbours, step=step)
    precision = float(inside_manifold(fake, real, real_radii, step=step).mean())
    recall = float(inside_manifold(real, fake, fake_radii, step=step).mean())
    return PrecisionRecall(
        precision=precision,
        recall=recall,
        precision_std=_binomial_std(precision, len(fake)),
        recall_std=_binomial_std(recall, len(real)),
    )


def squared_radii(
    features: Features, *, neighbours: int = DEFAULT_NEIGHBOURS, step: Callable[[], None] | None = None
) -> Float64Array:
    """(N,) float64: squared distance of each vector to its k-th nearest other vector of the same set."""
    n = len(features)
    norms = _squared_norms(features)
    radii = np.empty(n)
    for row in range(0, n, TILE_ROWS):
        rows = features[row : row + TILE_ROWS].astype(np.float64)
        nearest = np.full((len(rows), neighbours), np.inf)
        for column in range(0, n, TILE_COLUMNS):
            tile = _squared_distances(rows, norms[row : row + TILE_ROWS], features, norms, column)
            # A vector is no neighbour of itself; equal vectors of other images are.
            shared = np.arange(max(row, column), min(row + len(rows), column + tile.shape[1]))
            tile[shared - row, shared - column] = np.inf
            candidates = np.concatenate([nearest, tile], axis=1)
            nearest = np.partition(candidates, neighbours - 1, axis=1)[:, :neighbours]
        radii[row : row + len(rows)] = nearest.max(axis=1)
        if step is not None:
            step()
    return radii


def inside_manifold(
    queries: Features,
    centres: Features,
    radii: Float64Array,
    *,
    step: Callable[[], None] | None = None,
) -> NDArray[np.bool_]:
    """(M,) bool: whether each query lies within the squared radius of at least one centre (eq. 1)."""
    query_norms, centre_norms = _squared_norms(queries), _squared_norms(centres)
    inside = np.zeros(len(queries), dtype=bool)
    for row in range(0, len(queries), TILE_ROWS):
        rows = queries[row : row + TILE_ROWS].astype(np.float64)
        hit = np.zeros(len(rows), dtype=bool)
        for column in range(0, len(centres), TILE_COLUMNS):
            norms = query_norms[row : row + TILE_ROWS]
            tile = _squared_distances(rows, norms, centres, centre_norms, column)
            hit |= np.any(tile <= radii[column : column + tile.shape[1]], axis=1)
        inside[row : row + len(rows)] = hit
        if step is not None:
            step()
    return inside


def _squared_distances(
    rows: Float64Array, row_norms: Float64Array, others: Features, other_norms: Float64Array, column: int
) -> Float64Array:
    block = others[column : column + TILE_COLUMNS].astype(np.float64)
    tile: Float64Array = rows @ block.T
    tile *= -2
    tile += row_norms[:, None]
    tile += other_norms[column : column + TILE_COLUMNS]
    # Rounding can leave an equal pair slightly off zero; such a pair must lie inside any radius.
    scale = np.finfo(np.float64).eps * rows.shape[1]
    tile[tile <= scale * row_norms[:, None]] = 0
    return tile


def _squared_norms(features: Features) -> Float64Array:
    norms = np.empty(len(features))
    for start in range(0, len(features), TILE_COLUMNS):
        block = features[start : start + TILE_COLUMNS].astype(np.float64)
        norms[start : start + len(block)] = np.square(block).sum(axis=1)
    return norms


def _binomial_std(share: float, n: int) -> float:
    return float(np.sqrt(share * (1 - share) / n))


def _check(real: Features, fake: Features, neighbours: int) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise BatchError(f"precision needs (N, D) and (M, D) features, found {real.shape} and {fake.shape}")
    if neighbours < 1 or min(len(real), len(fake)) <= neighbours:
        raise BatchError(
            f"{neighbours} neighbours need more than {neighbours} images per set, found {len(real)} and {len(fake)}"
        )
    for name, features in (("real", real), ("generated", fake)):
        for start in range(0, len(features), TILE_COLUMNS):
            finite = np.isfinite(features[start : start + TILE_COLUMNS]).all(axis=1)
            if not finite.all():
                raise BatchError(f"features of {name} image {start + int(np.argmin(finite))} hold NaN or infinity")
