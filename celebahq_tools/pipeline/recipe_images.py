"""Pictures taken whole: no faces, or cropped already."""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from celebahq_tools.config import FitOption
from celebahq_tools.errors import PictureError
from celebahq_tools.names import printable
from celebahq_tools.pipeline.candidates import Candidate
from celebahq_tools.pipeline.recipes import FileTask, RecipeSpec, Rendered
from celebahq_tools.quality import quality_score


class ImagesRecipe:
    """`celebahq import`: the images of a collection."""

    def __init__(self, spec: RecipeSpec) -> None:
        assert spec.images is not None
        self._config = spec.config
        self._images = spec.images

    def survey(self, task: FileTask) -> list[Candidate]:
        """The image with its quality; asked for only when the best are to be selected."""
        assert task.entry is not None
        return [dataclasses.replace(task.entry, quality=quality_score(self.render(task.entry).pixels))]

    def render(self, candidate: Candidate) -> Rendered:
        """The picture, made square and brought to (3, res, res)."""
        pixels = self._images.image(candidate.file, candidate.position or 0)
        square = fit_square(pixels, self._config.fit, name=candidate.key)
        return Rendered(resize_square(square, self._config.res))


def fit_square(pixels: NDArray[np.uint8], fit: FitOption, *, name: str) -> NDArray[np.uint8]:
    """A square (S, S, 3) of a (H, W, 3) picture.

    `crop` takes the centre (the extra row or column of an odd difference goes off at the end), `pad` adds
    black bars, `refuse` raises PictureError unless the picture is square.
    """
    height, width = pixels.shape[:2]
    if height == width:
        return pixels
    if fit == "refuse":
        raise PictureError(
            "not-square",
            f"{printable(name)}: {width}x{height} is not square; choose --fit crop or --fit pad to take it",
        )
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[top : top + side, left : left + side]
    side = max(height, width)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def resize_square(square: NDArray[np.uint8], res: int) -> NDArray[np.uint8]:
    """(S, S, 3) to (3, res, res), unchanged if S = res, else by Pillow's Lanczos filter (widened when shrinking)."""
    if square.shape[0] != res:
        resized = Image.fromarray(square).resize((res, res), Image.Resampling.LANCZOS)
        square = np.asarray(resized)
    return np.ascontiguousarray(square.transpose(2, 0, 1))
