"""What all kinds of `celebahq import` have in common: the group, the request, and how a kind becomes a command."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, cast

import click

from celebahq_tools.cli.building import ids_of, run_flags, run_job, run_options
from celebahq_tools.cli.common import command_errors

if TYPE_CHECKING:
    from celebahq_tools.formats.collection import Collection

P = ParamSpec("P")


@click.group("import")
def import_cmd() -> None:
    """Make a pyramid of a data set in another format; see docs/formats.md."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRequest:
    """What every kind of import is asked: where from, where to, what of it, and how to run."""

    source: Path
    out: Path
    res: int | None
    fit: str
    keep: int | None
    ids: str | None
    limit: int | None
    jobs: int
    dask: str | None
    strict: bool
    overwrite: bool
    dry_run: bool
    quiet: bool
    as_json: bool

    def run(self, opened: Callable[[], "Collection"]) -> None:
        """Open the collection, make the pyramid, print the result."""
        from celebahq_tools.config import BuildConfig, FitOption
        from celebahq_tools.formats.job import collection_job, with_res
        from celebahq_tools.pipeline.paths import BuildPaths

        BuildPaths.beside(self.out)
        options = run_options(self.jobs, self.dask, self.strict, self.overwrite)
        config = BuildConfig(
            recipe="images", keep=self.keep, fit=cast(FitOption, self.fit), ids=ids_of(self.ids), limit=self.limit
        )
        collection = opened()
        job = collection_job(collection, with_res(config, collection, self.res))
        run_job(job, options, self.out, dry_run=self.dry_run, quiet=self.quiet, as_json=self.as_json)


def kind(name: str, fit: str = "refuse") -> Callable[[Callable[Concatenate[ImportRequest, P], None]], click.Command]:
    """Make a command of a function that takes the common request and options of its own."""

    def decorate(function: Callable[Concatenate[ImportRequest, P], None]) -> click.Command:
        @functools.wraps(function)
        def command(
            source: Path,
            out: Path,
            res: int | None,
            fit: str,
            keep: int | None,
            ids: str | None,
            limit: int | None,
            jobs: int,
            dask: str | None,
            strict: bool,
            overwrite: bool,
            dry_run: bool,
            quiet: bool,
            as_json: bool,
            *args: P.args,
            **own: P.kwargs,
        ) -> None:
            request = ImportRequest(
                source=source,
                out=out,
                res=res,
                fit=fit,
                keep=keep,
                ids=ids,
                limit=limit,
                jobs=jobs,
                dask=dask,
                strict=strict,
                overwrite=overwrite,
                dry_run=dry_run,
                quiet=quiet,
                as_json=as_json,
            )
            function(request, *args, **own)

        common = (
            click.argument("source", type=click.Path(path_type=Path)),
            click.option("--out", type=click.Path(path_type=Path), required=True, help="The pyramid to make, NAME.h5."),
            click.option("--res", type=int, help="Finest resolution, a power of two; default: the images' own."),
            click.option(
                "--fit",
                type=click.Choice(["crop", "pad", "refuse"]),
                default=fit,
                show_default=True,
                help="Pictures that are not square: take the centre, add black bars, or reject them.",
            ),
            click.option("--keep", type=int, help="Keep only the best this many by quality score."),
        )
        decorated = run_flags(command_errors(command))
        for option in reversed(common):
            decorated = option(decorated)
        return import_cmd.command(name)(decorated)

    return decorate
