"""`metrics pr`."""

from collections.abc import Mapping
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


@click.command("pr")
@click.argument("real")
@click.argument("fake", required=False)
@click.option("--neighbours", type=click.IntRange(min=1), default=3, show_default=True, help="The k of k-nearest.")
@click.option("--no-floor", is_flag=True, help="Do not measure what a second sample of REAL would reach.")
@out_option
@json_option
@dry_run_option
@quiet_option
@command_errors
@where_options("real", "fake")
@feature_options
def pr_cmd(
    config: "FeatureConfig",
    real: str,
    fake: str | None,
    neighbours: int,
    no_floor: bool,
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Improved precision and recall of FAKE against REAL; of REAL alone: of one random half of it.

    A set is an HDF5 pyramid, a folder or zip of images, .npy, .npz, or a file written by `metrics features`.

    \b
    Example:
      metrics pr celeba-hq.h5 samples/ --json
    """
    from metrics.feature_inputs import FEATURES, gather, split_halves
    from metrics.feature_metrics import precision_recall_result
    from metrics.feature_results import check_counts
    from metrics.features import FeatureSet

    check_out(out)
    paths = {"real": real} if fake is None else {"real": real, "fake": fake}

    def check(counts: Mapping[str, int]) -> None:
        check_counts(counts, neighbours=neighbours)

    if dry_run:
        show_plan("pr", paths, config, needs=(FEATURES,), as_json=as_json, check=check)
        return
    with progress_bars(quiet=quiet) as progress_for:
        sides = gather(paths, config, needs=(FEATURES,), check=check, progress_for=progress_for)
        pair = sides if fake is not None else split_halves(sides["real"], seed=config.seed)
        first, second = pair["real"], pair["fake"]
        assert isinstance(first, FeatureSet)
        assert isinstance(second, FeatureSet)
        result = precision_recall_result(
            first,
            second,
            neighbours=neighbours,
            layer=config.layer,
            floor=fake is not None and not no_floor,
            seed=config.seed,
            progress=progress_for("neighbours"),
        )
    publish(result, as_json=as_json, out=out, quiet=quiet)
    if not as_json:
        click.echo(f"recall  {result.details['recall']:.4f}")
