"""`build_pyramid`: survey, select, render, verify, replace. Every step can be killed and begun again."""

import contextlib
import glob
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import CelebAHQError, DiskSpaceError, FormatError, UsageError
from celebahq_tools.names import printable
from celebahq_tools.pipeline.candidates import Candidate, Reject, plan_digest, select
from celebahq_tools.pipeline.job import Job
from celebahq_tools.pipeline.journal import write_lines
from celebahq_tools.pipeline.lock import output_lock
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.pipeline.recipe_images import label_of
from celebahq_tools.pipeline.render import render
from celebahq_tools.pipeline.survey import (
    StageProgress,
    SurveyResult,
    append_late_rejects,
    survey,
)
from celebahq_tools.pipeline.versions import library_versions
from celebahq_tools.store import (
    IndexRow,
    PyramidMeta,
    PyramidReader,
    SlotWriter,
    create_pyramid,
    required_bytes,
)
from celebahq_tools.store.create import sync_folder
from celebahq_tools.store.verify import verify_pyramid

VERIFY = "verify"
MAX_ATTEMPTS = 3
"""How often slots that fail the final check are rendered again before the build gives up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSummary:
    """What a build did.

    already_complete  the output was there, made by the same command
    left_out          accepted items that `keep` did not choose
    restored_share    mean part of a picture's pixels that the restorer had to compute, or None
    notes             what a user should know of the source
    """

    out: Path
    num_images: int
    res: int
    rejects: tuple[Reject, ...]
    left_out: int
    restored_share: float | None
    fingerprint: str
    wall_sec: float
    already_complete: bool
    notes: tuple[str, ...]


def build_pyramid(
    job: Job, config: BuildConfig, options: RunOptions, out: Path, progress: StageProgress
) -> BuildSummary:
    """Make the pyramid `out` of a job; continues what an earlier, killed run of the same command has done.

    Raises CelebAHQError and its kinds: another process builds `out`, `out` is there and made otherwise, nothing
    was accepted, a reject with `options.strict`, no room on the disk.
    """
    started = time.monotonic()
    paths = BuildPaths.beside(out)
    digest = config.digest(job.spec.source_kind, job.spec.source_digest, json.dumps(job.stamps, sort_keys=True))
    with output_lock(paths.lock):
        if options.overwrite:
            _forget(paths)
        if paths.out.exists():
            _refuse_other_build(paths, digest)
            rejects = _read_rejects(paths)
            _clean_up(paths)
            return _summary(job, paths, rejects, left_out=0, started=started, already_complete=True)
        found, left_out = _fill(job, config, options, paths, digest, progress)
        paths.partial.replace(paths.out)
        sync_folder(paths.out.parent)
        _write_rejects(paths, found.rejects)
        _clean_up(paths)
    return _summary(job, paths, found.rejects, left_out=left_out, started=started, already_complete=False, found=found)


def _fill(
    job: Job,
    config: BuildConfig,
    options: RunOptions,
    paths: BuildPaths,
    digest: str,
    progress: StageProgress,
) -> tuple[SurveyResult, int]:
    """Survey and render until no item is lost any more; returns the survey and how many `keep` left out."""
    damaged = 0
    while True:
        found = survey(job.spec, job.tasks, options, paths, digest, progress)
        chosen, left_out = select(found.candidates, config.keep)
        if not chosen:
            _write_rejects(paths, found.rejects)
            _clean_up(paths)
            raise CelebAHQError(_nothing_accepted(job, found.rejects, paths))
        plan = plan_digest(digest, chosen)
        _prepare_partial(job, config, chosen, paths, digest, plan)
        late = render(job.spec, chosen, options, paths, plan, progress)
        if late:
            append_late_rejects(late, paths, digest)
            continue
        if _verified(paths, options, progress):
            return found, len(left_out)
        damaged += 1
        if damaged == MAX_ATTEMPTS:
            raise CelebAHQError(
                f"{paths.partial}: images differ from what was written {MAX_ATTEMPTS} times in a row; the disk or "
                "the memory of this machine is not reliable"
            )


def _prepare_partial(
    job: Job, config: BuildConfig, chosen: Sequence[Candidate], paths: BuildPaths, digest: str, plan: str
) -> None:
    """Have a partial pyramid for this plan: the one on the disk, or a new one with what an older one knows."""
    if paths.partial.exists():
        made_for = _stored_digests(paths.partial)
        if made_for == (digest, plan):
            paths.donor.unlink(missing_ok=True)
            return
        if made_for is not None and made_for[0] == digest and not paths.donor.exists():
            paths.partial.replace(paths.donor)
        else:
            paths.partial.unlink()
    _check_disk(paths, len(chosen), config.res)
    label_names = sorted({name for item in chosen if (name := _label_name(config, item)) is not None})
    numbers = {name: number for number, name in enumerate(label_names)}
    filling = paths.partial.with_name(paths.partial.name + ".new")
    filling.unlink(missing_ok=True)
    create_pyramid(
        filling,
        res=config.res,
        rows=[_index_row(item, numbers.get(_label_name(config, item) or "")) for item in chosen],
        meta=PyramidMeta(
            build_config={**config.to_json(), "digest": digest, "plan": plan, **job.stamps},
            manifest_sha256=job.spec.source_digest,
            library_versions=library_versions(config.recipe),
        ),
        attribute_names=job.attribute_names,
        label_names=label_names,
    )
    if paths.donor.exists():
        _take_over(paths.donor, filling, chosen)
    filling.replace(paths.partial)
    paths.donor.unlink(missing_ok=True)


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


def _verified(paths: BuildPaths, options: RunOptions, progress: StageProgress) -> bool:
    """Check every image of the partial file; damaged slots are emptied, to be rendered again, and False returned."""

    def checked(done: int, total: int) -> None:
        progress(VERIFY, done, total)

    report = verify_pyramid(paths.partial, checked, jobs=options.jobs, allow_partial=True)
    if report.bad:
        with SlotWriter(paths.partial) as writer:
            for image in report.bad:
                writer.clear(image.slot)
    return report.ok


def _check_disk(paths: BuildPaths, count: int, res: int) -> None:
    needed = required_bytes(count, res)
    free = shutil.disk_usage(paths.out.parent).free
    if needed > free:
        raise DiskSpaceError(
            f"{paths.out}: {count} images at {res}x{res} need {needed / 2**30:.2f} GiB, {free / 2**30:.2f} GiB are "
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


def _label_name(config: BuildConfig, item: Candidate) -> str | None:
    return label_of(printable(item.file)) if config.recipe == "images" else None


def _stored_digests(path: Path) -> tuple[str, str] | None:
    """Build and plan digest in the attributes of a pyramid, or None if it has none or cannot be read."""
    try:
        config: Any = PyramidReader(path, allow_partial=True).layout.attributes["build_config"]
        return config["digest"], config["plan"]
    except (FormatError, KeyError, TypeError):
        return None


def _refuse_other_build(paths: BuildPaths, digest: str) -> None:
    stored = _stored_digests(paths.out)
    if stored is None or stored[0] != digest:
        raise UsageError(
            f"{paths.out} exists and was made with other options or from another source; give another --out, or "
            "--overwrite to replace it"
        )


def _nothing_accepted(job: Job, rejects: Sequence[Reject], paths: BuildPaths) -> str:
    if not rejects:
        return f"{job.spec.source}: no pictures to build from"
    return (
        f"{job.spec.source}: none of {len(rejects)} pictures was accepted, see {paths.rejects}; the first: "
        f"{rejects[0].message}"
    )


def _write_rejects(paths: BuildPaths, rejects: Sequence[Reject]) -> None:
    if rejects:
        write_lines(paths.rejects, (reject.to_json() for reject in rejects))
    else:
        paths.rejects.unlink(missing_ok=True)


def _read_rejects(paths: BuildPaths) -> tuple[Reject, ...]:
    if not paths.rejects.exists():
        return ()
    return tuple(Reject(**json.loads(line)) for line in paths.rejects.read_text().splitlines())


def _forget(paths: BuildPaths) -> None:
    paths.out.unlink(missing_ok=True)
    paths.rejects.unlink(missing_ok=True)
    _clean_up(paths)


def _clean_up(paths: BuildPaths) -> None:
    """Remove what only an unfinished build needs; the lock file goes last, by its holder."""
    for path in (paths.plan, paths.partial, paths.donor):
        path.unlink(missing_ok=True)
    for stray in paths.partial.parent.glob(f"{glob.escape(paths.partial.name)}.*"):
        stray.unlink()
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(paths.shards)


def _summary(
    job: Job,
    paths: BuildPaths,
    rejects: tuple[Reject, ...],
    *,
    left_out: int,
    started: float,
    already_complete: bool,
    found: SurveyResult | None = None,
) -> BuildSummary:
    shares = [item.restored_share for item in (found.candidates if found else ()) if item.restored_share is not None]
    with PyramidReader(paths.out) as reader:
        return BuildSummary(
            out=paths.out,
            num_images=len(reader),
            res=reader.resolution,
            rejects=rejects,
            left_out=left_out,
            restored_share=float(np.mean(shares)) if shares else None,
            fingerprint=reader.fingerprint(),
            wall_sec=time.monotonic() - started,
            already_complete=already_complete,
            notes=job.notes,
        )
