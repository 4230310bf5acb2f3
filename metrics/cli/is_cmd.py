"""`metrics is`."""

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


@click.command("is")
@click.argument("images", metavar="SET")
@click.argument("reference", metavar="[REFERENCE]", required=False)
@click.option("--splits", type=click.IntRange(min=1), default=10, show_default=True, help="Parts of the set.")
@click.option("--no-shuffle", is_flag=True, help="Split the images in their own order.")
@out_option
@json_option
@dry_run_option
@quiet_option
@command_errors
@where_options("images", "reference")
@feature_options
def is_cmd(
    config: "FeatureConfig",
    images: str,
    reference: str | None,
    splits: int,
    no_shuffle: bool,
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Inception score of SET; of REFERENCE too, if given, to have its value for real images beside it.

    A set is an HDF5 pyramid, a folder or zip of images, .npy, .npz, or a file written by `metrics features`.

    \b
    Example:
      metrics is samples/ --json
    """
    from dataclasses import replace

    from metrics.feature_inputs import LOGITS, gather
    from metrics.feature_metrics import inception_score_result
    from metrics.features import FeatureSet

    check_out(out)
    paths = {"set": images} if reference is None else {"set": images, "real": reference}
    if dry_run:
        show_plan("is", paths, config, needs=(LOGITS,), as_json=as_json)
        return
    with progress_bars(quiet=quiet) as progress_for:
        sides = gather(paths, config, needs=(LOGITS,), progress_for=progress_for)
    results = {}
    for role, side in sides.items():
        assert isinstance(side, FeatureSet)
        results[role] = inception_score_result(
            side, splits=splits, shuffle=not no_shuffle, layer=config.layer, seed=config.seed
        )
    result = results["set"]
    if "real" in results:
        other = results["real"]
        kept = {"value": other.value, "std": other.std, "set": other.protocol.sets["set"].to_json()}
        result = replace(result, details={**result.details, "reference": kept})
    publish(result, as_json=as_json, out=out, quiet=quiet)
    if "real" in results and not as_json:
        click.echo(f"reference  {results['real'].value:.4f}  ({reference})")
