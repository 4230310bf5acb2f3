"""Nearest neighbours of generated images in the training set, in pixels and in features.

One pass over the training set in blocks; memory is that of a block. The same search for some real images, each
against all others, says how near a neighbour is to be expected.

Legend: Q queries, B images of a block, k neighbours, D values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ReportError
from metrics.extractors.base import Extractor
from metrics.report.pictures import box_reduced
from metrics.sources.base import ImageSet, resize_chw, sample_indices

BLOCK = 128
PIXEL_RES = 64
"""Pixel distances are taken at this side at most: at full size they are dominated by what nobody sees."""

Progress = Callable[[int, int], None]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest:
    """The k nearest training images of each query, nearest first.

    numbers    (Q, k) int64, -1 where there were fewer
    distances  (Q, k) float64, root mean square over the D values
    baseline   median distance of a real image to its nearest other one
    """

    numbers: NDArray[np.int64]
    distances: Float64
    baseline: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Both searches; `searched` of `available` training images were looked at."""

    pixels: Nearest
    features: Nearest
    searched: int
    available: int
    pixel_res: int
    extractor: str


def find_neighbours(
    queries: NDArray[np.uint8],
    reals: ImageSet,
    extractor: Extractor,
    *,
    k: int = 3,
    search: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Neighbours:
    """Search `reals` for the neighbours of `queries` (Q, 3, R, R) uint8.

    search  look at so many random training images only; None: at all
    """
    rng = np.random.default_rng(seed)
    chosen = sample_indices(reals.n, min(search or reals.n, reals.n), rng)
    fitted = _fit(queries, reals.res)
    own = np.sort(rng.choice(chosen, size=min(len(queries), len(chosen)), replace=False))
    both = np.concatenate([fitted, reals.read(own)])
    pixel_res = PIXEL_RES if reals.res % PIXEL_RES == 0 else reals.res
    views: tuple[Callable[[NDArray[np.uint8]], Float64], ...] = (
        lambda images: box_reduced(images, pixel_res).reshape(len(images), -1).astype(np.float64),
        lambda images: _features(images, extractor),
    )
    # One more neighbour, because a real image finds itself.
    tables = [_Table(view(both), k + 1) for view in views]
    for start in range(0, len(chosen), BLOCK):
        numbers = chosen[start : start + BLOCK]
        block = reals.read(numbers)
        for view, table in zip(views, tables, strict=True):
            table.feed(view(block), numbers)
        if progress is not None:
            progress(min(start + BLOCK, len(chosen)), len(chosen))
    pixels, features = (table.nearest(len(queries), own, k) for table in tables)
    return Neighbours(
        pixels=pixels,
        features=features,
        searched=len(chosen),
        available=reals.n,
        pixel_res=pixel_res,
        extractor=extractor.stamp.name,
    )


class _Table:
    """The nearest so far of each query."""

    def __init__(self, queries: Float64, k: int) -> None:
        self.queries = queries
        self.norms = np.square(queries).sum(axis=1)
        self.squares = np.full((len(queries), k), np.inf)
        self.numbers = np.full((len(queries), k), -1, np.int64)

    def feed(self, block: Float64, numbers: NDArray[np.int64]) -> None:
        """Merge a block (B, D) of training images."""
        tile = self.queries @ block.T
        tile *= -2
        tile += self.norms[:, None]
        tile += np.square(block).sum(axis=1)
        squares = np.concatenate([self.squares, np.maximum(tile, 0)], axis=1)
        names = np.concatenate([self.numbers, np.broadcast_to(numbers, tile.shape)], axis=1)
        order = np.argsort(squares, axis=1, kind="stable")[:, : self.squares.shape[1]]
        self.squares = np.take_along_axis(squares, order, axis=1)
        self.numbers = np.take_along_axis(names, order, axis=1)

    def nearest(self, count: int, own: NDArray[np.int64], k: int) -> Nearest:
        """Of the first `count` queries; the others are the training images `own`, for the baseline."""
        distances = np.sqrt(self.squares / self.queries.shape[1])
        others = np.where(self.numbers[count:] == own[:, None], np.inf, distances[count:]).min(axis=1)
        finite = others[np.isfinite(others)]
        return Nearest(
            numbers=self.numbers[:count, :k],
            distances=distances[:count, :k],
            baseline=float(np.median(finite)) if len(finite) else float("nan"),
        )


def _features(images: NDArray[np.uint8], extractor: Extractor) -> Float64:
    layer = extractor.feature_layer
    found = [
        extractor.run(extractor.prepare(images[start : start + 16]), frozenset({layer}))[layer]
        for start in range(0, len(images), 16)
    ]
    return np.concatenate(found).astype(np.float64)


def _fit(images: NDArray[np.uint8], res: int) -> NDArray[np.uint8]:
    """Queries at the side of the training images: means of squares where that goes, else Lanczos."""
    side = images.shape[-1]
    if len(images) == 0:
        raise ReportError("there are no generated images to find neighbours of")
    if side % res == 0:
        return box_reduced(images, res)
    return np.stack([resize_chw(image, res, "lanczos") for image in images])
