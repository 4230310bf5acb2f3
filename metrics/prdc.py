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
TILE = 2048
"""Side of a tile of distances; a tile and its temporaries take about 150 MiB at 2048 channels."""


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

    `progress` is called with finished and total tiles. BatchError for mismatched channels, NaN, or sets
    of no more than `neighbours` images.
    """
    _check(real, fake, neighbours)
    n_tiles, m_tiles = len(_starts(real)), len(_starts(fake))
    total = n_tiles * (n_tiles + 1) // 2 + m_tiles * (m_tiles + 1) // 2 + n_tiles * m_tiles
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    real_radii = squared_radii(real, neighbours=neighbours, step=step)
    fake_radii = squared_radii(fake, neighbours=neighbours, step=step)
    fake_inside, real_inside = inside_manifolds(fake, real, fake_radii, real_radii, step=step)
    precision, recall = float(fake_inside.mean()), float(real_inside.mean())
    return PrecisionRecall(
        precision=precision,
        recall=recall,
        precision_std=_binomial_std(precision, len(fake)),
        recall_std=_binomial_std(recall, len(real)),
    )


def squared_radii(
    features: Features, *, neighbours: int = DEFAULT_NEIGHBOURS, step: Callable[[], None] | None = None
) -> Float64Array:
    """(N,) float64: squared distance of each vector to its k-th nearest other vector of the same set.

    Tiles above the diagonal serve for both of their sides.
    """
    norms = _squared_norms(features)
    nearest = np.full((len(features), neighbours), np.inf)
    for row in _starts(features):
        rows = features[row : row + TILE].astype(np.float64)
        for column in _starts(features):
            if column < row:
                continue
            tile = _squared_distances(rows, norms[row : row + TILE], features, norms, column)
            if column == row:
                # A vector is no neighbour of itself; equal vectors of other images are.
                np.fill_diagonal(tile, np.inf)
            else:
                _keep_nearest(nearest[column : column + TILE], tile.T)
            _keep_nearest(nearest[row : row + TILE], tile)
            if step is not None:
                step()
    radii: Float64Array = nearest.max(axis=1)
    return radii


def inside_manifolds(
    queries: Features,
    centres: Features,
    query_radii: Float64Array | None,
    centre_radii: Float64Array,
    *,
    step: Callable[[], None] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each query lies within the squared radius of at least one centre (eq. 1), and the reverse.

    Returns (M,) and (N,) bool for (M, D) queries and (N, D) centres; each distance is computed once.
    `query_radii` None leaves the second all false.
    """
    query_norms, centre_norms = _squared_norms(queries), _squared_norms(centres)
    query_inside, centre_inside = np.zeros(len(queries), dtype=bool), np.zeros(len(centres), dtype=bool)
    for row in _starts(queries):
        rows = queries[row : row + TILE].astype(np.float64)
        own = slice(row, row + TILE)
        for column in _starts(centres):
            other = slice(column, column + TILE)
            tile = _squared_distances(rows, query_norms[own], centres, centre_norms, column)
            query_inside[own] |= np.any(tile <= centre_radii[other], axis=1)
            if query_radii is not None:
                centre_inside[other] |= np.any(tile <= query_radii[own, None], axis=0)
            if step is not None:
                step()
    return query_inside, centre_inside


def _starts(features: Features) -> range:
    return range(0, len(features), TILE)


def _keep_nearest(nearest: Float64Array, tile: Float64Array) -> None:
    """Merge the smallest of each row of `tile` (n, m) into `nearest` (n, k), in place."""
    k = nearest.shape[1]
    smallest = np.partition(tile, k - 1, axis=1)[:, :k] if tile.shape[1] > k else tile
    nearest[...] = np.partition(np.concatenate([nearest, smallest], axis=1), k - 1, axis=1)[:, :k]


def _squared_distances(
    rows: Float64Array, row_norms: Float64Array, others: Features, other_norms: Float64Array, column: int
) -> Float64Array:
    block = others[column : column + TILE].astype(np.float64)
    tile: Float64Array = rows @ block.T
    tile *= -2
    tile += row_norms[:, None]
    tile += other_norms[column : column + TILE]
    # Rounding can leave an equal pair slightly off zero; such a pair must lie inside any radius.
    scale = np.finfo(np.float64).eps * rows.shape[1]
    tile[tile <= scale * row_norms[:, None]] = 0
    return tile


def _squared_norms(features: Features) -> Float64Array:
    norms = np.empty(len(features))
    for start in range(0, len(features), TILE):
        block = features[start : start + TILE].astype(np.float64)
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
        for start in range(0, len(features), TILE):
            finite = np.isfinite(features[start : start + TILE]).all(axis=1)
            if not finite.all():
                raise BatchError(f"features of {name} image {start + int(np.argmin(finite))} hold NaN or infinity")
