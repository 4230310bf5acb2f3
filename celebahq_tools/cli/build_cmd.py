"""`celebahq build`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from celebahq_tools.cli.building import ids_of, run_flags, run_job, run_options
from celebahq_tools.cli.common import command_errors
from celebahq_tools.errors import UsageError

if TYPE_CHECKING:
    from celebahq_tools.config import RunOptions
    from celebahq_tools.pipeline.job import Job
    from celebahq_tools.sources import Source

DEFAULT_RESTORER = "realesrgan"


@click.command("build")
@click.option(
    "--src",
    type=click.Path(path_type=Path),
    help="A CelebA root, or a folder or zip of photographs. Without it: the sample that ships with the package.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The pyramid to make, a name ending in .h5."
)
@click.option(
    "--recipe",
    type=click.Choice(["paper", "plain", "ffhq", "official"]),
    help="paper: restoration, then the paper's crop. plain: geometry only. ffhq: the FFHQ crop. official: bit-exact "
    "from the deltas. Default: paper, with --restorer none plain.",
)
@click.option("--deltas", type=click.Path(path_type=Path), help="Folder of the official delta files (recipe official).")
@click.option("--res", type=int, default=1024, show_default=True, help="Finest resolution, a power of two.")
@click.option("--keep", type=int, help="Keep only the best this many by quality score (the paper: 30000).")
@click.option(
    "--faces",
    type=click.Choice(["largest", "all"]),
    default="largest",
    show_default=True,
    help="Which faces of a photograph become images.",
)
@click.option("--min-face", type=int, help="Smallest side of a crop in source pixels.  [default: 24]")
@click.option(
    "--restorer",
    metavar="ours|realesrgan|none|PATH",
    help="Network of the recipe paper; a PATH of weights is read by spandrel unless train-restorer made it.  "
    "[default: realesrgan when its weights are there, else ours]",
)
@click.option(
    "--restorer-task",
    type=click.Choice(["jpeg", "sr4", "joint"]),
    help="Which of our networks: remove artifacts, enlarge, or both.  [default: joint]",
)
@click.option("--restorer-weights", type=click.Path(path_type=Path), help="Its weights, instead of the cached ones.")
@click.option(
    "--max-drift",
    type=float,
    help="Reject pictures whose coarse detail the restorer moves by more levels.",
)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--landmarks-model", type=click.Path(path_type=Path), help="dlib's 68-point model file.")
@run_flags
@command_errors
def build_cmd(
    src: Path | None,
    out: Path,
    recipe: str | None,
    deltas: Path | None,
    res: int,
    keep: int | None,
    faces: str,
    min_face: int | None,
    restorer: str | None,
    restorer_task: str | None,
    restorer_weights: Path | None,
    max_drift: float | None,
    precision: str,
    landmarks_model: Path | None,
    ids: str | None,
    limit: int | None,
    jobs: int,
    dask: str | None,
    strict: bool,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Build a multi-resolution pyramid of face images.

    A killed or interrupted build goes on where it was when the same command is given again. Rejected pictures are
    listed in OUT.rejects.jsonl.

    \b
    Example:
      celebahq build --src celeba/ --out celebahq.h5 --keep 30000 --jobs 8
      celebahq build --src photos/ --out faces.h5 --res 512 --faces all
    """
    from celebahq_tools.pipeline.paths import BuildPaths
    from celebahq_tools.sources import open_sample, open_source

    BuildPaths.beside(out)
    options = run_options(jobs, dask, strict, overwrite, landmarks_model, deltas)
    with ExitStack() as stack:
        source = stack.enter_context(open_sample()) if src is None else open_source(src)
        values: dict[str, Any] = {
            "res": res,
            "keep": keep,
            "faces": faces,
            "ids": ids_of(ids),
            "limit": limit,
        }
        if max_drift is not None:
            values["max_drift"] = max_drift
        if min_face is not None:
            values["min_face_px"] = min_face
        job = _job(source, recipe, values, restorer, restorer_task, restorer_weights, precision, options)
        run_job(job, options, out, dry_run=dry_run, quiet=quiet, as_json=as_json)


def _job(
    source: "Source",
    recipe: str | None,
    values: dict[str, Any],
    restorer: str | None,
    task: str | None,
    weights: Path | None,
    precision: str,
    options: "RunOptions",
) -> "Job":
    from celebahq_tools.config import BuildConfig, RecipeName
    from celebahq_tools.pipeline.job import BUILD_TASK, face_job, restorer_at_hand
    from celebahq_tools.restore.base import PrecisionName, RestorerConfig, RestoreTask, named_restorer

    name, path = named_restorer(restorer or DEFAULT_RESTORER)
    if weights is not None and path is not None:
        raise UsageError("--restorer-weights goes with a restorer's name: --restorer names a file already")
    if task is not None and name != "ours":
        raise UsageError(f"--restorer-task goes with --restorer ours, not {name}")
    recipe = recipe or ("plain" if name == "none" else "paper")
    config = RestorerConfig(
        name=name,
        weights=weights or path,
        task=cast(RestoreTask, task or BUILD_TASK),
        precision=cast(PrecisionName, precision),
    )
    notes: tuple[str, ...] = ()
    if recipe == "paper" and restorer is None and weights is None:
        config, note = restorer_at_hand(config.precision)
        notes = (note,)
    if recipe != "paper":
        if restorer not in (None, "none") or weights is not None:
            raise UsageError(f"--restorer goes with --recipe paper, not {recipe}")
        if values.get("max_drift") is not None:
            raise UsageError(f"--max-drift goes with --recipe paper, not {recipe}")
        config = RestorerConfig(name="none")
    build = BuildConfig(recipe=cast(RecipeName, recipe), restorer=config, **values)
    if recipe == "official":
        from celebahq_tools.pipeline.job_official import official_job

        return official_job(source, build, options)
    if options.deltas is not None:
        raise UsageError(f"--deltas goes with --recipe official, not {recipe}")
    return face_job(source, build, options, notes)
