"""`metrics all`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrics.cli.common import (
    command_errors,
    dry_run_option,
    emit,
    json_option,
    quiet_option,
    result_text,
)
from metrics.cli.feature_options import feature_options, progress_bars
from metrics.cli.where_options import where_options

if TYPE_CHECKING:
    from metrics.feature_inputs import FeatureConfig


@click.command("all")
@click.argument("real")
@click.argument("fake")
@click.option(
    "--metrics",
    "names",
    default="swd,ms-ssim,is,fid,kid,pr",
    show_default=True,
    help="Which, by commas.",
)
@click.option("--splits", type=click.IntRange(min=1), default=10, show_default=True, help="Of the inception score.")
@click.option("--subsets", type=click.IntRange(min=1), default=100, show_default=True, help="Of KID.")
@click.option("--subset-size", type=click.IntRange(min=2), default=1000, show_default=True, help="Of KID.")
@click.option("--neighbours", type=click.IntRange(min=1), default=3, show_default=True, help="Of precision, recall.")
@click.option("--infinity", is_flag=True, help="Also FID-infinity.")
@click.option("--no-floor", is_flag=True, help="Do not measure noise floors.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also store each result in this folder: swd.json, ms-ssim.json, is.json ...",
)
@json_option
@dry_run_option
@quiet_option
@command_errors
@where_options("real", "fake")
@feature_options
def all_cmd(
    config: "FeatureConfig",
    real: str,
    fake: str,
    names: str,
    splits: int,
    subsets: int,
    subset_size: int,
    neighbours: int,
    infinity: bool,
    no_floor: bool,
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """SWD, MS-SSIM, IS, FID, KID, precision and recall of FAKE against REAL, from one read of each set.

    A set is an HDF5 pyramid, a folder or zip of images, .npy or .npz. MS-SSIM and IS are of FAKE.

    \b
    Example:
      metrics all celeba-hq.h5 samples/ --res 256 --resizer lanczos --out results/
    """
    from metrics.errors import UsageError
    from metrics.feature_inputs import file_kind
    from metrics.one_pass import AllConfig, measure_all, plan_all, plan_all_text
    from metrics.protocol import write_json
    from metrics.sources import open_image_set

    for path in (real, fake):
        if file_kind(path) != "images":
            raise UsageError(f"{path} holds {file_kind(path)}; SWD and MS-SSIM need the images themselves")
    chosen = AllConfig(
        features=config,
        metrics=tuple(name.strip() for name in names.split(",") if name.strip()),
        splits=splits,
        subsets=subsets,
        subset_size=subset_size,
        neighbours=neighbours,
        infinity=infinity,
        floor=not no_floor,
        jobs=config.threads or 1,
    )
    with (
        open_image_set(real, res=config.res, resizer=config.resizer) as reals,
        open_image_set(fake, res=config.res, resizer=config.resizer) as fakes,
    ):
        if dry_run:
            plan = plan_all(reals, fakes, chosen)
            emit(plan, plan_all_text(plan), as_json=as_json)
            return
        if out is not None:
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"--out {out}: cannot make the folder: {error.strerror}") from None
        with progress_bars(quiet=quiet) as progress_for:
            results = measure_all(reals, fakes, chosen, progress_for=progress_for)
    if out is not None:
        for result in results:
            write_json(result.to_json(), out / f"{result.metric}.json")
    text = "\n\n".join(result_text(result) for result in results)
    emit({"results": [result.to_json() for result in results]}, text, as_json=as_json)
    if not quiet:
        for warning in dict.fromkeys(f"{result.metric}: {line}" for result in results for line in result.warnings):
            click.echo(f"warning: {warning}", err=True)
