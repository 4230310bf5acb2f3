"""Photographs in memory, and the patches that are cut from them.

Pixels are (H, W, 3) uint8 [0, 255] RGB.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import SourceError
from celebahq_tools.sources import open_source

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]

# Each photograph is held in this many sizes: the shrunk one, and that by these further factors.
OCTAVES = (1.0, 1.5, 2.0)
# Of this many random places the one with most detail becomes the patch: skies teach little.
PLACES = 2
HOLD_OUT_EVERY = 10
MIN_SIDE_PATCHES = 1.5


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph and the name of its file."""

    name: str
    pixels: Pixels


def shrunk(pixels: Pixels, factor: float) -> Pixels:
    """The picture made smaller by area means; factors below 1 leave it as it is."""
    if factor <= 1:
        return pixels
    height, width = pixels.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    smaller: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return smaller


def read_photos(folder: Path, *, shrink: float, progress: Progress) -> list[Photo]:
    """All pictures of a folder (or zip), shrunk. SourceError or PictureError when one cannot be used."""
    source = open_source(folder)
    photos = []
    for number, file in enumerate(source.files):
        pixels = decode_picture(source.read(file), name=file)
        photos.append(Photo(file, shrunk(pixels, shrink)))
        progress(number + 1, len(source.files))
    if not photos:
        raise SourceError(f"{folder}: no photographs to train on: give a folder with pictures")
    return photos


def split_photos(photos: Sequence[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Those to train on and those held out: every tenth, in the order of names, starting with the fifth."""
    held = list(photos[HOLD_OUT_EVERY // 2 :: HOLD_OUT_EVERY])
    names = {photo.name for photo in held}
    return [photo for photo in photos if photo.name not in names], held


def octaves(photos: Sequence[Photo], patch: int) -> list[Pixels]:
    """The pictures in all sizes in which patches of that edge can still be cut freely."""
    sizes = [shrunk(photo.pixels, factor) for photo in photos for factor in OCTAVES]
    kept = [pixels for pixels in sizes if min(pixels.shape[:2]) >= MIN_SIDE_PATCHES * patch]
    if not kept:
        raise SourceError(
            f"no photograph has {int(MIN_SIDE_PATCHES * patch)} pixels a side after shrinking: "
            "give larger ones, or a smaller --shrink or --patch"
        )
    return kept


def detail(pixels: Pixels) -> float:
    """Mean absolute step between neighbouring pixels, levels of 255."""
    green = pixels[:, :, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a patch lies: number of the picture, and its corner."""

    number: int
    x: int
    y: int


def choose_place(
    pictures: Sequence[Pixels], areas: NDArray[np.float64], edge: int, step: int, rng: np.random.Generator
) -> Place:
    """A random place for a patch of `edge` pixels whose corner is a multiple of `step`; larger pictures more often.

    `areas` are the probabilities of the pictures.
    """
    best: tuple[float, Place] | None = None
    for _ in range(PLACES):
        number = int(rng.choice(len(pictures), p=areas))
        height, width = pictures[number].shape[:2]
        x = step * int(rng.integers((width - edge) // step + 1))
        y = step * int(rng.integers((height - edge) // step + 1))
        score = detail(pictures[number][y : y + edge, x : x + edge])
        if best is None or score > best[0]:
            best = (score, Place(number, x, y))
    assert best is not None
    return best[1]


def probabilities(pictures: Sequence[Pixels]) -> NDArray[np.float64]:
    """How often each picture is taken: by the square root of its pixels, summing to 1."""
    roots = np.sqrt([float(pixels.shape[0] * pixels.shape[1]) for pixels in pictures])
    shares: NDArray[np.float64] = roots / roots.sum()
    return shares
