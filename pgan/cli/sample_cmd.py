"""`pgan sample`."""

from pathlib import Path
from typing import Any

import click

from pgan.cli.common import (
    command_errors,
    device_option,
    dry_run_option,
    emit,
    json_option,
    progress_bar,
    quiet_option,
)


@click.command("sample")
@click.argument("network", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="A folder for PNGs, FILE.npy, or FILE.h5 (a pyramid).")
@click.option("--n", type=click.IntRange(min=1), help="Number of samples of --seed. [default: 64]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the samples.")
@click.option("--seeds", metavar="0-15,20", help="One sample of each of these seeds, instead of --n and --seed.")
@click.option("--grid", metavar="COLUMNSxROWS", help="Of the picture. [default: about a square]")
@click.option("--grid-out", type=click.Path(dir_okay=False, path_type=Path), help="Also, or only, one PNG of a grid.")
@click.option("--label", help="Of all samples: a class or its name, or NAME=VALUE,... [default: drawn]")
@click.option("--truncation", type=float, metavar="PSI", help="Not defined for progressive GANs: refused.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Images per pass.")
@device_option
@json_option
@dry_run_option
@quiet_option
@command_errors
def sample_cmd(
    network: Path,
    out: Path | None,
    n: int | None,
    seed: int,
    seeds: str | None,
    grid: str | None,
    grid_out: Path | None,
    label: str | None,
    truncation: float | None,
    batch: int,
    device: str,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Images of NETWORK: a file of RUN/networks or RUN/checkpoints, or RUN for its newest.

    Sample k of a seed is the same image whatever else is made with it. A folder that was interrupted is completed.

    \b
    Example:
      pgan sample runs/cifar10 --out samples.h5 --n 10000 --grid 16x8 --grid-out samples.png
    """
    from pgan.errors import ConfigError
    from pgan.generate import read_generator
    from pgan.sampling import (
        SampleConfig,
        check_grid,
        check_label,
        check_out,
        numbered_samples,
        parse_grid,
        parse_seeds,
        seeded_samples,
        write_sample_grid,
        write_samples,
    )

    if out is None and grid_out is None:
        raise ConfigError("nothing to write: name --out, --grid-out or both")
    if seeds is not None and n is not None:
        raise ConfigError("--seeds and --n exclude each other: --seeds makes one sample per seed")
    if grid is not None and grid_out is None:
        raise ConfigError("--grid has no picture to be in: name --grid-out")
    samples = numbered_samples(seed, 64 if n is None else n) if seeds is None else seeded_samples(parse_seeds(seeds))
    config = SampleConfig(samples=samples, label=label, truncation=truncation, batch=batch)
    cells = None if grid is None else parse_grid(grid)
    generator = read_generator(network, device)
    check_label(generator, label)
    if out is not None:
        check_out(generator, config, out)
    if grid_out is not None:
        check_grid(len(samples), cells, grid_out)
    if dry_run:
        res = generator.config.network.res
        plain = {"network": str(generator.path), "n": len(samples), "res": res, "bytes": len(samples) * 3 * res * res}
        emit(plain, f"would make {len(samples)} images of {res}x{res} from {generator.path}", as_json=as_json)
        return
    result: dict[str, Any] = {"network": str(generator.path), "n": len(samples)}
    if grid_out is not None:
        result["grid"] = str(grid_out)
        result["shown"] = write_sample_grid(generator, config, cells, grid_out)
    if out is not None:
        with progress_bar("sample", quiet=quiet) as progress:
            result.update(write_samples(generator, config, out, progress))
    made = [str(path) for path in (out, grid_out) if path is not None]
    emit(result, f"{len(samples)} samples of {generator.path}: {', '.join(made)}", as_json=as_json)
