"""What a training run holds, and its checkpoint: written whole or not at all, read back bit for bit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from celebahq_tools.errors import FormatError, UsageError
from celebahq_tools.restore.networks import RestoreNetwork
from celebahq_tools.restore.precision import Device
from celebahq_tools.restore.training.config import TrainConfig
from celebahq_tools.restore.training.losses import Critic

CHECKPOINT_FORMAT = "celebahq-training-1"
PARTIAL_SUFFIX = ".partial"
BETAS = (0.9, 0.99)
# May differ between the runs that a checkpoint joins; everything else decides what was learned so far.
FREE_ON_RESUME = ("steps",)


@dataclass(kw_only=True, slots=True)
class TrainState:
    """Networks, optimisers, and how many steps were taken."""

    network: RestoreNetwork
    mean: RestoreNetwork
    optimiser: torch.optim.Optimizer
    critic: Critic | None
    critic_optimiser: torch.optim.Optimizer | None
    step: int = 0


def fresh_state(
    config: TrainConfig, init: dict[str, torch.Tensor] | None = None, *, device: Device = "cpu"
) -> TrainState:
    """A run before its first step, from random weights (by the seed, on any device the same) or from `init`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = RestoreNetwork(config.network)
        critic = Critic() if config.adversarial else None
    if init is not None:
        network.load_state_dict(init)
    mean = RestoreNetwork(config.network)
    mean.load_state_dict(network.state_dict())
    mean.requires_grad_(False)
    for module in (network, mean, critic):
        if module is not None:
            module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return TrainState(
        network=network,
        mean=mean,
        optimiser=torch.optim.Adam(network.parameters(), config.rate, BETAS),
        critic=critic,
        critic_optimiser=torch.optim.Adam(critic.parameters(), config.rate, BETAS) if critic else None,
    )


def update_mean(mean: nn.Module, network: nn.Module, decay: float) -> None:
    """The running mean of the weights moves towards the weights by 1 - decay."""
    with torch.no_grad():
        means: list[torch.Tensor] = list(mean.parameters())
        values: list[torch.Tensor] = list(network.parameters())
        torch._foreach_lerp_(means, values, 1 - decay)


def save_checkpoint(path: Path, state: TrainState, config: TrainConfig) -> None:
    """Write everything that is needed to go on, via a partial file."""
    content: dict[str, Any] = {
        "format": CHECKPOINT_FORMAT,
        "config": json.dumps(config.to_json()),
        "step": state.step,
        "network": state.network.state_dict(),
        "mean": state.mean.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "critic": state.critic.state_dict() if state.critic else None,
        "critic_optimiser": state.critic_optimiser.state_dict() if state.critic_optimiser else None,
    }
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    torch.save(content, partial)
    partial.replace(path)


def load_checkpoint(path: Path, config: TrainConfig, *, device: Device = "cpu") -> TrainState:
    """The run as it was saved, whatever device it was on.

    FormatError for a damaged file, UsageError when it was made with other settings.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise FormatError(f"{path}: not a checkpoint, or damaged ({type(error).__name__}): delete it") from None
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise FormatError(f"{path}: not a checkpoint of this program: delete it")
    saved, wanted = json.loads(content["config"]), config.to_json()
    for name, value in wanted.items():
        if name not in FREE_ON_RESUME and saved.get(name) != value:
            raise UsageError(
                f"{path}: a run with {name} {saved.get(name)}, now {value}: give the same options, or --overwrite"
            )
    state = fresh_state(config, device=device)
    state.network.load_state_dict(content["network"])
    state.mean.load_state_dict(content["mean"])
    state.optimiser.load_state_dict(content["optimiser"])
    if state.critic and state.critic_optimiser:
        state.critic.load_state_dict(content["critic"])
        state.critic_optimiser.load_state_dict(content["critic_optimiser"])
    state.step = int(content["step"])
    return state
