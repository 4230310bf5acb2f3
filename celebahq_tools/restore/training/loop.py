"""The training loop: batches in, a running mean of the weights out; a killed run goes on from its checkpoint."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from celebahq_tools.errors import MissingDependencyError, UsageError
from celebahq_tools.restore.modelfile import Model, State, encode_model
from celebahq_tools.restore.precision import Device
from celebahq_tools.restore.training.batches import Pair, PatchSource, prefetched
from celebahq_tools.restore.training.config import TrainConfig
from celebahq_tools.restore.training.losses import charbonnier, relativistic_hinge, spectrum
from celebahq_tools.restore.training.photos import Photo
from celebahq_tools.restore.training.state import (
    PARTIAL_SUFFIX,
    TrainState,
    fresh_state,
    load_checkpoint,
    save_checkpoint,
    update_mean,
)
from celebahq_tools.restore.training.validate import Score, score_network

CHECKPOINT_SUFFIX = ".train"
LOG_EVERY = 20
GRADIENT_LIMIT = 1.0
# Of the critic, times the network's: it begins from nothing, and has to lead (Heusel et al. 2017, two time scales).
CRITIC_RATE = 4.0
# Steps from which on the critic's opinion counts, and counts fully: before, it knows nothing.
CRITIC_COUNTS = (100, 300)

Progress = Callable[[int, int], None]


class Log(Protocol):
    """Where numbers go while a run lasts; `torch.utils.tensorboard.SummaryWriter` is one."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """One number of one step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRun:
    """How a run is carried out; none of it decides what is learned.

    out              the weights to write
    save_every       steps between checkpoints
    validate_every   steps between validations
    bf16             multiply in bfloat16 (weights and their updates stay float32)
    device           where
    version          recorded in the weights
    """

    out: Path
    save_every: int = 250
    validate_every: int = 1000
    bf16: bool = True
    device: Device = "cpu"
    version: str = "0"

    @property
    def checkpoint(self) -> Path:
        """Beside the weights."""
        return self.out.with_name(self.out.name + CHECKPOINT_SUFFIX)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """The end of a run: last scores on the photographs held out, and seconds this process trained."""

    step: int
    scores: tuple[Score, ...]
    train_sec: float


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warming up, then half a cosine from `rate` to `last_rate * rate`."""
    if step < config.warmup:
        return config.rate * (step + 1) / config.warmup
    done = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    low = config.rate * config.last_rate
    return low + (config.rate - low) * (1 + math.cos(math.pi * done)) / 2


def critic_share(step: int) -> float:
    """How much of the adversarial loss counts, 0 to 1."""
    start, full = CRITIC_COUNTS
    return min(1.0, max(0, step - start) / (full - start))


def train(
    config: TrainConfig,
    run: TrainRun,
    photos: Sequence[Photo],
    held_out: Sequence[Photo],
    *,
    init: State | None = None,
    log: Log | None = None,
    progress: Progress,
    scored: Callable[[int, Sequence[Score]], None],
) -> TrainResult:
    """Train until `config.steps`, from the checkpoint when there is one, and write the weights.

    `scored(step, scores)` is called after each validation. Raises UsageError when the checkpoint is of other
    settings, SourceError when the photographs are too small.
    """
    device = run.device
    if run.checkpoint.exists():
        state = load_checkpoint(run.checkpoint, config, device=device)
    else:
        state = fresh_state(config, init, device=device)
    source = PatchSource(photos, config)
    # Kept beside the weights for the record: trained on what, from where.
    origin = {"photographs": len(photos), "held_out": len(held_out), "initialised": init is not None}
    scores: list[Score] = []
    started = time.perf_counter()
    progress(state.step, config.steps)
    for batch in prefetched(source, state.step, config.steps) if state.step < config.steps else ():
        losses = _step(state, config, Pair(*(part.to(device) for part in batch)), bf16=run.bf16)
        state.step += 1
        progress(state.step, config.steps)
        if log is not None and state.step % LOG_EVERY == 0:
            for name, loss in losses.items():
                log.add_scalar(f"loss/{name}", float(loss), state.step)
            log.add_scalar("rate", learning_rate(config, state.step), state.step)
        last = state.step == config.steps
        if last or state.step % run.validate_every == 0:
            scores = score_network(state.mean.eval(), config.task, held_out)
            scored(state.step, scores)
            _log_scores(log, scores, state.step)
        if last or state.step % run.save_every == 0:
            save_checkpoint(run.checkpoint, state, config)
    if not scores:
        scores = score_network(state.mean.eval(), config.task, held_out)
    _write_weights(state, config, run, origin, scores)
    return TrainResult(step=state.step, scores=tuple(scores), train_sec=time.perf_counter() - started)


def _autocast(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()


def _step(state: TrainState, config: TrainConfig, batch: Pair, *, bf16: bool) -> dict[str, Tensor]:
    """One step of the network, and of the critic when there is one; the losses."""
    rate = learning_rate(config, state.step)
    device = batch.damaged.device
    base = state.network.base(batch.damaged)
    with _autocast(device, bf16):
        residual = state.network.residual(batch.damaged)
    result = base + residual.float()
    losses = {"charbonnier": charbonnier(result, batch.target)}
    total = losses["charbonnier"]
    if config.frequency:
        losses["spectrum"] = spectrum(result, batch.target)
        total = total + config.frequency * losses["spectrum"]
    if state.critic is not None and state.critic_optimiser is not None:
        with _autocast(device, bf16):
            # The critic only passes gradients on here; its own come from _critic_step.
            state.critic.requires_grad_(False)
            fake, real = state.critic(result), state.critic(batch.target)
            state.critic.requires_grad_(True)
        losses["adversarial"] = relativistic_hinge(fake.float(), real.float())
        total = total + config.adversarial * critic_share(state.step) * losses["adversarial"]
    _descend(state.optimiser, total, state.network, rate)
    update_mean(state.mean, state.network, min(config.ema, (state.step + 1) / (state.step + 10)))
    if state.critic is not None and state.critic_optimiser is not None:
        with _autocast(device, bf16):
            real, fake = state.critic(batch.target), state.critic(result.detach())
        losses["critic"] = relativistic_hinge(real.float(), fake.float())
        _descend(state.critic_optimiser, losses["critic"], state.critic, CRITIC_RATE * rate)
    return {name: loss.detach() for name, loss in losses.items()}


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor, module: torch.nn.Module, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(module.parameters(), GRADIENT_LIMIT)
    optimiser.step()


def _log_scores(log: Log | None, scores: Sequence[Score], step: int) -> None:
    if log is None:
        return
    for score in scores:
        log.add_scalar(f"psnr/{score.case}", score.psnr, step)
        log.add_scalar(f"psnr_gain/{score.case}", score.psnr_gain, step)
        if score.ms_ssim is not None:
            log.add_scalar(f"ms_ssim/{score.case}", score.ms_ssim, step)


def _write_weights(
    state: TrainState, config: TrainConfig, run: TrainRun, origin: dict[str, Any], scores: Sequence[Score]
) -> None:
    card = {"training": config.to_json(), **origin, "held_out_scores": [asdict(score) for score in scores]}
    weights = {name: value.cpu() for name, value in state.mean.state_dict().items()}
    model = Model(task=config.task, version=run.version, network=config.network, state=weights, card=card)
    partial = run.out.with_name(run.out.name + PARTIAL_SUFFIX)
    partial.write_bytes(encode_model(model))
    partial.replace(run.out)


def open_log(folder: Path | None) -> Log | None:
    """A TensorBoard log. MissingDependencyError when the package is absent."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingDependencyError(
            "--tensorboard needs the package tensorboard: pip install 'celebahq-tools[tensorboard]'"
        ) from None
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--tensorboard {folder}: is a file; name a folder")
    writer: Log = SummaryWriter(str(folder))
    return writer
