"""Weights as the convolutions use them: scaled, spread and cast once per step instead of once per pass.

A step of the trainer runs D several times with the same weights. `StepWeights` makes each effective weight once,
hands it to every pass as a leaf of autograd's graph, and at the end carries the collected gradients back to the
parameters in one go. Without it, layers compute their weights in every pass: the same numbers, slower.
"""

from enum import Enum, auto
from typing import Protocol

import torch
from torch import Tensor, nn

from pgan.networks.operators import down_kernel, up_kernel


class Shape(Enum):
    """How a stored weight is turned into the one that is used."""

    PLAIN = auto()
    UP = auto()
    DOWN = auto()


class Weighted(Protocol):
    """A layer with a weight that is scaled at run time."""

    weight: nn.Parameter
    scale: float


def effective_weight(layer: Weighted, shape: Shape, dtype: torch.dtype, *, channels_last: bool) -> Tensor:
    """weight * scale (sec. 4.1), spread for a fused layer and cast."""
    if shape is Shape.UP:
        weight = up_kernel(layer.weight, layer.scale)
    elif shape is Shape.DOWN:
        weight = down_kernel(layer.weight, layer.scale)
    else:
        weight = layer.weight * layer.scale if layer.scale != 1.0 else layer.weight
    weight = weight.to(dtype)
    if channels_last and weight.ndim == 4:
        weight = weight.contiguous(memory_format=torch.channels_last)
    return weight


class StepWeights:
    """Effective weights of one network for one step.

    dtype    of the computation
    frozen   gradients do not go to the parameters (D in the step of G: a third of its work is saved)
    """

    def __init__(self, dtype: torch.dtype, *, frozen: bool = False) -> None:
        self.dtype = dtype
        self.frozen = frozen
        self._made: dict[tuple[int, Shape], tuple[Tensor, Tensor]] = {}

    def get(self, layer: Weighted, shape: Shape, *, channels_last: bool = False) -> Tensor:
        """The effective weight, made on first use."""
        key = (id(layer), shape)
        if key not in self._made:
            with torch.set_grad_enabled(not self.frozen):
                source = effective_weight(layer, shape, self.dtype, channels_last=channels_last)
            self._made[key] = source, source.detach().requires_grad_(not self.frozen)
        return self._made[key][1]

    def carry_back(self) -> None:
        """Add the gradients that the passes left on the effective weights to those of the parameters."""
        pairs = [(source, leaf.grad) for source, leaf in self._made.values() if leaf.grad is not None]
        self._made.clear()
        if pairs:
            torch.autograd.backward([source for source, _ in pairs], [gradient for _, gradient in pairs])


class PassWeights(StepWeights):
    """Effective weights made anew in every pass, which a compiled graph (pgan.networks.compiled) fuses and keeps."""

    def get(self, layer: Weighted, shape: Shape, *, channels_last: bool = False) -> Tensor:
        """The effective weight."""
        return effective_weight(layer, shape, self.dtype, channels_last=channels_last)

    def carry_back(self) -> None:
        """Nothing: gradients go to the parameters directly."""


def weight_of(layer: Weighted, shape: Shape, weights: StepWeights | None, *, channels_last: bool = False) -> Tensor:
    """The layer's effective weight, from `weights` if the caller keeps some."""
    if weights is not None:
        return weights.get(layer, shape, channels_last=channels_last)
    return effective_weight(layer, shape, layer.weight.dtype, channels_last=channels_last)
