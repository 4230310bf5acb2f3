"""First pass: read every source file once and write down what it gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from celebahq_tools.config import RunOptions
from celebahq_tools.errors import CelebAHQError, FormatError
from celebahq_tools.pipeline.candidates import Candidate, Reject
from celebahq_tools.pipeline.journal import JournalWriter, Line, read_journal
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.pipeline.recipes import FileTask, RecipeSpec
from celebahq_tools.pipeline.tasks import Surveyed, chunks, items_per_task, survey_files
from celebahq_tools.pipeline.workers import run_tasks

PLAN_KIND = "celebahq-build-plan"
SURVEY = "survey"

StageProgress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SurveyResult:
    """All items of a source and all rejects, the late ones (found while rendering) included."""

    candidates: tuple[Candidate, ...]
    rejects: tuple[Reject, ...]


def survey(
    spec: RecipeSpec,
    tasks: Sequence[FileTask],
    options: RunOptions,
    paths: BuildPaths,
    digest: str,
    progress: StageProgress,
) -> SurveyResult:
    """Survey every file that the plan does not know yet, appending one line per file.

    Raises FormatError if the plan on the disk belongs to another build, CelebAHQError at the first reject
    when `options.strict` is set.
    """
    refuse_if_strict(load_plan(paths, digest).rejects, options)
    known = _known_lines(paths, digest)
    missing = [task for task in tasks if task.file not in known]
    done = len(tasks) - len(missing)
    progress(SURVEY, done, len(tasks))
    work = ((spec, chunk) for chunk in chunks(missing, items_per_task(spec.config, survey=True)))
    with JournalWriter(paths.plan, PLAN_KIND, {"digest": digest}) as plan:
        for results in run_tasks(survey_files, work, options):
            for result in results:
                line = _line(result)
                plan.append(line)
                known[result.file] = line
                done += 1
                progress(SURVEY, done, len(tasks))
                if result.reject is not None:
                    refuse_if_strict([result.reject], options)
            if plan.sync_is_due:
                plan.sync()
    return load_plan(paths, digest)


def load_plan(paths: BuildPaths, digest: str) -> SurveyResult:
    """The survey as the plan file has it."""
    candidates: list[Candidate] = []
    rejects: list[Reject] = []
    late: list[Reject] = []
    for line in _lines(paths, digest):
        if "late" in line:
            late.append(Reject(**line["late"]))
        elif "reject" in line:
            rejects.append(Reject(**line["reject"]))
        else:
            candidates.extend(Candidate.from_json(item) for item in line["items"])
    lost = {reject.key for reject in late}
    rejects.extend({reject.key: reject for reject in late}.values())
    return SurveyResult(
        candidates=tuple(item for item in candidates if item.key not in lost),
        rejects=tuple(sorted(rejects, key=lambda reject: reject.key)),
    )


def append_late_rejects(rejects: Sequence[Reject], paths: BuildPaths, digest: str) -> None:
    """Take items back out of the plan whose rendering failed."""
    with JournalWriter(paths.plan, PLAN_KIND, {"digest": digest}) as plan:
        for reject in rejects:
            plan.append({"late": reject.to_json()})


def refuse_if_strict(rejects: Sequence[Reject], options: RunOptions) -> None:
    """Raise CelebAHQError for the first reject when nothing may be rejected."""
    if options.strict and rejects:
        raise CelebAHQError(f"--strict: {rejects[0].message} [{rejects[0].reason}]")


def _line(result: Surveyed) -> Line:
    if result.reject is not None:
        return {"file": result.file, "reject": result.reject.to_json()}
    return {"file": result.file, "items": [item.to_json() for item in result.items]}


def _known_lines(paths: BuildPaths, digest: str) -> dict[str, Line]:
    return {line["file"]: line for line in _lines(paths, digest) if "file" in line}


def _lines(paths: BuildPaths, digest: str) -> list[Line]:
    found = read_journal(paths.plan, PLAN_KIND)
    if found is None:
        return []
    header, lines = found
    if header.get("digest") != digest:
        raise FormatError(
            f"{paths.plan}: an unfinished build with other options or another source is here; repeat its own "
            "command to finish it, give another --out, or use --overwrite to drop it"
        )
    return lines
