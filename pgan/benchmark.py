"""What a configuration costs at each resolution, from a few steps on synthetic images.

Nothing is read or written. Times are of whole iterations: the steps of D, the step of G, the average of its weights.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from pgan.config import CLASS, Config, by_res
from pgan.draws import torch_generator
from pgan.errors import ConfigError
from pgan.networks.forms import choose_forms
from pgan.parallel import World
from pgan.presets import preset
from pgan.schedule import KIMG, Stage, growth_resolutions
from pgan.state import TrainState
from pgan.step import Real, Stepper
from pgan.walk import Iteration, Position

MIB = 1 << 20
TIMED_BATCH = 16
TIMED_STEPS = 2
SLOW_STEP_SEC = 8.0
"""A step that takes longer is timed once, and larger resolutions are extrapolated instead of timed."""

ACTIVATIONS_HELD = 6.0
"""Feature maps of D alive at the peak of a step, in multiples of those of one forward pass (two passes of reals and
fakes, one of interpolates with its gradients, and the gradients of those)."""
STATE_COPIES = 9.0
"""Copies of the weights: themselves, their average, gradients, Adam's two moments, and effective weights, which are
larger in fused layers, with their gradients."""

ProgressFn = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one resolution costs.

    batch           real images per step, over all processes
    g_parameters, d_parameters  in use at this resolution, no fade
    sec_per_step    of an iteration: `d_repeats` steps of D and one of G
    sec_per_kimg    per thousand real images
    memory_mib      estimated for the whole batch at once: state, feature maps
    peak_mib        measured so far: allocated on the device, or resident in this process on CPU; 0 if not timed
    timed           False: extrapolated from the smaller resolution by the multiplications of the convolutions
    """

    res: int
    batch: int
    g_parameters: int
    d_parameters: int
    sec_per_step: float
    sec_per_kimg: float
    memory_mib: float
    peak_mib: float
    timed: bool

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def chosen_config(name: str, *, precision: str | None, form: str | None, compiled: bool) -> Config:
    """A preset with what is not None put in its place. Raises ConfigError for unknown names and values."""
    config = preset(name)
    train = config.train
    chosen = replace(train, precision=precision or train.precision, form=form or train.form, compile=compiled)
    return replace(config, train=chosen)


def estimate_run(
    config: Config, device: torch.device | str = "cpu", *, progress: ProgressFn | None = None
) -> list[Cost]:
    """The costs of every resolution the run reaches, in a minute or so: few images, slow resolutions extrapolated."""
    limit = SLOW_STEP_SEC
    return measure_costs(
        config, device, steps=TIMED_STEPS, largest_batch=TIMED_BATCH, limit_sec=limit, progress=progress
    )


def measure_costs(
    config: Config,
    device: torch.device | str = "cpu",
    *,
    max_res: int | None = None,
    steps: int = TIMED_STEPS,
    largest_batch: int | None = None,
    limit_sec: float | None = None,
    progress: ProgressFn | None = None,
) -> list[Cost]:
    """Time `steps` iterations at each resolution up to `max_res`, after one that warms up.

    largest_batch  time at most this many images per step and scale up; None: the configured batch
    limit_sec      do not time resolutions whose step is expected to take longer; None: time all
    Raises ConfigError if `max_res` is below the run's first resolution.
    """
    device = torch.device(device)
    resolutions = [res for res in growth_resolutions(config) if max_res is None or res <= max_res]
    if not resolutions:
        raise ConfigError(f"max_res is {max_res}, but the run starts at {config.schedule.start_res}")
    state = TrainState(config, device)
    forms = choose_forms(config.train.form, device.type, config.train.precision)
    costs: list[Cost] = []
    for done, res in enumerate(resolutions):
        if progress is not None:
            progress(done, len(resolutions))
        batch = int(by_res(config.schedule.batch_by_res, res, config.schedule.batch))
        small = batch if largest_batch is None else min(batch, largest_batch)
        expected = costs[-1].sec_per_kimg * _growth(config, res) * small / KIMG if costs else 0.0
        timed = limit_sec is None or expected <= limit_sec
        if timed:
            stepper = Stepper(state, forms=forms, world=World())
            per_step = _time_steps(stepper, _stage(config, res, small), steps, limit_sec) * batch / small
        else:
            per_step = expected * config.schedule.d_repeats * batch / small
        costs.append(
            Cost(
                res=res,
                batch=batch,
                g_parameters=parameters_in_use(state.g, res),
                d_parameters=parameters_in_use(state.d, res),
                sec_per_step=per_step,
                sec_per_kimg=per_step / (batch * config.schedule.d_repeats) * KIMG,
                memory_mib=memory_mib(config, res, batch),
                peak_mib=_peak_mib(device) if timed else 0.0,
                timed=timed,
            )
        )
    if progress is not None:
        progress(len(resolutions), len(resolutions))
    return costs


def total_sec(config: Config, costs: list[Cost]) -> float:
    """Seconds of the whole run without what happens between ticks; fades are counted at their larger resolution."""
    schedule = config.schedule
    left, total = schedule.total_kimg, 0.0
    for cost in costs:
        fade = 0.0 if cost is costs[0] else schedule.transition_kimg
        phase = left if cost is costs[-1] else min(fade + schedule.training_kimg, left)
        total += phase * cost.sec_per_kimg
        left -= phase
    return total


def memory_mib(config: Config, res: int, batch: int) -> float:
    """Estimated memory of a step with `batch` images at once, MiB: state and D's feature maps; a rough figure."""
    value = 4 if config.train.precision == "fp32" else 2
    weights = sum(before * after * 9 for before, after, _ in _convolutions(config, res))
    features = sum((before + after) * side * side for before, after, side in _convolutions(config, res))
    return (2 * weights * 4 * STATE_COPIES + features * batch * value * ACTIVATIONS_HELD) / MIB


def parameters_in_use(network: nn.Module, res: int) -> int:
    """Parameters a network uses at a resolution: blocks named by a number up to it, the colour layer of its own."""
    total = 0
    for name, parameter in network.named_parameters():
        sides = [int(part) for part in name.split(".") if part.isdigit()]
        if not sides or (sides[0] == res if "rgb" in name.split(".")[0] else sides[0] <= res):
            total += parameter.numel()
    return total


def synthetic_reals(config: Config, res: int, batch: int, device: torch.device) -> Real:
    """Uniform noise in [-1, 1] with random labels."""
    generator = torch_generator(config.train.seed, "synthetic", res)
    images = torch.rand((batch, 3, res, res), generator=generator) * 2.0 - 1.0
    size, labels = config.label_size, None
    if size and config.network.label_kind == CLASS:
        labels = torch.randint(size, (batch,), generator=generator).to(device)
    elif size:
        labels = torch.randint(2, (batch, size), generator=generator).to(device, torch.float32)
    return Real(images=images.to(device), labels=labels)


def _stage(config: Config, res: int, batch: int) -> Stage:
    lod = float((config.network.res // res).bit_length() - 1)
    lr = by_res(config.optimizer.lr_by_res, res, config.optimizer.lr)
    return Stage(lod=lod, res=res, batch=batch, lr=lr, tick_kimg=1.0)


def _time_steps(stepper: Stepper, stage: Stage, steps: int, limit_sec: float | None) -> float:
    """Median seconds per iteration; the first one warms up and counts only if it took longer than the limit."""
    config, device = stepper.config, stepper.state.device
    real = synthetic_reals(config, stage.res, stage.batch, device)
    ends = Position(nimg=config.schedule.d_repeats * stage.batch)
    iteration = Iteration(start=Position(), stage=stage, after=ends)
    readings = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        stepper.iterate(iteration, _again(real))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        readings.append(time.perf_counter() - started)
        if limit_sec is not None and readings[0] > limit_sec:
            return readings[0]
    return statistics.median(readings[1:])


def _again(real: Real) -> Iterator[Real]:
    while True:
        yield real


def _growth(config: Config, res: int) -> float:
    """How many times the multiplications of the next smaller resolution an image takes."""
    here, below = (
        sum(before * after * side * side for before, after, side in _convolutions(config, one))
        for one in (res, res // 2)
    )
    return here / below


def _convolutions(config: Config, res: int) -> list[tuple[int, int, int]]:
    """Maps in, maps out and side of D's 3x3 convolutions up to a resolution; those of G are alike."""
    maps = [config.network.maps(stage) for stage in range(1, res.bit_length() - 1)]
    sides = [4 << step for step in range(len(maps))]
    found = [(maps[0], maps[0], 4)]
    for (after, before), side in zip(pairwise(maps), sides[1:], strict=True):
        found += [(before, before, side), (before, after, side)]
    return found


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
