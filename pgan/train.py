"""The training loop: steps, ticks, pictures, checkpoints, metrics. Learns nothing from what it reports."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from pgan.board import Board
from pgan.config import Config, by_res, config_json
from pgan.data import DataInfo, check_data, open_batches, to_device
from pgan.draws import sample_latents
from pgan.errors import ConfigError, TrainingError
from pgan.generate import StoredGenerator, write_generator
from pgan.grids import grid_image, write_png
from pgan.labels import draw_labels, fill_tables, label_table
from pgan.measure import Measurer
from pgan.networks.forms import choose_forms
from pgan.parallel import World, any_process, world
from pgan.pictures import real_grid
from pgan.run import RunDirectory, machine, now, versions
from pgan.schedule import KIMG, Stage, growth_resolutions, stage_at
from pgan.snapshots import STATE, Snapshot, write_snapshot
from pgan.state import TrainState
from pgan.step import Real, Stepper
from pgan.walk import walk
from pgan.watch import VarietyWatch, check_finite

FINISHED = "finished"
GIB = 1 << 30
DEVICE_CAPS = {256: 16, 512: 8, 1024: 4}
"""Images at a time that a device of 16 GB takes at full width (the release's caps); larger shares are split."""

Told = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class StopRequest:
    """The signal that asked the run to end, if one did."""

    name: str | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """SIGTERM and SIGINT ask the run to save and end, instead of ending it."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def heard(number: int, frame: FrameType | None) -> None:
        request.name = signal.Signals(number).name

    before = {number: signal.signal(number, heard) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class Feed:
    """This process's reals, ready for the device; notes how long it waited for them."""

    batches: Iterator[tuple[Tensor, Tensor]]
    device: torch.device
    fade: float = 0.0
    waited_sec: float = 0.0

    def __iter__(self) -> Iterator[Real]:
        return self

    def __next__(self) -> Real:
        started = time.perf_counter()
        images, labels = next(self.batches)
        self.waited_sec += time.perf_counter() - started
        known = labels.to(self.device) if len(labels) else None
        return Real(images=to_device(images, self.device, self.fade), labels=known)


@dataclass(slots=True)
class Progress:
    """What the log needs to go on counting after a resume."""

    tick: int = 0
    tick_start: int = 0
    train_sec: float = 0.0
    best_nimg: int | None = None
    best_value: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


def micro_batches(config: Config, here: World) -> dict[int, int]:
    """Images per device at a time, for the resolutions whose share of the batch does not fit."""
    found = {}
    for res in growth_resolutions(config):
        share = _batch_at(config, res) // here.size
        limit = config.train.micro_batch or DEVICE_CAPS.get(res, share)
        if limit < share:
            found[res] = limit
    return found


def check_world(config: Config, here: World) -> None:
    """ConfigError unless every batch can be shared out evenly."""
    for res in growth_resolutions(config):
        batch = _batch_at(config, res)
        if batch % here.size:
            raise ConfigError(f"batch {batch} at {res} pixels cannot be shared by {here.size} processes; set --batch")


def _batch_at(config: Config, res: int) -> int:
    return int(by_res(config.schedule.batch_by_res, res, config.schedule.batch))


class Training:
    """A run in progress. `told` hears every record of the log, and {'kind': 'step', ...} for a progress bar."""

    def __init__(
        self,
        run: RunDirectory,
        config: Config,
        data: DataInfo,
        *,
        device: torch.device,
        resume: Snapshot | None,
        told: Told,
    ) -> None:
        self.run, self.config, self.data, self.device, self.told = run, config, data, device, told
        self.here = world()
        check_data(data, config, growth_resolutions(config))
        check_world(config, self.here)
        self.state = TrainState(config, device)
        self.progress = Progress()
        if resume is not None:
            self._restore(resume)
        else:
            fill_tables(data.path, config, [self.state.g, self.state.ema])
        self.micro = micro_batches(config, self.here)
        self.stepper = Stepper(
            self.state,
            forms=choose_forms(config.train.form, device.type, config.train.precision),
            world=self.here,
            micro_batch=self.micro,
        )
        batches = open_batches(data.path, config, self.state.position, self.here)
        self.feed = Feed(batches=batches, device=device)
        self.total = round(config.schedule.total_kimg * KIMG)
        self._tick_began = time.perf_counter()
        self._maintenance_sec = 0.0
        if self.here.leads:
            self._prepare(resumed=resume is not None)

    def fit(self, stop: StopRequest) -> str:
        """Train to the end, or until asked to stop; returns why it ended. TrainingError when it breaks down."""
        reason = FINISHED
        try:
            for iteration in walk(self.config, self.state.position):
                if iteration.start.nimg >= self.total:
                    break
                self.feed.fade = iteration.stage.fade
                self.stepper.iterate(iteration, self.feed)
                nimg = self.state.position.nimg
                self._tell_step(nimg, iteration.stage)
                if nimg >= self.progress.tick_start + iteration.stage.tick_kimg * KIMG or nimg >= self.total:
                    self._tick(iteration.stage, last=nimg >= self.total)
                if any_process(stop.name is not None, self.device):
                    reason = stop.name or "signal"
                    # What is saved now is what a resume takes: it must be sane in the middle of a tick, too.
                    check_finite(self.stepper.sums.means(), self._kept())
                    break
        except TrainingError as error:
            self._log({"kind": "stop", "time": now(), "nimg": self.state.position.nimg, "reason": error.reason})
            raise
        self._end(reason)
        return reason

    # -- ticks -------------------------------------------------------------------------------------------------

    def _tick(self, stage: Stage, *, last: bool) -> None:
        progress, state = self.progress, self.state
        nimg, ended = state.position.nimg, time.perf_counter()
        tick_sec = ended - self._tick_began
        progress.tick += 1
        progress.train_sec += tick_sec
        means = self.stepper.sums.means()
        record = {
            "kind": "tick",
            "time": now(),
            "tick": progress.tick,
            "nimg": nimg,
            "kimg": nimg / KIMG,
            "lod": stage.lod,
            "res": stage.res,
            "batch": stage.batch,
            "sec_per_kimg": tick_sec * KIMG / max(nimg - progress.tick_start, 1),
            "tick_sec": tick_sec,
            "train_sec": progress.train_sec,
            "maintenance_sec": self._maintenance_sec,
            "data_wait": self.feed.waited_sec / tick_sec,
            **means,
            "lr_g": stage.lr,
            "lr_d": stage.lr,
            "peak_gib": _peak_gib(self.device),
        }
        check_finite(means, self._kept())
        self._log(record)
        progress.tick_start = nimg
        if self.here.leads:
            self._maintain(record, last=last)
        self._maintenance_sec = time.perf_counter() - ended
        self._tick_began, self.feed.waited_sec = time.perf_counter(), 0.0

    def _maintain(self, record: Mapping[str, Any], *, last: bool) -> None:
        """Pictures, stored networks, measurements and checkpoints that are due at this tick."""
        train, tick, nimg = self.config.train, self.progress.tick, self.state.position.nimg
        self.board.scalars({name: value for name, value in record.items() if type(value) is float}, nimg / KIMG)
        if last or tick % train.image_ticks == 0:
            self._picture(nimg)
        measured = bool(train.metrics) and (last or tick % train.metric_ticks == 0)
        network = self.run.network_path(nimg)
        if last or measured or tick % train.network_ticks == 0:
            write_generator(network, self.config, self.state.ema, lod=record["lod"], nimg=nimg)
            self._log(
                {"kind": "snapshot", "time": now(), "nimg": nimg, "kimg": nimg / KIMG, "file": self._name(network)}
            )
        self.measurer.collect()
        if measured:
            self.measurer.start(network, nimg)
        if last:
            self.measurer.collect(wait=True)
        if last or measured or tick % train.snapshot_ticks == 0:
            self.save()

    def _picture(self, nimg: int) -> None:
        stored = StoredGenerator(
            config=self.config,
            network=self.state.ema,
            lod=stage_at(self.config, self.state.position.stage_nimg).lod,
            nimg=nimg,
            path=self.run.path,
        )
        fakes = stored.images(self._latents, self._labels)
        grid = grid_image(fakes, self.config.train.grid[0])
        write_png(self.run.path / f"fakes{round(nimg / KIMG):06d}.png", grid)
        self.board.picture("fakes", grid, nimg / KIMG)
        self.variety.look(fakes, self._kept())

    def _measured(self, nimg: int, values: Mapping[str, float], seconds: float) -> None:
        files = [
            f"metrics/{path.name}" for path in sorted((self.run.path / "metrics").glob(f"{round(nimg / KIMG):06d}-*"))
        ]
        record = {"kind": "metrics", "time": now(), "nimg": nimg, "kimg": nimg / KIMG, "seconds": seconds}
        record |= {"values": dict(values), "files": files}
        self._log(record)
        self.progress.history.append({"nimg": nimg, "values": dict(values)})
        self.board.scalars({f"metrics/{name}": value for name, value in values.items()}, nimg / KIMG)
        value = values.get("swd", values.get("fid"))
        best = self.progress.best_value
        if value is not None and (best is None or value < best):
            self.progress.best_value, self.progress.best_nimg = value, nimg

    def _not_measured(self, nimg: int, reason: str) -> None:
        self._log({"kind": "metrics-failed", "time": now(), "nimg": nimg, "kimg": nimg / KIMG, "reason": reason})

    # -- checkpoints -------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint and remove those that are no longer kept."""
        if not self.here.leads:
            return
        progress, nimg = self.progress, self.state.position.nimg
        meta = {
            "config": config_json(self.config),
            "data_fingerprint": self.data.fingerprint,
            "lod": stage_at(self.config, self.state.position.stage_nimg).lod,
            **self.state.numbers(),
            "progress": {name: getattr(progress, name) for name in progress.__slots__},
        }
        path = self.run.checkpoint_path(nimg)
        write_snapshot(path, Snapshot(kind=STATE, meta=meta, tensors=self.state.tensors()))
        kept = self.measurer.pending | ({progress.best_nimg} if progress.best_nimg is not None else set())
        self.run.prune(self.config.train.keep, kept)
        self._log({"kind": "snapshot", "time": now(), "nimg": nimg, "kimg": nimg / KIMG, "file": self._name(path)})

    def _restore(self, snapshot: Snapshot) -> None:
        self.state.restore(dict(snapshot.tensors), dict(snapshot.meta), str(self.run.path))
        for name, value in dict(snapshot.meta["progress"]).items():
            setattr(self.progress, name, value)

    def _end(self, reason: str) -> None:
        if not self.here.leads:
            return
        if reason != FINISHED:
            self.save()
        self.measurer.close()
        self._log({"kind": "stop", "time": now(), "nimg": self.state.position.nimg, "reason": reason})
        self.board.close()

    # -- preparation and words ---------------------------------------------------------------------------------

    def _prepare(self, *, resumed: bool) -> None:
        nimg, train = self.state.position.nimg, self.config.train
        columns, rows = train.grid
        numbers = list(range(columns * rows))
        self._latents = sample_latents(train.seed, numbers, self.config.network.latent)
        self._labels = draw_labels(self.config.network, label_table(self.state.ema), train.seed, numbers)
        self.board = Board(self.run.path / "tb", purge_step=round(nimg / KIMG) + 1 if resumed else None)
        reals = real_grid(self.data, self.config)
        self.variety = VarietyWatch(reals)
        write_png(self.run.path / "reals.png", grid_image(reals, columns))
        self.measurer = Measurer(
            self.config,
            self.data,
            self.run.path,
            str(self.device),
            done=self._measured,
            failed=self._not_measured,
            skipped=self._skipped,
        )
        if resumed:
            self.run.cut_log(nimg)
        record = {"kind": "start", "time": now(), "nimg": nimg, "device": str(self.device), "world": self.here.size}
        record |= {"machine": machine(), "versions": versions(), "tensorboard": self.board.present}
        if self.micro:
            record["micro_batch"] = {str(res): size for res, size in self.micro.items()}
        self._log(record)

    def _skipped(self, metric: str, reason: str) -> None:
        self.told({"kind": "warning", "text": f"{metric} is not measured: {reason}"})

    def _tell_step(self, nimg: int, stage: Stage) -> None:
        if self.here.leads:
            self.told({"kind": "step", "nimg": nimg, "lod": stage.lod, "res": stage.res, "batch": stage.batch})

    def _log(self, record: Mapping[str, Any]) -> None:
        if self.here.leads:
            self.run.log(record)
            self.told(record)

    def _kept(self) -> str:
        kept = self.run.checkpoints()
        return f"{kept[-1]} is kept: resume from it" if kept else "nothing was saved yet: start again"

    def _name(self, path: Any) -> str:
        return str(path.relative_to(self.run.path))


def _peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
