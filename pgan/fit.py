"""Start or resume a run: from a configuration, a file of images and a folder to a finished training."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from celebahq_tools.store import PyramidReader
from pgan.config import Config, config_from_json
from pgan.data import DataInfo, inspect_data
from pgan.errors import CheckpointError, ConfigError, DataError, RunError
from pgan.labels import conditioned
from pgan.overrides import override, refuse_unlike
from pgan.parallel import wait_for_all, world
from pgan.presets import preset as preset_of
from pgan.run import RunDirectory
from pgan.snapshots import Snapshot
from pgan.train import Told, Training, stop_on_signals

PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: one of them may be measuring."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A run that can start: everything checked, nothing written."""

    run: RunDirectory
    config: Config
    data: DataInfo
    resume: Snapshot | None


def prepare_new(name: str, data_path: Path, out: Path, texts: Mapping[str, str | bool]) -> Prepared:
    """A new run of a preset with settings overridden. Raises RunError when the folder holds a run already."""
    run = RunDirectory(out)
    if run.exists():
        raise RunError(f"{out} holds a run already; `pgan fit --resume {out}` continues it, --out names another folder")
    data = inspect_data(data_path)
    config = override(preset_of(name), texts)
    if "res" not in texts and config.network.res > data.res:
        raise DataError(
            f"{data_path} has {data.res} pixels, preset {name} wants {config.network.res}; --res {data.res} takes less"
        )
    return Prepared(run=run, config=_with_labels(config, data), data=data, resume=None)


def prepare_resume(out: Path, data_path: Path | None, texts: Mapping[str, str | bool], told: Told) -> Prepared:
    """A run that goes on from its newest checkpoint; lengths and manners may change, nothing else."""
    run = RunDirectory(out)
    stored, described = run.read_config()
    snapshot = run.newest_checkpoint(lambda text: told({"kind": "warning", "text": text}))
    before = config_from_json(snapshot.meta["config"], str(out))
    if replace(before, train=stored.train, schedule=stored.schedule) != stored:
        raise CheckpointError(f"{out}: its newest checkpoint is of another configuration than its config.json")
    config = override(stored, texts)
    refuse_unlike(stored, config)
    data = inspect_data(data_path or Path(described["path"]))
    if data.fingerprint != snapshot.meta["data_fingerprint"]:
        raise DataError(
            f"{data.path} holds other images than the run was started with; name the right file with --data"
        )
    return Prepared(run=run, config=config, data=data, resume=snapshot)


def _with_labels(config: Config, data: DataInfo) -> Config:
    wanted = config.train.labels
    info = data.labelled(wanted)
    if info is None and wanted not in ("auto", "none"):
        has = ", ".join(one.kind for one in data.labels)
        raise DataError(
            f"{data.path} has no labels of kind {wanted}; "
            + (
                f"it has {has}: use --labels {data.labels[0].kind}"
                if has
                else "import it with some, or use --labels none"
            )
        )
    with PyramidReader(data.path) as reader:
        return replace(config, network=conditioned(config.network, info, reader))


def carry_out(prepared: Prepared, device: torch.device, told: Told) -> str:
    """Train; returns why it ended ('finished', 'SIGTERM', 'SIGINT')."""
    here = world()
    wait_for_all()  # the others have looked at the folder before it changes
    if here.leads:
        prepared.run.hold()
        prepared.run.write_config(prepared.config, prepared.data)
    try:
        training = Training(
            prepared.run, prepared.config, prepared.data, device=device, resume=prepared.resume, told=told
        )
        with stop_on_signals() as stop:
            return training.fit(stop)
    finally:
        if here.leads:
            prepared.run.release()


@contextmanager
def process_group(device_name: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; yields this process's device."""
    if device_name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("--device cuda: this machine has no usable CUDA device; use --device cpu")
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield torch.device(device_name)
        return
    cuda = device_name.startswith("cuda")
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}") if cuda else torch.device(device_name)
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def default_device() -> str:
    """'cuda' where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
