"""`metrics swd`."""

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
from metrics.cli.where_options import where_options

GIB = 1 << 30


@click.command("swd")
@click.argument("real")
@click.argument("fake", required=False)
@n_option("Images per set. [default: 16384, or all if fewer]")
@res_option
@resizer_option
@click.option(
    "--protocol",
    type=click.Choice(["default", "reference"]),
    default="default",
    show_default=True,
    help="reference: the authors' order of random draws and float32 moments.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Images per batch; matters for the reference order of draws only. [default: 128]",
)
@click.option("--no-floor", is_flag=True, help="Do not measure the noise floor.")
@click.option("--no-cache", is_flag=True, help="Neither use nor keep statistics of REAL.")
@click.option(
    "--spill",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for temporary descriptors. [default: METRICS_SPILL or the system's]",
)
@click.option("--dask", metavar="tcp://HOST:PORT", help="Let the workers of this cluster read the images.")
@seed_option
@jobs_option
@out_option
@json_option
@dry_run_option
@quiet_option
@command_errors
@where_options("real", "fake")
def swd_cmd(
    real: str,
    fake: str | None,
    n: int | None,
    res: int | None,
    resizer: str | None,
    protocol: str,
    batch: int | None,
    no_floor: bool,
    no_cache: bool,
    spill: Path | None,
    dask: str | None,
    seed: int,
    jobs: int | None,
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Sliced Wasserstein distance between the image sets REAL and FAKE, times 1e3.

    A set is an HDF5 pyramid, a folder or zip of images, an .npy or .npz file (FILE.npz::KEY), or a generator (a
    .safetensors file or the directory of a run). With REAL alone: the noise floor, which is the distance of two
    disjoint samples of it.

    \b
    Example:
      metrics swd celeba-hq.h5 samples/ --res 256 --resizer lanczos --out swd.json
    """
    from contextlib import ExitStack

    from metrics.sliced.cache import default_cache
    from metrics.sliced.config import SwdConfig
    from metrics.sliced.estimate import estimate_swd, plan_json
    from metrics.sliced.measure import measure_swd
    from metrics.sliced.plan import plan_swd
    from metrics.sources import open_image_set
    from metrics.threads import available_cores

    check_out(out)
    chosen = SwdConfig(protocol=protocol, seed=seed)
    if batch is not None:
        chosen = SwdConfig(protocol=protocol, seed=seed, batch=batch)
    threads = jobs or available_cores()
    with ExitStack() as stack:
        first = stack.enter_context(open_image_set(real, res=res, resizer=resizer))
        second = None
        if fake is not None:
            second = stack.enter_context(open_image_set(fake, res=res, resizer=resizer))
        plan = plan_swd(first, second, config=chosen, n=n, floor=not no_floor)
        if dry_run:
            estimate = estimate_swd(first, second, plan, jobs=threads)
            plain = plan_json(plan, estimate, jobs=threads)
            text = (
                f"would measure {plan.n} images a side at {plan.res} pixels, protocol {protocol}, seed {seed}\n"
                f"about {estimate.seconds:.0f} s on {threads} threads, {estimate.memory_bytes / GIB:.1f} GiB "
                f"memory, {estimate.disk_bytes / GIB:.1f} GiB temporary disk space"
            )
            emit(plain, text, as_json=as_json)
            return
        with progress_bar("swd", quiet=quiet) as progress:
            result = measure_swd(
                first,
                second,
                plan,
                jobs=threads,
                spill=spill,
                cache=None if no_cache else default_cache(),
                dask=dask,
                progress=progress,
            )
    publish(result, as_json=as_json, out=out, quiet=quiet)
