"""From a collection to the job that makes a pyramid of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.config import BuildConfig
from celebahq_tools.errors import PictureError, SourceError, UsageError
from celebahq_tools.formats.collection import Collection, Entries
from celebahq_tools.names import printable
from celebahq_tools.pipeline.job import Job
from celebahq_tools.pipeline.recipes import FileTask, RecipeSpec

IDS_SHOWN = 5


def collection_job(collection: Collection, config: BuildConfig, chosen: NDArray[np.int64] | None = None) -> Job:
    """The job of the recipe `images`: the images `chosen` (None: all) of a collection, in this order.

    With `keep`, every image is scored first and the best ones stay, in the natural order of their keys.
    Raises UsageError for ids that name nothing, SourceError for an empty collection.
    """
    if not len(collection):
        raise SourceError(f"{collection.root}: no images in it")
    numbers = np.arange(len(collection), dtype=np.int64) if chosen is None else chosen
    numbers = _choose(collection.keys, numbers, config, collection.root)
    entries = Entries(collection, numbers)
    tasks: tuple[FileTask, ...] = ()
    if config.keep is not None:
        tasks = tuple(FileTask(file=entry.key, entry=entry) for entry in entries)
    columns = collection.columns
    return Job(
        spec=RecipeSpec(
            config=config,
            source=collection.root.absolute(),
            source_kind=collection.kind,
            source_digest=collection.digest,
            images=collection.reader,
        ),
        tasks=tasks,
        entries=entries if config.keep is None else None,
        attribute_names=columns.attribute_names,
        label_names=columns.label_names,
        vector_names=columns.vector_names,
        stamps={"format": collection.kind} | ({} if chosen is None else {"chosen": _digest(chosen)}),
        notes=collection.notes,
    )


def with_res(config: BuildConfig, collection: Collection, res: int | None) -> BuildConfig:
    """`config` at `res`, or at the size that the images have. Raises UsageError if that is not known."""
    if res is None:
        res = collection.natural_res or _first_side(collection)
    if res is None or res & (res - 1):
        found = "their size is not known" if res is None else f"they have {res}x{res} pixels"
        raise UsageError(f"{collection.root}: give --res, the size to bring the images to, a power of two ({found})")
    return dataclasses.replace(config, res=res)


def _first_side(collection: Collection) -> int | None:
    """Side of the first image if it can be read and is square."""
    try:
        height, width = collection.image(0).shape[:2] if len(collection) else (0, 1)
    except PictureError:
        return None
    return height if height == width else None


def _choose(keys: Sequence[str], numbers: NDArray[np.int64], config: BuildConfig, root: Path) -> NDArray[np.int64]:
    """Those of `numbers` whose keys `ids` names (all without it), the first `limit` of them."""
    if config.ids is not None:
        wanted, found = set(config.ids), set()
        kept = []
        for number in numbers.tolist():
            base = keys[number].rpartition("/")[2]
            named = wanted & {keys[number], base, base.rpartition(".")[0]}
            if named:
                kept.append(number)
                found |= named
        unknown = sorted(wanted - found)
        if unknown:
            shown = ", ".join(printable(name) for name in unknown[:IDS_SHOWN])
            raise UsageError(f"--ids: not in {root}: {shown}{', ...' if len(unknown) > IDS_SHOWN else ''}")
        numbers = np.array(kept, np.int64)
    return numbers[: config.limit]


def _digest(numbers: NDArray[np.int64]) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(numbers, "<i8").tobytes()).hexdigest()
