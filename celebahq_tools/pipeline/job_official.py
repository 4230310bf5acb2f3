"""The job of `celebahq build --recipe official`."""

import dataclasses
import hashlib
from collections.abc import Sequence

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.deltas import OfficialRow
from celebahq_tools.errors import UsageError
from celebahq_tools.legacy.plan import CROP_RES
from celebahq_tools.official import plan_official
from celebahq_tools.pipeline.job import Job
from celebahq_tools.pipeline.recipes import FileTask, RecipeSpec
from celebahq_tools.sources import Source


def official_job(source: Source, config: BuildConfig, options: RunOptions) -> Job:
    """The images of the official index for which picture, landmarks and delta are there.

    Raises UsageError for options that this recipe does not have, and whatever `plan_official` raises.
    """
    if options.deltas is None:
        raise UsageError("--recipe official needs --deltas, the folder of deltas00000.zip ... and image_list.txt")
    if config.res > CROP_RES:
        raise UsageError(f"--res {config.res}: the official images have {CROP_RES} pixels a side")
    if config.keep is not None:
        raise UsageError("--keep goes with the other recipes: the official images are chosen already; use --limit")
    plan = plan_official(source, options.deltas, ids=_numbers(config.ids), limit=config.limit)
    return Job(
        spec=RecipeSpec(
            config=config,
            source=source.root.absolute(),
            source_kind=source.kind,
            source_digest=source.manifest_sha256,
            reader=source.reader,
            deltas=options.deltas.absolute(),
        ),
        tasks=tuple(
            FileTask(file=row.orig_file, record=source.record(row.orig_file), official=row) for row in plan.rows
        ),
        attribute_names=source.attribute_names,
        stamps={"official_rows_sha256": _rows_sha256(plan.rows)},
        notes=(*source.notes, *plan.notes),
    )


def _numbers(ids: Sequence[str] | None) -> list[int] | None:
    if ids is None:
        return None
    bad = [text for text in ids if not (text.isascii() and text.isdecimal())]
    if bad:
        raise UsageError(f"--ids {bad[0]}: with --recipe official, ids are numbers of the official index")
    return [int(text) for text in ids]


def _rows_sha256(rows: Sequence[OfficialRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(dataclasses.astuple(row)).encode())
    return digest.hexdigest()
