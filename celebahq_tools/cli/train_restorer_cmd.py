"""`celebahq train-restorer`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option

if TYPE_CHECKING:
    from celebahq_tools.restore.base import DeviceName
    from celebahq_tools.restore.modelfile import State
    from celebahq_tools.restore.training.config import TrainConfig
    from celebahq_tools.restore.training.validate import Score


@click.command("train-restorer")
@click.argument("task", type=click.Choice(["jpeg", "sr4", "joint"]))
@click.option(
    "--photos", type=click.Path(path_type=Path), required=True, help="Folder or zip of photographs to train on."
)
@click.option("--val", type=click.Path(path_type=Path), help="Photographs to validate on; default: every tenth one.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The weights to write, .safetensors.")
@click.option("--init", type=click.Path(path_type=Path), help="Weights of the same network to start from.")
@click.option("--steps", type=int, help="Optimiser steps of the whole schedule.  [default: by task]")
@click.option("--batch", type=int, help="Patches a step.  [default: by task]")
@click.option("--patch", type=int, help="Edge of a patch of the undamaged picture, pixels.  [default: by task]")
@click.option("--rate", type=float, help="Largest learning rate.  [default: 0.001]")
@click.option("--shrink", type=float, help="Shrink photographs by this much before use.  [default: 2]")
@click.option("--adversarial", type=float, help="Weight of an adversarial loss.  [default: 0]")
@click.option("--frequency", type=float, help="Weight of a loss on the spectrum.  [default: 0]")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 0]")
@click.option("--version", "weights_version", default="0", show_default=True, help="Recorded in the weights.")
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: CUDA when there is any.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Processor threads.  [default: all cores]")
@click.option("--save-every", type=click.IntRange(min=1), default=250, show_default=True)
@click.option("--validate-every", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--tensorboard", type=click.Path(path_type=Path), help="Folder for a TensorBoard log.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever checkpoint and weights are there.")
@click.option("--dry-run", is_flag=True, help="Print the settings, check the photographs, train nothing.")
@quiet_option
@json_option
@command_errors
def train_restorer_cmd(
    task: str,
    photos: Path,
    val: Path | None,
    out: Path,
    init: Path | None,
    steps: int | None,
    batch: int | None,
    patch: int | None,
    rate: float | None,
    shrink: float | None,
    adversarial: float | None,
    frequency: float | None,
    seed: int | None,
    weights_version: str,
    precision: str,
    device: str,
    threads: int | None,
    save_every: int,
    validate_every: int,
    tensorboard: Path | None,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train one of our own restoration networks on photographs.

    jpeg removes the traces of JPEG compression, sr4 enlarges four times, joint does both in one pass. A killed run
    goes on from OUT.train when the same command is given again.

    \b
    Example:
      celebahq train-restorer jpeg --photos photos/ --out jpeg.safetensors
      celebahq train-restorer joint --photos photos/ --out joint.safetensors --tensorboard runs/joint
    """
    import torch

    from celebahq_tools.errors import UsageError
    from celebahq_tools.restore.precision import resolve_device
    from celebahq_tools.restore.training.loop import TrainRun, open_log, train
    from celebahq_tools.restore.training.photos import read_photos, split_photos

    options = {
        "steps": steps,
        "batch": batch,
        "patch": patch,
        "rate": rate,
        "shrink": shrink,
        "adversarial": adversarial,
        "frequency": frequency,
        "seed": seed,
    }
    config = _config(task, options)
    state = _init_state(init, config)
    run = TrainRun(
        out=_checked_out(out),
        save_every=save_every,
        validate_every=validate_every,
        bf16=precision == "bf16",
        device=resolve_device(cast("DeviceName", device)),
        version=weights_version,
    )
    if threads is not None:
        torch.set_num_threads(threads)
    with progress_bar("Reading", quiet=quiet) as progress:
        held_out = read_photos(val, shrink=config.shrink, progress=progress) if val else []
        everything = read_photos(photos, shrink=config.shrink, progress=progress)
    training, rest = (everything, held_out) if val else split_photos(everything)
    held_out = rest
    values: dict[str, Any] = {"photos": len(training), "held_out": len(held_out), "config": config.to_json()}
    if dry_run:
        emit(values, f"{len(training)} photographs, {len(held_out)} held out\n{config.to_json()}", as_json=as_json)
        return
    if overwrite:
        run.checkpoint.unlink(missing_ok=True)
    elif run.out.exists() and not run.checkpoint.exists():
        raise UsageError(
            f"--out {out}: exists, and {run.checkpoint.name} to go on from does not: --overwrite replaces it"
        )

    def scored(step: int, scores: "Sequence[Score]") -> None:
        if not quiet:
            click.echo(f"step {step}: {_scores_text(scores)}", err=True)

    log = open_log(tensorboard)
    with progress_bar("Training", quiet=quiet, unit="step") as progress:
        result = train(config, run, training, held_out, init=state, log=log, progress=progress, scored=scored)
    values |= {
        "out": str(run.out),
        "step": result.step,
        "train_sec": result.train_sec,
        "scores": [dataclasses.asdict(score) for score in result.scores],
    }
    emit(values, f"{run.out}: {result.step} steps; {_scores_text(result.scores)}", as_json=as_json)


def _config(task: str, options: dict[str, Any]) -> "TrainConfig":
    from celebahq_tools.restore.networks import TaskName
    from celebahq_tools.restore.training.config import default_training

    given = {name: value for name, value in options.items() if value is not None}
    return dataclasses.replace(default_training(cast(TaskName, task)), **given)


def _init_state(path: Path | None, config: "TrainConfig") -> "State | None":
    if path is None:
        return None
    from celebahq_tools.errors import UsageError
    from celebahq_tools.restore.modelfile import decode_model, read_model_bytes

    model = decode_model(read_model_bytes(path), name=str(path))
    if model.network != config.network:
        raise UsageError(f"--init {path}: another network ({model.task}): give weights of the task {config.task}")
    return model.state


def _checked_out(out: Path) -> Path:
    from celebahq_tools.errors import UsageError

    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name ending in .safetensors")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.absolute().parent}")
    return out


def _scores_text(scores: "Sequence[Score]") -> str:
    return ", ".join(f"{score.case} {score.psnr:.2f} dB ({score.psnr_gain:+.2f})" for score in scores)
