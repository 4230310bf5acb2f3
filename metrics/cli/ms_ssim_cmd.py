"""`metrics ms-ssim`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrics.cli.common import (
    check_out,
    command_errors,
    dry_run_option,
    emit,
    jobs_option,
    json_option,
    n_option,
    out_option,
    progress_bar,
    publish,
    quiet_option,
    res_option,
    resizer_option,
    seed_option,
)
from metrics.cli.where_options import where_options

if TYPE_CHECKING:
    from metrics.protocol import Result


@click.command("ms-ssim")
@click.argument("images")
@n_option("Images used, an even number: two a pair. [default: 20000, or all if fewer]")
@res_option
@resizer_option
@click.option(
    "--pairs",
    type=click.Choice(["random", "adjacent"]),
    default="random",
    show_default=True,
    help="adjacent: images 2i and 2i+1 as they lie.",
)
@click.option("--per-class", is_flag=True, help="One row a class of the pyramid, and their mean.")
@seed_option
@jobs_option
@out_option
@json_option
@dry_run_option
@quiet_option
@command_errors
@where_options("images")
def ms_ssim_cmd(
    images: str,
    n: int | None,
    res: int | None,
    resizer: str | None,
    pairs: str,
    per_class: bool,
    seed: int,
    jobs: int | None,
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Mean multi-scale SSIM of random pairs of one set: 10,000 pairs; lower is more varied.

    \b
    Example:
      metrics ms-ssim samples.h5 --n 20000 --json
      metrics ms-ssim cifar10.h5 --per-class
    """
    from metrics.errors import UsageError
    from metrics.msssim.measure import estimate_ms_ssim, measure_ms_ssim
    from metrics.sources import open_image_set
    from metrics.threads import available_cores

    check_out(out)
    threads = jobs or available_cores()
    if per_class:
        if out is not None or dry_run:
            raise UsageError("--per-class prints a table, or JSON with --json; leave --out and --dry-run out")
        config = PerClass(n=n, res=res, resizer=resizer, pairs=pairs, seed=seed, jobs=threads)
        emit_per_class(images, config, as_json=as_json, quiet=quiet)
        return
    with open_image_set(images, res=res, resizer=resizer) as opened:
        if dry_run:
            estimate = estimate_ms_ssim(opened, n=n, pairs=pairs, seed=seed, jobs=threads)
            text = (
                f"would compare {estimate['pairs']} pairs at {opened.res} pixels\n"
                f"about {estimate['seconds']:.0f} s on {threads} threads, "
                f"{estimate['memory_bytes'] / (1 << 30):.1f} GiB memory, no temporary disk space"
            )
            emit(estimate, text, as_json=as_json)
            return
        with progress_bar("ms-ssim", quiet=quiet) as progress:
            result = measure_ms_ssim(opened, n=n, pairs=pairs, seed=seed, jobs=threads, progress=progress)
    publish(result, as_json=as_json, out=out, quiet=quiet)


@dataclass(frozen=True, kw_only=True, slots=True)
class PerClass:
    """How the classes of a set are measured; see `measure_ms_ssim`."""

    n: int | None
    res: int | None
    resizer: str | None
    pairs: str
    seed: int
    jobs: int


def _of_class(path: str, config: PerClass) -> "Result | None":
    """MS-SSIM of the images of one class; None where there are fewer than two."""
    from metrics.errors import EmptySelectionError
    from metrics.msssim.measure import measure_ms_ssim
    from metrics.sources import open_image_set

    try:
        with open_image_set(path, res=config.res, resizer=config.resizer) as opened:
            count = opened.n if config.n is None else min(config.n, opened.n)
            if count < 2:
                return None
            n = count - count % 2
            return measure_ms_ssim(opened, n=n, pairs=config.pairs, seed=config.seed, jobs=config.jobs)
    except EmptySelectionError:
        return None


def emit_per_class(images: str, config: PerClass, *, as_json: bool, quiet: bool) -> None:
    """Measure and print every class of a pyramid that has two images or more, and the mean over them."""
    from metrics.cli.where_options import restricted
    from metrics.errors import UsageError
    from metrics.sources import class_names

    results: dict[str, Result] = {}
    left_out: list[str] = []
    names = class_names(images.partition("::")[0])
    with progress_bar("ms-ssim", quiet=quiet) as progress:
        for done, name in enumerate(names, start=1):
            result = _of_class(restricted(images, f"class={name}"), config)
            if result is None:
                left_out.append(name)
            else:
                results[name] = result
            progress(done, len(names))
    if not results:
        raise UsageError(f"{images}: no class has two images")
    mean = sum(result.value for result in results.values()) / len(results)
    plain = {"mean": mean, "left_out": left_out, "classes": {name: one.to_json() for name, one in results.items()}}
    width = max(len(name) for name in (*results, "class"))
    lines = [f"{'class':<{width}}   pairs  ms-ssim  standard error"]
    for name, result in results.items():
        error = result.details["standard_error"]
        shown = "" if error is None else f"{error:16.4f}"
        lines.append(f"{name:<{width}}{result.details['pairs']:8}{result.value:9.4f}{shown}")
    lines.append(f"{'mean':<{width}}{mean:17.4f}")
    emit(plain, "\n".join(lines), as_json=as_json)
    if left_out and not quiet:
        click.echo(f"warning: fewer than two images, left out: {', '.join(left_out)}", err=True)
