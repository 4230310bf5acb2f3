"""What a training run is: everything that decides the weights it ends with."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from celebahq_tools.errors import UsageError
from celebahq_tools.restore.networks import TASKS, NetworkConfig, TaskName, default_network

QUALITY_LIMITS = (1, 100)
MIN_PATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradeConfig:
    """How a training picture is damaged; probabilities are per patch.

    quality        JPEG qualities, both ends included
    jpeg           probability that a patch is compressed (task joint; task jpeg always does)
    chroma_full    probability of 4:4:4 instead of 4:2:0
    twice          probability of a second compression on another grid of blocks, before the one that counts
    noise          probability of noise before compression (tasks sr4 and joint)
    noise_levels   largest standard deviation of it, in levels of 255
    bicubic        probability that the picture was shrunk bicubically rather than by another kernel (sr4, joint)
    """

    quality: tuple[int, int] = (5, 95)
    jpeg: float = 0.9
    chroma_full: float = 0.2
    twice: float = 0.15
    noise: float = 0.1
    noise_levels: float = 3.0
    bicubic: float = 0.7

    def __post_init__(self) -> None:
        low, high = self.quality
        if not QUALITY_LIMITS[0] <= low <= high <= QUALITY_LIMITS[1]:
            raise UsageError(f"training JPEG quality {low} to {high}: expected an ascending range within 1 to 100")
        for name in ("jpeg", "chroma_full", "twice", "noise", "bicubic"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"training probability {name} is {getattr(self, name)}: expected 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A run.

    task         jpeg | sr4 | joint
    network      its size
    degrade      how pictures are damaged
    steps        optimiser steps of the whole schedule
    batch        patches a step
    patch        edge of a patch of the undamaged picture, pixels
    rate         largest learning rate; warmed up linearly, then a cosine down to `last_rate` of it
    warmup       steps of warming up
    ema          decay of the running mean of the weights, which is what is saved
    shrink       photographs are shrunk by at least this factor first, so that their own artifacts are gone
    seed         of everything random
    adversarial  weight of the adversarial loss; 0 trains without it
    frequency    weight of the loss on the spectrum
    """

    task: TaskName
    network: NetworkConfig
    degrade: DegradeConfig = DegradeConfig()
    steps: int
    batch: int = 16
    patch: int = 128
    rate: float = 1e-3
    last_rate: float = 0.01
    warmup: int = 100
    ema: float = 0.998
    shrink: float = 2.0
    seed: int = 0
    adversarial: float = 0.0
    frequency: float = 0.0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"training task {self.task!r} is unknown: choose one of {', '.join(TASKS)}")
        multiple = self.network.grid * self.network.scale
        if self.patch < MIN_PATCH or self.patch % multiple:
            raise UsageError(
                f"training patch of {self.patch} pixels: expected a multiple of {multiple} from {MIN_PATCH}"
            )
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"training {name} is {getattr(self, name)}: expected at least 1")
        if self.shrink < 1:
            raise UsageError(f"training shrinks photographs by {self.shrink}: expected at least 1")
        if not 0 < self.rate < 1 or not 0 <= self.last_rate <= 1 or not 0 <= self.ema < 1:
            raise UsageError(f"training rate {self.rate}, last rate {self.last_rate}, ema {self.ema} are out of range")
        if min(self.adversarial, self.frequency) < 0:
            raise UsageError("training loss weights are negative")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values


def default_training(task: TaskName, *, steps: int | None = None) -> TrainConfig:
    """The schedule of a task (docs/models)."""
    network = default_network(task)
    if task == "jpeg":
        return TrainConfig(task=task, network=network, steps=steps or 6000, batch=16, patch=96)
    if task == "sr4":
        degrade = DegradeConfig(quality=(30, 95), jpeg=0.0)
        return TrainConfig(task=task, network=network, degrade=degrade, steps=steps or 6000, batch=16, patch=160)
    # Narrower than for jpeg: a small network is to serve the usual qualities well.
    degrade = DegradeConfig(quality=(50, 95), bicubic=0.8)
    return TrainConfig(task=task, network=network, degrade=degrade, steps=steps or 16000, batch=8, patch=192)
