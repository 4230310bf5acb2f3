"""`celebahq import`."""

from pathlib import Path
from typing import cast

import click

from celebahq_tools.cli.building import ids_of, run_flags, run_job, run_options
from celebahq_tools.cli.common import command_errors


@click.group("import")
def import_cmd() -> None:
    """Make a pyramid of pictures that are cropped already, or are no faces."""


@import_cmd.command("images")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The pyramid to make, a name ending in .h5."
)
@click.option("--res", type=int, required=True, help="Finest resolution, a power of two.")
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad", "refuse"]),
    default="refuse",
    show_default=True,
    help="Pictures that are not square: take the centre, add black bars, or reject them.",
)
@click.option("--keep", type=int, help="Keep only the best this many by quality score.")
@run_flags
@command_errors
def import_images(
    source: Path,
    out: Path,
    res: int,
    fit: str,
    keep: int | None,
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
    """Make a pyramid of the pictures in a folder or zip, labelled by their first sub-folder.

    Square pictures are taken as they are, resized (Lanczos) if they have another size.

    \b
    Example:
      celebahq import images cifar10/ --out cifar10.h5 --res 32
    """
    from celebahq_tools.config import BuildConfig, FitOption
    from celebahq_tools.pipeline.job import images_job
    from celebahq_tools.sources import open_source

    options = run_options(jobs, dask, strict, overwrite)
    config = BuildConfig(recipe="images", res=res, keep=keep, fit=cast(FitOption, fit), ids=ids_of(ids), limit=limit)
    job = images_job(open_source(source), config)
    run_job(job, options, out, dry_run=dry_run, quiet=quiet, as_json=as_json)
