"""The functions that run in worker processes. They take and return plain values, never pixels."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.config import BuildConfig
from celebahq_tools.errors import PictureError
from celebahq_tools.pipeline.candidates import Candidate, Reject
from celebahq_tools.pipeline.recipes import FileTask, Recipe, RecipeSpec, open_recipe
from celebahq_tools.quality import quality_score
from celebahq_tools.store import SlotWriter

T = TypeVar("T")

PIXELS_PER_TASK = 512 * 512
MAX_ITEMS_PER_TASK = 256

RUN_BYTES = 1 << 19
RUN_SEC = 0.5
"""Small neighbouring images are stored together: until they are this many bytes, or have waited this long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyed:
    """What one file gave: items, or why none."""

    file: str
    items: tuple[Candidate, ...] = ()
    reject: Reject | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A slot that holds its pixels, or why it does not.

    sha256  over the finest level's CHW bytes
    drift   how far the restorer moved the picture, in levels
    """

    slot: int
    key: str
    sha256: str = ""
    quality: float | None = None
    drift: float | None = None
    reject: Reject | None = None


def survey_files(spec: RecipeSpec, tasks: Sequence[FileTask]) -> list[Surveyed]:
    """Survey a few files."""
    recipe = open_recipe(spec)
    results: list[Surveyed] = []
    for task in tasks:
        try:
            results.append(Surveyed(file=task.file, items=tuple(recipe.survey(task))))
        except (PictureError, OSError) as error:
            results.append(Surveyed(file=task.file, reject=reject_of(error, task.file, task.file)))
    return results


def fill_slots(spec: RecipeSpec, writer: SlotWriter, work: Sequence[tuple[int, Candidate]]) -> list[Filled]:
    """Render a few items straight into their slots of the pyramid."""
    recipe = open_recipe(spec)
    results: list[Filled] = []
    run: list[tuple[Filled, NDArray[np.uint8]]] = []
    begun = time.monotonic()
    with writer:
        for slot, candidate in work:
            filled, image = render_item(recipe, slot, candidate, scored=spec.scored)
            results.append(filled)
            if run and (image is None or run[-1][0].slot + 1 != slot):
                _store(writer, run)
                run = []
            if image is None:
                continue
            if not run:
                begun = time.monotonic()
            run.append((filled, image))
            if len(run) * image.nbytes >= RUN_BYTES or time.monotonic() - begun >= RUN_SEC:
                _store(writer, run)
                run = []
        if run:
            _store(writer, run)
    return results


def _store(writer: SlotWriter, run: Sequence[tuple[Filled, NDArray[np.uint8]]]) -> None:
    """Write images of neighbouring slots."""
    first = run[0][0].slot
    writer.write_run(first, np.stack([image for _, image in run]), [filled.quality for filled, _ in run])


def render_item(
    recipe: Recipe, slot: int, candidate: Candidate, *, scored: bool = True
) -> tuple[Filled, NDArray[np.uint8] | None]:
    """Render one item: what to say of it and its (3, R, R) uint8 pixels, None for a reject.

    `scored`: an image whose quality is not known yet gets its score.
    """
    try:
        rendered = recipe.render(candidate)
    except (PictureError, OSError) as error:
        reject = reject_of(error, candidate.key, candidate.file)
        return Filled(slot=slot, key=candidate.key, reject=reject), None
    image = np.ascontiguousarray(rendered.pixels)
    quality = candidate.quality
    if quality is None and scored:
        quality = quality_score(image)
    sha256 = hashlib.sha256(image.data).hexdigest()
    return Filled(slot=slot, key=candidate.key, sha256=sha256, quality=quality, drift=rendered.drift), image


def reject_of(error: PictureError | OSError, key: str, file: str) -> Reject:
    """The reject for a picture that raised `error`."""
    if isinstance(error, PictureError):
        return Reject(key=key, file=file, reason=error.reason, message=str(error))
    return Reject(key=key, file=file, reason="unreadable", message=f"{file}: cannot be read: {error.strerror or error}")


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Consecutive pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def items_per_task(config: BuildConfig, *, survey: bool = False) -> int:
    """How many items make a task worth sending: faces go one by one, small ready-made pictures in bundles."""
    if config.recipe == "official" and survey:
        return MAX_ITEMS_PER_TASK  # no picture is read
    if config.recipe != "images":
        return 1
    return max(1, min(MAX_ITEMS_PER_TASK, PIXELS_PER_TASK // (config.res * config.res)))
