"""The partial pyramid of a plan: made once with all its space, or taken over from an older plan's."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celebahq_tools.errors import DiskSpaceError, FormatError
from celebahq_tools.names import printable
from celebahq_tools.pipeline.candidates import Candidate
from celebahq_tools.pipeline.job import Job
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.pipeline.recipe_images import label_of
from celebahq_tools.pipeline.versions import library_versions
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid, required_bytes

GIB = 1 << 30


def prepare_partial(job: Job, chosen: Sequence[Candidate], paths: BuildPaths, plan: str) -> None:
    """Have a partial pyramid for the plan with this digest: the one on the disk, or a new one.

    A new one takes over the finished images of an older plan of the same build. Raises DiskSpaceError.
    """
    if paths.partial.exists():
        made_for = stored_digests(paths.partial)
        if made_for == (job.digest, plan):
            paths.donor.unlink(missing_ok=True)
            return
        if made_for is not None and made_for[0] == job.digest and not paths.donor.exists():
            paths.partial.replace(paths.donor)
        else:
            paths.partial.unlink()
    _check_disk(paths, len(chosen), job.config.res)
    labels = [_label_name(job, item) for item in chosen]
    label_names = sorted({name for name in labels if name is not None})
    numbers = {name: number for number, name in enumerate(label_names)}
    filling = paths.partial.with_name(paths.partial.name + ".new")
    filling.unlink(missing_ok=True)
    create_pyramid(
        filling,
        res=job.config.res,
        rows=[
            _index_row(item, None if name is None else numbers[name]) for item, name in zip(chosen, labels, strict=True)
        ],
        meta=PyramidMeta(
            build_config={**job.config.to_json(), "digest": job.digest, "plan": plan, **job.stamps},
            manifest_sha256=job.spec.source_digest,
            library_versions=library_versions(job.config.recipe),
        ),
        attribute_names=job.attribute_names,
        label_names=label_names,
    )
    if paths.donor.exists():
        _take_over(paths.donor, filling, chosen)
    filling.replace(paths.partial)
    paths.donor.unlink(missing_ok=True)


def stored_digests(path: Path) -> tuple[str, str] | None:
    """Build and plan digest in the attributes of a pyramid, or None if it has none or cannot be read."""
    try:
        config: Any = PyramidReader(path, allow_partial=True).layout.attributes["build_config"]
        return config["digest"], config["plan"]
    except (FormatError, KeyError, TypeError):
        return None


def _take_over(donor: Path, filling: Path, chosen: Sequence[Candidate]) -> None:
    """Copy the finished images of an older partial pyramid, found by key, into their slots of a new one."""
    with PyramidReader(donor, allow_partial=True) as old, SlotWriter(filling) as new:
        keys = [str(key) for key in old.index.key]
        finished = np.flatnonzero(old.index.sha256.any(axis=1))
        place = {keys[slot]: int(slot) for slot in finished}
        for slot, candidate in enumerate(chosen):
            source = place.get(printable(candidate.key))
            if source is not None:
                new.write(slot, old.read(source), quality=float(old.index.quality[source]))


def _check_disk(paths: BuildPaths, count: int, res: int) -> None:
    needed = required_bytes(count, res)
    free = shutil.disk_usage(paths.out.parent).free
    if needed > free:
        raise DiskSpaceError(
            f"{paths.out}: {count} images at {res}x{res} need {needed / GIB:.2f} GiB, {free / GIB:.2f} GiB are "
            "free; free some space, or use --limit, --keep, --res or another disk"
        )


def _index_row(item: Candidate, label: int | None) -> IndexRow:
    return IndexRow(
        key=printable(item.key),
        file=printable(item.file),
        quad=None if item.quad is None else np.array(item.quad, np.float64),
        landmarks=None if item.landmarks is None else np.array(item.landmarks, np.float64),
        quality=item.quality,
        identity=item.identity,
        attributes=item.attributes,
        partition=item.partition,
        label=label,
    )


def _label_name(job: Job, item: Candidate) -> str | None:
    return label_of(printable(item.file)) if job.config.recipe == "images" else None
