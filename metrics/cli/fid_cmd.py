"""`metrics fid`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrics.cli.common import (
    check_out,
    command_errors,
    dry_run_option,
    json_option,
    out_option,
    publish,
    quiet_option,
)
from metrics.cli.feature_options import feature_options, progress_bars, show_plan
from metrics.cli.where_options import where_options

if TYPE_CHECKING:
    from metrics.feature_inputs import FeatureConfig


@click.command("fid")
@click.argument("real")
@click.argument("fake", required=False)
@click.option("--infinity", is_flag=True, help="Also FID-infinity: FID extrapolated to endless images of FAKE.")
@click.option("--no-floor", is_flag=True, help="Do not measure the noise floor.")
@click.option(
    "--stats-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps the statistics of REAL, so that it is passed through the network once.",
)
@out_option
@json_option
@dry_run_option
@quiet_option
@command_errors
@where_options("real", "fake")
@feature_options
def fid_cmd(
    config: "FeatureConfig",
    real: str,
    fake: str | None,
    infinity: bool,
    no_floor: bool,
    stats_cache: Path | None,
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Fréchet inception distance between REAL and FAKE; of REAL alone: between its two random halves.

    A set is an HDF5 pyramid, a folder or zip of images, .npy, .npz, a file written by `metrics features`, or
    an .npz of statistics (`mu` and `sigma`) of this or another tool.

    \b
    Examples:
      metrics fid celeba-hq.h5 samples/ --stats-cache ~/.cache/fid
      metrics fid published-stats.npz samples/ --json
    """
    from dataclasses import replace

    from metrics.feature_inputs import FEATURES, gather, split_halves
    from metrics.feature_metrics import fid_result

    check_out(out)
    config = replace(config, stats_cache=stats_cache)
    paths = {"real": real} if fake is None else {"real": real, "fake": fake}
    if dry_run:
        show_plan("fid", paths, config, needs=(FEATURES,), as_json=as_json, statistics=True)
        return
    with progress_bars(quiet=quiet) as progress_for:
        both = fake is not None
        sides = gather(paths, config, needs=(FEATURES,), statistics=both, progress_for=progress_for)
    pair = sides if both else dict(split_halves(sides["real"], seed=config.seed))
    result = fid_result(
        pair["real"],
        pair["fake"],
        layer=config.layer,
        floor=both and not no_floor,
        infinity=infinity,
        seed=config.seed,
    )
    publish(result, as_json=as_json, out=out, quiet=quiet)
