"""`metrics compare`."""

from pathlib import Path

import click

from metrics.cli.common import command_errors, emit, json_option
from metrics.errors import UnlikeProtocolsError


@click.command("compare")
@click.argument("results", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@json_option
@command_errors
def compare_cmd(results: tuple[Path, ...], as_json: bool) -> None:
    """Put stored results (--out files) in one table; results of unlike protocols are refused.

    \b
    Example:
      metrics compare run1.json run2.json
    """
    from metrics.compare import compare_results, comparison_table

    try:
        rows = compare_results(results)
    except UnlikeProtocolsError as error:
        click.echo("error: results of unlike protocols are not compared; these differ:", err=True)
        for line in error.differences:
            click.echo(f"  {line}", err=True)
        raise SystemExit(error.exit_code) from None
    emit({"results": rows}, comparison_table(rows), as_json=as_json)
    for row in rows:
        for warning in row["warnings"]:
            click.echo(f"warning: {row['file']}: {warning}", err=True)
