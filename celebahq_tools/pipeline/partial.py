"""The partial pyramid of a plan: made once with all its space, or taken over from an older plan's."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from celebahq_tools.errors import DiskSpaceError, FormatError
from celebahq_tools.names import printable
from celebahq_tools.pipeline.candidates import Candidate
from celebahq_tools.pipeline.job import Job
from celebahq_tools.pipeline.paths import BuildPaths
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
    filling = paths.partial.with_name(paths.partial.name + ".new")
    filling.unlink(missing_ok=True)
    create_pyramid(
        filling,
        res=job.config.res,
        rows=_Rows(chosen),
        meta=PyramidMeta(
            build_config={**job.config.to_json(), "digest": job.digest, "plan": plan, **job.stamps},
            manifest_sha256=job.spec.source_digest,
            library_versions=library_versions(job.config.recipe),
        ),
        attribute_names=job.attribute_names,
        label_names=job.label_names,
        vector_names=job.vector_names,
    )
    if paths.donor.exists():
        _take_over(paths.donor, filling, chosen)
    filling.replace(paths.partial)
    paths.donor.unlink(missing_ok=True)


def refuse_other_unfinished(paths: BuildPaths, digest: str) -> None:
    """Raise FormatError if the partial pyramid on the disk belongs to a build with another digest."""
    stored = stored_digests(paths.partial) if paths.partial.exists() else None
    if stored is not None and stored[0] != digest:
        raise FormatError(
            f"{paths.partial}: an unfinished build with other options or another source is here; repeat its own "
            "command to finish it, give another --out, or use --overwrite to drop it"
        )


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


class _Rows(Sequence[IndexRow]):
    """Index rows of candidates, made when asked for."""

    def __init__(self, chosen: Sequence[Candidate]) -> None:
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, slot: int) -> IndexRow: ...

    @overload
    def __getitem__(self, slot: slice) -> Sequence[IndexRow]: ...

    def __getitem__(self, slot: int | slice) -> IndexRow | Sequence[IndexRow]:
        if isinstance(slot, slice):
            return _Rows(self._chosen[slot])
        return _index_row(self._chosen[slot])


def _index_row(item: Candidate) -> IndexRow:
    return IndexRow(
        key=printable(item.key),
        file=printable(item.file),
        quad=None if item.quad is None else np.array(item.quad, np.float64),
        landmarks=None if item.landmarks is None else np.array(item.landmarks, np.float64),
        quality=item.quality,
        identity=item.identity,
        attributes=item.attributes,
        partition=item.partition,
        label=item.label,
        vector=item.vector,
    )
