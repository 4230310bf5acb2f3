"""What the commands that fill a pyramid share: options, progress by stage, the summary."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from celebahq_tools.cli.common import ProgressFn, emit, json_option, progress_bar, quiet_option
from celebahq_tools.errors import EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from celebahq_tools.config import BuildConfig, RunOptions
    from celebahq_tools.pipeline.build import BuildSummary
    from celebahq_tools.pipeline.estimate import Estimate
    from celebahq_tools.pipeline.job import Job
    from celebahq_tools.pipeline.survey import StageProgress

STAGE_LABELS = {"survey": "Surveying", "render": "Rendering", "verify": "Verifying"}
REJECTS_SHOWN = 5

Command = TypeVar("Command", bound=Callable[..., Any])

RUN_OPTIONS = (
    click.option("--ids", help="Only these files (names, with or without ending, comma separated, or @FILE)."),
    click.option("--limit", type=int, help="Only the first this many files."),
    click.option("--jobs", "-j", type=int, default=1, show_default=True, help="Worker processes."),
    click.option(
        "--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster that shares this disk, tcp://HOST:PORT."
    ),
    click.option("--strict", is_flag=True, help="Stop at the first picture that is rejected."),
    click.option("--overwrite", is_flag=True, help="Replace an output that was made otherwise, finished or not."),
    click.option("--dry-run", is_flag=True, help="Try a few items, print time, disk and memory needed, write nothing."),
    quiet_option,
    json_option,
)


def run_flags(command: Command) -> Command:
    """Add the options of how to run that all commands of this kind have."""
    for option in reversed(RUN_OPTIONS):
        command = option(command)
    return command


def run_options(
    jobs: int,
    dask: str | None,
    strict: bool,
    overwrite: bool,
    landmarks_model: Path | None = None,
    deltas: Path | None = None,
) -> "RunOptions":
    """The options of how to run. Raises UsageError when they make no sense."""
    from celebahq_tools.config import RunOptions

    return RunOptions(
        jobs=jobs,
        dask=dask,
        strict=strict,
        overwrite=overwrite,
        landmarks_model=landmarks_model,
        deltas=deltas,
    )


def ids_of(text: str | None) -> tuple[str, ...] | None:
    """The ids in `a,b,c`, or in the file of `@FILE`, one a line."""
    if text is None:
        return None
    if text.startswith("@"):
        try:
            names = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--ids {text}: cannot be read ({error})") from None
    else:
        names = text.split(",")
    ids = tuple(sorted({name.strip() for name in names if name.strip()}))
    if not ids:
        raise UsageError(f"--ids {text}: names nothing")
    return ids


def run_job(
    job: "Job",
    options: "RunOptions",
    out: Path,
    *,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a build, or only its estimate, and print the result; exits 1 when an official image is missing."""
    config = job.config
    if not quiet:
        for note in job.notes:
            click.echo(f"note: {note}", err=True)
    if dry_run:
        from celebahq_tools.pipeline.estimate import estimate
        from celebahq_tools.pipeline.paths import BuildPaths

        BuildPaths.beside(out)
        cost = estimate(job, options, out)
        emit(_plain(cost) | {"config": config.to_json()}, _estimate_text(cost, config), as_json=as_json)
        return
    from celebahq_tools.pipeline.build import build_pyramid

    with stage_bars(quiet) as progress:
        summary = build_pyramid(job, options, out, progress)
    emit(_plain(summary) | {"config": config.to_json()}, _summary_text(summary), as_json=as_json)
    if config.recipe == "official" and summary.rejects:
        raise SystemExit(EXIT_FAILED)


@contextmanager
def stage_bars(quiet: bool) -> Iterator["StageProgress"]:
    """One bar after the other, a new one whenever the stage changes."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        current: list[tuple[str, ProgressFn]] = []

        def progress(stage: str, done: int, total: int) -> None:
            if not current or current[0][0] != stage:
                stack.close()
                label = STAGE_LABELS.get(stage, stage)
                current[:] = [(stage, stack.enter_context(progress_bar(label, quiet=quiet)))]
            current[0][1](done, total)

        yield progress


def _plain(value: Any) -> dict[str, Any]:
    """A result dataclass as JSON values."""
    return {name: str(item) if isinstance(item, Path) else item for name, item in dataclasses.asdict(value).items()}


def _summary_text(summary: "BuildSummary") -> str:
    levels = f"{summary.res}x{summary.res} down to 4x4"
    lines = [f"{summary.out}: {summary.num_images} images, {levels}, {summary.fingerprint}"]
    if summary.already_complete:
        lines.append("It was complete already; nothing was done.")
    else:
        lines.append(f"Built in {summary.wall_sec:.1f} s.")
    if summary.restored_share is not None:
        lines.append(
            f"The restorer computed {summary.restored_share:.0%} of the pictures' pixels, what the crops need."
        )
    if summary.drift is not None:
        mean, largest = summary.drift
        drift_file = summary.out.with_name(f"{summary.out.stem}.drift.jsonl")
        lines.append(
            f"Restoring moved coarse detail by {mean:.2f} levels on average, {largest:.2f} at most: {drift_file}"
        )
    if summary.left_out:
        lines.append(f"Left out by --keep: {summary.left_out} accepted images.")
    if summary.rejects:
        rejects_file = summary.out.with_name(f"{summary.out.stem}.rejects.jsonl")
        lines.append(f"Rejected pictures: {len(summary.rejects)}, see {rejects_file}:")
        lines += [f"  {reject.message} [{reject.reason}]" for reject in summary.rejects[:REJECTS_SHOWN]]
        if len(summary.rejects) > REJECTS_SHOWN:
            lines.append(f"  ... and {len(summary.rejects) - REJECTS_SHOWN} more")
    return "\n".join(lines)


def _estimate_text(cost: "Estimate", config: "BuildConfig") -> str:
    total = cost.survey_sec + cost.render_sec
    lines = [
        f"{cost.files} files, about {cost.images} images at {config.res}x{config.res} ({cost.sampled_files} tried).",
        f"Time with {cost.jobs} jobs: about {_duration(total)} "
        f"(survey {_duration(cost.survey_sec)}, rendering {_duration(cost.render_sec)}).",
        f"Disk: {cost.disk_bytes / 2**30:.2f} GiB, {cost.free_bytes / 2**30:.2f} GiB free.",
        f"Memory: about {cost.worker_gib:.2f} GiB a job.",
        f"Config: {config.to_json()}",
    ]
    lines += [f"Would be rejected: {reject.message} [{reject.reason}]" for reject in cost.rejects]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
