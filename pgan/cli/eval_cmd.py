"""`pgan eval`."""

from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from pgan.evaluate_run import NetworkValues

WIDTH = 10


@click.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="The pyramid. [default: the one the run was trained on]")
@click.option("--metrics", "names", default="swd,ms-ssim", show_default=True, help="Of swd, ms-ssim, fid, is.")
@click.option("--n", type=click.IntRange(min=2), help="Images per set. [default: 16384, or all of the data if fewer]")
@click.option("--res", type=click.IntRange(min=4), help="Side to measure at. [default: the generator's]")
@click.option("--mirror/--no-mirror", default=None, help="Mirror the data. [default: as the run was trained]")
@click.option("--extractor", default="inception-2015", show_default=True, help="Feature network of FID and IS.")
@click.option("--no-floor", is_flag=True, help="Do not measure noise floors.")
@click.option("--no-cache", is_flag=True, help="Neither use nor keep statistics of the data.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of samples and metrics.")
@click.option("--jobs", type=click.IntRange(min=1), help="Threads. [default: the cores there are]")
@device_option
@json_option
@dry_run_option
@quiet_option
@command_errors
def eval_cmd(
    run: Path,
    data: Path | None,
    names: str,
    n: int | None,
    res: int | None,
    mirror: bool | None,
    extractor: str,
    no_floor: bool,
    no_cache: bool,
    seed: int,
    jobs: int | None,
    device: str,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Measure all stored networks of RUN, store the results in RUN/metrics, and name the best one.

    Results of the same networks, data, number of images and seed are kept, so the command can be repeated as a run
    goes on, and goes on where it was interrupted.

    \b
    Example:
      pgan eval runs/cifar10 --metrics swd --n 8192
    """
    from metrics.sliced.cache import default_cache
    from metrics.threads import available_cores
    from pgan.errors import RunError
    from pgan.evaluate import EvaluationConfig
    from pgan.evaluate_run import best_network, evaluate_run, networks_of, read_run

    files, info = networks_of(run), read_run(run)
    data = data or info.data
    if data is None:
        raise RunError(f"{run} does not say what it was trained on; name the pyramid with --data")
    config = EvaluationConfig(
        metrics=tuple(name.strip() for name in names.split(",") if name.strip()),
        n=n,
        res=res,
        mirror=info.config.train.mirror if mirror is None else mirror,
        seed=seed,
        extractor=extractor,
        floor=not no_floor,
    )
    if dry_run:
        plain = {"networks": [str(file) for file in files], "data": str(data), "metrics": list(config.metrics)}
        emit(plain, f"would measure {', '.join(config.metrics)} of {len(files)} networks on {data}", as_json=as_json)
        return
    reasons: dict[str, str] = {}

    def skipped(name: str, reason: str) -> None:
        reasons[name] = reason

    with progress_bar("eval", quiet=quiet, unit="network") as progress:
        table = evaluate_run(
            run,
            data,
            config,
            cache=None if no_cache else default_cache(),
            jobs=jobs or available_cores(),
            device=device,
            progress=progress,
            skipped=skipped,
        )
    best = {name: row for name in config.metrics if (row := best_network(table, name)) is not None}
    plain_result = {
        "networks": [row.to_json() for row in table],
        "best": {name: str(row.file) for name, row in best.items()},
        "skipped": reasons,
    }
    emit(plain_result, table_text(table, best), as_json=as_json)
    for name, reason in reasons.items():
        click.echo(f"warning: {name} was skipped: {reason}", err=True)


def table_text(table: list["NetworkValues"], best: dict[str, "NetworkValues"]) -> str:
    """One line per network, one column per value, and the best ones."""
    names = list(dict.fromkeys(name for row in table for name in row.values))
    lines = ["kimg".rjust(WIDTH) + "".join(name.rjust(WIDTH) for name in names)]
    for row in table:
        cells = "".join((f"{row.values[name]:.3f}" if name in row.values else "-").rjust(WIDTH) for name in names)
        lines.append(f"{row.kimg:>{WIDTH}}{cells}")
    lines += [f"best {name}: {row.file} ({row.values[name]:.3f})" for name, row in best.items()]
    return "\n".join(lines)
