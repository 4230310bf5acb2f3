"""`metrics features`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrics.cli.common import check_out, command_errors, dry_run_option, emit, json_option, quiet_option
from metrics.cli.feature_options import feature_options, progress_bars, show_plan
from metrics.cli.where_options import where_options

if TYPE_CHECKING:
    from metrics.feature_inputs import FeatureConfig


@click.command("features")
@click.argument("images", metavar="SET")
@click.option("--layers", help="Layers, by commas. [default: those the network's metrics need]")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The .npz to write: one array per layer, images in their order.",
)
@click.option(
    "--stats",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write FID statistics (mu, sigma) of --layer to this .npz.",
)
@json_option
@dry_run_option
@quiet_option
@command_errors
@where_options("images")
@feature_options
def features_cmd(
    config: "FeatureConfig",
    images: str,
    layers: str | None,
    out: Path,
    stats: Path | None,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Pass SET through a network and store its features; every metric takes the file in place of the images.

    \b
    Example:
      metrics features celeba-hq.h5 --layers 2048,logits_unbiased --out features.npz
    """
    from metrics.errors import UsageError
    from metrics.feature_inputs import FEATURES, LOGITS, gather_layers
    from metrics.feature_stats import save_statistics, statistics_of
    from metrics.features import save_features

    names = None if layers is None else tuple(name.strip() for name in layers.split(",") if name.strip())
    for path in (out, stats):
        check_out(path)
        if path is not None and path.suffix != ".npz":
            raise UsageError(f"{path} should end in .npz, the metrics know such files by it")
    if names is not None and len(set(names)) != len(names):
        raise UsageError(f"--layers {layers} names a layer twice")
    if dry_run:
        show_plan("features", {"set": images}, config, needs=(FEATURES, LOGITS), as_json=as_json, layers=names)
        return
    with progress_bars(quiet=quiet) as progress_for:
        found = gather_layers(images, config, names, progress_for=progress_for)
    save_features(found, out)
    if stats is not None:
        save_statistics(statistics_of(found, config.layer, seed=config.seed), stats)
    plain = {
        "file": str(out),
        "statistics": None if stats is None else str(stats),
        "n": found.n,
        "layers": {name: int(rows.shape[1]) for name, rows in found.layers.items()},
        "extractor": found.extractor.to_json(),
        "set": found.images.to_json(),
    }
    text = f"{out}: {found.n} images, layers {', '.join(found.layers)}, extractor {found.extractor.name}"
    emit(plain, text, as_json=as_json)
