"""What a build does with one file: which items it holds, and the pixels of one item.

A recipe is opened once per process from a `RecipeSpec`, plain values that travel with every task.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.config import BuildConfig
from celebahq_tools.deltas import OfficialRow
from celebahq_tools.formats.collection import ImageReader
from celebahq_tools.pipeline.candidates import Candidate
from celebahq_tools.records import Record
from celebahq_tools.trees import PictureReader

MIN_SCORED_RES = 64
"""Below, the score of a picture taken whole says little, and costs more than all the rest of an import."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeSpec:
    """All that a worker needs to open a recipe.

    reader  reads the source's files; None where the source is a collection
    images  reads the images of a collection (recipe `images`)

    source_digest makes the spec of a changed source another one, so that no process works on with a stale
    handle to it.
    """

    config: BuildConfig
    source: Path
    source_kind: str
    source_digest: str
    reader: PictureReader | None = field(default=None, compare=False)
    images: ImageReader | None = field(default=None, compare=False)
    landmarks_model: Path | None = None
    deltas: Path | None = None

    @property
    def scored(self) -> bool:
        """Whether images get a quality score: always, but for small pictures that are taken whole."""
        return self.config.recipe != "images" or self.config.res >= MIN_SCORED_RES


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTask:
    """One file to survey, with what the annotations say of it; `entry` is an image of a collection."""

    file: str
    record: Record | None = None
    official: OfficialRow | None = None
    entry: Candidate | None = None


class Rendered(NamedTuple):
    """One image, (3, res, res) uint8, and how far the restorer moved it, in levels; None without a restorer."""

    pixels: NDArray[np.uint8]
    drift: float | None = None


class Recipe(Protocol):
    """The two things that can be asked of a file. Both raise PictureError for a picture that cannot be used."""

    def survey(self, task: FileTask) -> list[Candidate]:
        """The items in the file, at least one; their quality is set when the build makes a selection."""

    def render(self, candidate: Candidate) -> Rendered:
        """The image of one item."""


@functools.lru_cache(maxsize=1)
def open_recipe(spec: RecipeSpec) -> Recipe:
    """The recipe of `spec`, kept open for the next call: detectors and networks are loaded once per process."""
    if spec.config.recipe == "official":
        from celebahq_tools.pipeline.recipe_official import OfficialRecipe

        return OfficialRecipe(spec)
    if spec.config.recipe == "images":
        from celebahq_tools.pipeline.recipe_images import ImagesRecipe

        return ImagesRecipe(spec)
    from celebahq_tools.pipeline.recipe_faces import FaceRecipe

    return FaceRecipe(spec)
