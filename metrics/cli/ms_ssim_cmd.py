"""`metrics ms-ssim`."""

from pathlib import Path

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
@seed_option
@jobs_option
@out_option
@json_option
@dry_run_option
@quiet_option
@command_errors
def ms_ssim_cmd(
    images: str,
    n: int | None,
    res: int | None,
    resizer: str | None,
    pairs: str,
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
    """
    from metrics.msssim.measure import estimate_ms_ssim, measure_ms_ssim
    from metrics.sources import open_image_set
    from metrics.threads import available_cores

    check_out(out)
    threads = jobs or available_cores()
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
