"""What every command shares: error lines, progress bars, JSON output, common options."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import click

from celebahq_tools.errors import CelebAHQError
from metrics.errors import MetricsError
from pgan.errors import PganError

P = ParamSpec("P")
R = TypeVar("R")

EXIT_INTERRUPTED = 130

ProgressFn = Callable[[int, int], None]
"""Called by the library as progress(done, total) whenever an item is finished."""

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bar, errors only.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Check the input and say what would be made; write nothing."
)
device_option = click.option("--device", default="cpu", show_default=True, help="Where the network runs, e.g. cuda.")


def command_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors of the three libraries into one line on stderr and their exit code."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (PganError, MetricsError, CelebAHQError) as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            click.echo("interrupted: what is finished is kept", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None

    return wrapped


@contextmanager
def progress_bar(label: str, *, quiet: bool, unit: str = "image") -> Iterator[ProgressFn]:
    """A tqdm bar with rate and ETA on stderr, as a function progress(done, total)."""
    from tqdm import tqdm

    with tqdm(desc=label, unit=unit, disable=quiet, dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            if bar.total != total:
                bar.total = total
                bar.refresh()
            bar.update(done - bar.n)

        yield progress


def emit(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print `result` as JSON, or `text` for people, on stdout."""
    click.echo(json.dumps(result, indent=2, ensure_ascii=False) if as_json else text)
