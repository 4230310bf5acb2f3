"""`celebahq restore`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option
from celebahq_tools.errors import EXIT_FAILED

if TYPE_CHECKING:
    from celebahq_tools.restore.base import RestorerConfig


@click.command("restore")
@click.argument("inputs", nargs=-1, required=True, metavar="IN...", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the PNG files.")
@click.option(
    "--task",
    type=click.Choice(["jpeg", "sr4", "joint"]),
    default="jpeg",
    show_default=True,
    help="jpeg: remove the traces of compression. sr4: enlarge four times. joint: both.",
)
@click.option(
    "--restorer",
    default="ours",
    show_default=True,
    metavar="ours|realesrgan|none|PATH",
    help="The network; a PATH of weights is read by spandrel unless train-restorer made it.",
)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Processor threads.  [default: all cores]")
@click.option("--overwrite", is_flag=True, help="Restore again what is in the folder already.")
@click.option("--dry-run", is_flag=True, help="List what would be written, restore nothing.")
@quiet_option
@json_option
@command_errors
def restore_cmd(
    inputs: tuple[Path, ...],
    out: Path,
    task: str,
    restorer: str,
    precision: str,
    device: str,
    threads: int | None,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restore pictures, or all pictures in folders, to PNG files of the same names.

    Results that are there already are kept, so an interrupted run goes on. Exit code 1 when a picture could not be
    read.

    \b
    Example:
      celebahq restore photos/ --out clean/ --task jpeg
      celebahq restore face.jpg --out large/ --task joint
    """
    from celebahq_tools.restore.files import plan_errands, restore_files

    errands = plan_errands(inputs, out)
    if dry_run:
        lines = [f"{errand.source} -> {errand.out}" for errand in errands]
        plan = [{"source": str(errand.source), "out": str(errand.out)} for errand in errands]
        emit({"plan": plan}, "\n".join(lines), as_json=as_json)
        return
    from celebahq_tools.restore import open_restorer

    opened = open_restorer(_config(restorer, task, precision, device))
    stamp = opened.stamp()
    if threads is not None and stamp.precision != "none":
        import torch

        torch.set_num_threads(threads)
    with progress_bar("Restoring", quiet=quiet) as progress:
        report = restore_files(errands, opened, overwrite=overwrite, progress=progress)
    values: dict[str, Any] = {"restorer": dataclasses.asdict(stamp), **dataclasses.asdict(report)}
    lines = [f"{out}: {len(report.done)} restored with {stamp.name} {stamp.version}, {len(report.kept)} there already"]
    lines += [f"failed: {message}" for _, message in report.failed]
    emit(values, "\n".join(lines), as_json=as_json)
    if report.failed:
        raise SystemExit(EXIT_FAILED)


def _config(restorer: str, task: str, precision: str, device: str) -> "RestorerConfig":
    from celebahq_tools.restore import RestorerConfig, named_restorer
    from celebahq_tools.restore.base import DeviceName, PrecisionName, RestoreTask

    name, weights = named_restorer(restorer)
    return RestorerConfig(
        name=name,
        weights=weights,
        task=cast(RestoreTask, task),
        precision=cast(PrecisionName, precision),
        device=cast(DeviceName, device),
    )
