"""`metrics report`."""

from pathlib import Path

import click

from metrics.cli.common import check_out, command_errors, dry_run_option, emit, json_option, quiet_option, seed_option
from metrics.cli.feature_options import progress_bars

MIB = 1 << 20


@click.command("report")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN | RESULT.json | FOLDER]...")
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where the report goes."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md", "csv", "json"]),
    help="[default: by the name of the output]",
)
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Pyramid of the training set. [default: the one the first run names]",
)
@click.option("--title", default="Benchmark report", show_default=True)
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Benchmark records (folder or file) to take ratios to."
)
@click.option("--snapshots", type=click.IntRange(min=1), default=20, show_default=True, help="Grids shown per run.")
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Generated images per run whose neighbours are shown.",
)
@click.option("--search", type=click.IntRange(min=1), help="Random training images searched. [default: all]")
@click.option(
    "--extractor",
    type=click.Choice(["auto", "tiny", "inception-2015"]),
    default="auto",
    show_default=True,
    help="Network of the neighbours in features; auto: inception-2015 if its weights are there, else tiny.",
)
@seed_option
@json_option
@dry_run_option
@quiet_option
@command_errors
def report_cmd(
    paths: tuple[Path, ...],
    out: Path,
    form: str | None,
    data: Path | None,
    title: str,
    baseline: Path | None,
    snapshots: int,
    samples: int,
    search: int | None,
    extractor: str,
    seed: int,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """One offline page (or Markdown, CSV, JSON) from run directories, results and benchmark records.

    Values of unlike protocols are kept in tables and charts of their own.

    \b
    Example:
      metrics report run1/ run2/ fid.json --data faces.h5 -o report.html
    """
    from metrics.report.build import ReportConfig, build_report
    from metrics.report.inputs import read_inputs
    from metrics.report.write import chosen_format, render, write_report

    check_out(out)
    chosen = chosen_format(form, out)
    config = ReportConfig(
        paths=paths,
        data=data,
        baseline=baseline,
        title=title,
        snapshots=snapshots,
        samples=samples,
        search=search,
        extractor=extractor,
        seed=seed,
        pictures=chosen == "html",
    )
    if dry_run:
        inputs = read_inputs(paths)
        counts = {
            "runs": len(inputs.runs),
            "results": len(inputs.results) + sum(len(run.results) for run in inputs.runs),
            "benchmarks": len(inputs.benchmarks),
        }
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        emit({**counts, "format": chosen, "out": str(out)}, f"would write {out} ({chosen}): {told}", as_json=as_json)
        return
    with progress_bars(quiet=quiet) as progress_for:
        report = build_report(config, progress_for=progress_for)
    size = write_report(render(report, chosen), out)
    plain = {"out": str(out), "format": chosen, "bytes": size, "missing": list(report.missing)}
    emit(plain, f"{out}: {size / MIB:.2f} MiB", as_json=as_json)
    if not quiet:
        for line in report.missing:
            click.echo(f"not shown: {line}", err=True)
