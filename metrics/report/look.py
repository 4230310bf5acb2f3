"""Generated images beside their nearest neighbours in the training set, as pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.extractors import INCEPTION_NAME, TINY_NAME, open_extractor
from metrics.report.neighbours import Nearest, find_neighbours
from metrics.report.pictures import Picture, encoded, from_chw
from metrics.sources.base import ImageSet, resize_chw
from metrics.weights import INCEPTION_2015, cache_folder

AUTO = "auto"
SEARCH_RES = {TINY_NAME: 128, INCEPTION_NAME: 256}
THUMB_RES = 96
THUMB_BYTES = 9_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookalike:
    """One generated image and its neighbours: (number in the training set, distance, picture), nearest first."""

    sample: Picture
    pixels: tuple[tuple[int, float, Picture], ...]
    features: tuple[tuple[int, float, Picture], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookalikes:
    """All of a run; `origin` says where the samples are from, `baselines` are those of reals among reals."""

    run: str
    origin: str
    rows: tuple[Lookalike, ...]
    searched: int
    available: int
    pixel_res: int
    extractor: str
    pixel_baseline: float
    feature_baseline: float


def chosen_extractor(name: str) -> str:
    """The network itself for 'auto': inception-2015 if its weights are in the cache, else tiny."""
    if name != AUTO:
        return name
    cached = cache_folder()
    there = (cached if cached.is_file() else cached / INCEPTION_2015.name).is_file()
    return INCEPTION_NAME if there else TINY_NAME


def search_res(extractor: str, res: int) -> int:
    """Side at which images of `res` pixels are searched: what the network can use, so that little is read."""
    return min(res, SEARCH_RES[extractor])


def lookalikes(
    run: str,
    fakes: NDArray[np.uint8],
    origin: str,
    reals: ImageSet,
    *,
    extractor: str,
    search: int | None,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> Lookalikes:
    """Find and draw the neighbours of `fakes` (n, 3, R, R) uint8 in `reals`."""
    network = open_extractor(extractor, download=False)
    found = find_neighbours(fakes, reals, network, search=search, seed=seed, progress=progress)
    rows = []
    for place, fake in enumerate(fakes):
        rows.append(
            Lookalike(
                sample=_thumb(fake, f"Generated image {place + 1} of {run}"),
                pixels=_drawn(found.pixels, place, reals, "in pixels"),
                features=_drawn(found.features, place, reals, "in features"),
            )
        )
    return Lookalikes(
        run=run,
        origin=origin,
        rows=tuple(rows),
        searched=found.searched,
        available=found.available,
        pixel_res=found.pixel_res,
        extractor=found.extractor,
        pixel_baseline=found.pixels.baseline,
        feature_baseline=found.features.baseline,
    )


def _drawn(nearest: Nearest, place: int, reals: ImageSet, space: str) -> tuple[tuple[int, float, Picture], ...]:
    found = []
    for rank, (number, distance) in enumerate(zip(nearest.numbers[place], nearest.distances[place], strict=True), 1):
        if number >= 0:
            alt = f"Training image {number}, nearest {rank} {space} to generated image {place + 1}"
            found.append((int(number), float(distance), _thumb(reals.read([int(number)])[0], alt)))
    return tuple(found)


def _thumb(image: NDArray[np.uint8], alt: str) -> Picture:
    side = image.shape[-1]
    if side > THUMB_RES:
        image = resize_chw(image, THUMB_RES, "box")
    return encoded(from_chw(image), alt, budget=THUMB_BYTES)
