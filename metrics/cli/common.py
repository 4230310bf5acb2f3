"""What every command shares: error lines, options, the progress bar, printing and storing results."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from metrics.errors import MetricsError, UsageError

if TYPE_CHECKING:
    from metrics.protocol import Result

P = ParamSpec("P")
R = TypeVar("R")

EXIT_INTERRUPTED = 130
BAR_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
LEVEL_WIDTH = 6

ProgressFn = Callable[[int, int], None]


def command_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the library's errors into one line on stderr and their exit code."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MetricsError as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            click.echo("interrupted: nothing was stored", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None

    return wrapped


quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bar, errors only.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Also store the result as this JSON file."
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random draws."
)
jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Threads; does not change the result. [default: the cores there are]",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print what would be done, with estimated time, memory and disk space."
)
res_option = click.option(
    "--res", type=click.IntRange(min=1), help="Measure at this side in pixels. [default: as the images are]"
)
resizer_option = click.option(
    "--resizer", help="How images of another size get to --res: box, bilinear, bicubic or lanczos (Pillow)."
)


def n_option(text: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The option --n with a help text of the command's own."""
    return click.option("--n", type=click.IntRange(min=1), help=text)


@contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[ProgressFn]:
    """A bar with percentage, elapsed and remaining time on stderr, as a function progress(done, total)."""
    from tqdm import tqdm

    with tqdm(desc=label, disable=quiet, dynamic_ncols=True, bar_format=BAR_FORMAT) as bar:

        def progress(done: int, total: int) -> None:
            if bar.total != total:
                bar.total = total
                bar.refresh()
            bar.update(done - bar.n)

        yield progress


def check_out(out: Path | None) -> None:
    """Refuse a place that cannot be written before hours are spent; UsageError."""
    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.absolute().parent} does not exist; create it first")


def emit(plain: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print `plain` as JSON, or `text` for people, on stdout."""
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) if as_json else text)


def publish(result: "Result", *, as_json: bool, out: Path | None, quiet: bool) -> None:
    """Store the result if asked to, print it, and its warnings on stderr."""
    from metrics.protocol import write_json

    plain = result.to_json()
    if out is not None:
        write_json(plain, out)
    emit(plain, result_text(result), as_json=as_json)
    if not quiet:
        for warning in result.warnings:
            click.echo(f"warning: {warning}", err=True)


def result_text(result: "Result") -> str:
    """A result for people: value, interval, floor, levels, protocol."""
    lines = [f"{result.metric}  {result.value:.6g}  ({result.unit})"]
    if result.std is not None:
        lines.append(f"std  {result.std:.6g}")
    if result.interval is not None:
        interval = result.interval
        lines.append(f"{interval.level:.0%} interval  {interval.low:.6g} .. {interval.high:.6g}")
    floor = result.noise_floor
    if floor is not None:
        lines.append(f"noise floor  {floor.value:.6g}  ({floor.method}, {floor.n} images a side)")
    if result.levels is not None:
        lines.append("level".rjust(LEVEL_WIDTH) + "   value" + ("   floor" if floor is not None else ""))
        for level, value in result.levels.items():
            own = floor.levels.get(level) if floor is not None and floor.levels is not None else None
            shown = "" if own is None else f"{own:8.3f}"
            lines.append(f"{level:>{LEVEL_WIDTH}}{value:8.3f}{shown}")
    protocol = result.protocol
    sets = ", ".join(f"{role} {stamp.label} n={stamp.n} res={stamp.res}" for role, stamp in protocol.sets.items())
    lines.append(f"protocol  {protocol.name}, seed {protocol.seed}: {sets}")
    lines.append(f"time  {result.run.seconds:.1f} s, {result.run.jobs} jobs")
    return "\n".join(lines)
