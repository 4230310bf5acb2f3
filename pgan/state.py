"""What training changes: networks, their average, optimisers and a few numbers. Saved and restored to the bit."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pgan.config import Config
from pgan.errors import CheckpointError
from pgan.networks.build import build_discriminator, build_generator
from pgan.walk import Position

SCALE_START = 2.0**16
SCALE_GROWTH_STEPS = 2000
ADAM_TENSORS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(kw_only=True, slots=True)
class LossScale:
    """Loss scaling for fp16: halved when gradients overflow, doubled after 2,000 steps without; 1 otherwise."""

    value: float
    good_steps: int = 0

    def update(self, overflowed: bool) -> None:
        """After a step."""
        if overflowed:
            self.value, self.good_steps = max(self.value / 2.0, 1.0), 0
            return
        self.good_steps += 1
        if self.good_steps == SCALE_GROWTH_STEPS:
            self.value, self.good_steps = self.value * 2.0, 0


class TrainState:
    """Everything a step reads and writes.

    g, d, ema       networks; ema is the average of g
    adam_g, adam_d  optimisers
    position        where the run is
    layers          the set of active layers Adam's moments belong to
    fake_score      running mean of D(fake), which steers LSGAN's noise
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.g = build_generator(config, config.train.seed).to(device)
        self.d = build_discriminator(config, config.train.seed).to(device)
        self.ema = build_generator(config, config.train.seed).to(device).eval().requires_grad_(False)
        self.adam_g, self.adam_d = self._adam(self.g), self._adam(self.d)
        self.position = Position()
        self.layers: tuple[int, int] | None = None
        self.fake_score = 0.0
        half = config.train.precision == "fp16"
        self.scale_g = LossScale(value=SCALE_START if half else 1.0)
        self.scale_d = LossScale(value=SCALE_START if half else 1.0)

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        optimizer = self.config.optimizer
        return torch.optim.Adam(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=optimizer.lr,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
            fused=True,
        )

    def forget_moments(self) -> None:
        """Reset Adam, as happens when the set of active layers changes."""
        self.adam_g.state.clear()
        self.adam_d.state.clear()

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        found: dict[str, Tensor] = {}
        for prefix, network in (("g", self.g), ("d", self.d), ("ema", self.ema)):
            found |= {f"{prefix}.{name}": value for name, value in network.state_dict().items()}
        for prefix, network, adam in (("adam_g", self.g, self.adam_g), ("adam_d", self.d, self.adam_d)):
            for name, parameter in network.named_parameters():
                for part in ADAM_TENSORS:
                    if parameter in adam.state:
                        found[f"{prefix}.{part}.{name}"] = adam.state[parameter][part]
        return found

    def numbers(self) -> dict[str, Any]:
        """All other state, as JSON values."""
        return {
            "nimg": self.position.nimg,
            "stage_nimg": self.position.stage_nimg,
            "repeat": self.position.repeat,
            "layers": None if self.layers is None else list(self.layers),
            "fake_score": self.fake_score,
            "scales": [
                [self.scale_g.value, self.scale_g.good_steps],
                [self.scale_d.value, self.scale_d.good_steps],
            ],
        }

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any], where: str) -> None:
        """Take over what `tensors` and `numbers` gave; CheckpointError if it belongs to other networks."""
        try:
            for prefix, network in (("g.", self.g), ("d.", self.d), ("ema.", self.ema)):
                own = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
                network.load_state_dict(own)
            self._restore_adam("adam_g", self.g, self.adam_g, tensors)
            self._restore_adam("adam_d", self.d, self.adam_d, tensors)
            layers = numbers["layers"]
            self.position = Position(
                nimg=int(numbers["nimg"]), stage_nimg=int(numbers["stage_nimg"]), repeat=int(numbers["repeat"])
            )
            self.layers = None if layers is None else (int(layers[0]), int(layers[1]))
            self.fake_score = float(numbers["fake_score"])
            self.scale_g, self.scale_d = (
                LossScale(value=float(value), good_steps=int(steps)) for value, steps in numbers["scales"]
            )
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{where} is a checkpoint of another configuration ({reason})") from None

    def _restore_adam(
        self, prefix: str, network: nn.Module, adam: torch.optim.Adam, tensors: dict[str, Tensor]
    ) -> None:
        adam.state.clear()
        for name, parameter in network.named_parameters():
            parts = {part: tensors.get(f"{prefix}.{part}.{name}") for part in ADAM_TENSORS}
            if parts["step"] is None:
                continue
            if parts["exp_avg"] is None or parts["exp_avg"].shape != parameter.shape:
                raise ValueError(f"{prefix} of {name} does not fit")
            adam.state[parameter] = {
                part: value.clone().to(parameter.device) for part, value in parts.items() if value is not None
            }
