"""`build_pyramid`: survey, select, render, verify, replace. Every step can be killed and begun again."""

import contextlib
import glob
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celebahq_tools.config import RunOptions
from celebahq_tools.errors import CelebAHQError, UsageError
from celebahq_tools.pipeline.candidates import Candidate, Reject, plan_digest, select
from celebahq_tools.pipeline.drift_report import read_drift_report, write_drift_report
from celebahq_tools.pipeline.job import Job
from celebahq_tools.pipeline.journal import write_lines
from celebahq_tools.pipeline.lock import output_lock
from celebahq_tools.pipeline.partial import prepare_partial, refuse_other_unfinished, stored_digests
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.pipeline.render import render
from celebahq_tools.pipeline.survey import (
    StageProgress,
    append_late_rejects,
    load_plan,
    refuse_if_strict,
    survey,
)
from celebahq_tools.store import (
    PyramidReader,
    SlotWriter,
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
    drift             (mean, largest) low-pass difference the restorer made, levels of 255, or None
    restored_share    mean part of a picture's pixels that the restorer had to compute, or None
    notes             what a user should know of the source
    """

    out: Path
    num_images: int
    res: int
    rejects: tuple[Reject, ...]
    left_out: int
    restored_share: float | None
    drift: tuple[float, float] | None
    fingerprint: str
    wall_sec: float
    already_complete: bool
    notes: tuple[str, ...]


def build_pyramid(job: Job, options: RunOptions, out: Path, progress: StageProgress) -> BuildSummary:
    """Make the pyramid `out` of a job; continues what an earlier, killed run of the same command has done.

    Raises CelebAHQError and its kinds: another process builds `out`, `out` is there and made otherwise, nothing
    was accepted, a reject with `options.strict`, no room on the disk.
    """
    started = time.monotonic()
    paths = BuildPaths.beside(out)
    with output_lock(paths.lock):
        if options.overwrite:
            _forget(paths)
        if paths.out.exists():
            _refuse_other_build(paths, job.digest)
            rejects = _read_rejects(paths)
            _clean_up(paths)
            return _summary(job, paths, rejects, left_out=0, started=started, already_complete=True)
        plan = _fill(job, options, paths, progress)
        paths.partial.replace(paths.out)
        sync_folder(paths.out.parent)
        _write_rejects(paths, plan.rejects)
        _clean_up(paths)
    return _summary(job, paths, plan.rejects, left_out=plan.left_out, started=started, shares=plan.shares)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Which item gets which slot: `chosen` in slot order."""

    chosen: Sequence[Candidate]
    rejects: tuple[Reject, ...]
    digest: str
    left_out: int = 0
    shares: tuple[float, ...] = ()


def _fill(job: Job, options: RunOptions, paths: BuildPaths, progress: StageProgress) -> _Plan:
    """Plan and render until no item is lost any more."""
    damaged = 0
    while True:
        plan = _surveyed(job, options, paths, progress) if job.entries is None else _listed(job, options, paths)
        if not plan.chosen:
            _write_rejects(paths, plan.rejects)
            _clean_up(paths)
            raise CelebAHQError(_nothing_accepted(job, plan.rejects, paths))
        prepare_partial(job, plan.chosen, paths, plan.digest)
        late = render(job.spec, plan.chosen, options, paths, plan.digest, job.digest, progress)
        if late:
            append_late_rejects(late, paths, job.digest)
            continue
        if _verified(paths, options, progress):
            write_drift_report(paths, plan.chosen, job.digest)
            return plan
        damaged += 1
        if damaged == MAX_ATTEMPTS:
            raise CelebAHQError(
                f"{paths.partial}: images differ from what was written {MAX_ATTEMPTS} times in a row; the disk or "
                "the memory of this machine is not reliable"
            )


def _surveyed(job: Job, options: RunOptions, paths: BuildPaths, progress: StageProgress) -> _Plan:
    """The plan of a source that has to be looked through."""
    found = survey(job.spec, job.tasks, options, paths, job.digest, progress)
    chosen, left_out = select(found.candidates, job.config.keep)
    return _Plan(
        chosen=chosen,
        rejects=found.rejects,
        digest=plan_digest(job.digest, chosen),
        left_out=len(left_out),
        shares=tuple(item.restored_share for item in found.candidates if item.restored_share is not None),
    )


def _listed(job: Job, options: RunOptions, paths: BuildPaths) -> _Plan:
    """The plan of a source whose items are known: all of them, less those that turned out to be no good.

    Raises FormatError if an unfinished build of another kind is there.
    """
    assert job.entries is not None
    refuse_other_unfinished(paths, job.digest)
    rejects = load_plan(paths, job.digest).rejects
    refuse_if_strict(rejects, options)
    lost = {reject.key for reject in rejects}
    return _Plan(chosen=job.entries.without(lost), rejects=rejects, digest=plan_digest(job.digest, [], *sorted(lost)))


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


def _refuse_other_build(paths: BuildPaths, digest: str) -> None:
    stored = stored_digests(paths.out)
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
    paths.drift.unlink(missing_ok=True)
    _clean_up(paths)


def _clean_up(paths: BuildPaths) -> None:
    """Remove what only an unfinished build needs; the lock file goes last, by its holder."""
    for path in (paths.plan, paths.partial, paths.donor, paths.drift_journal):
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
    already_complete: bool = False,
    shares: Sequence[float] = (),
) -> BuildSummary:
    drifts = read_drift_report(paths)
    with PyramidReader(paths.out) as reader:
        return BuildSummary(
            out=paths.out,
            num_images=len(reader),
            res=reader.resolution,
            rejects=rejects,
            left_out=left_out,
            restored_share=float(np.mean(shares)) if shares else None,
            drift=(float(np.mean(drifts)), max(drifts)) if drifts else None,
            fingerprint=reader.fingerprint(),
            wall_sec=time.monotonic() - started,
            already_complete=already_complete,
            notes=job.notes,
        )
