"""Passes of the networks as compiled graphs (torch.compile).

A graph is made for every resolution, with and without fading; the amount of a fade goes in as a tensor, so that it
does not make another one. Second derivatives do not exist through such a graph: the gradient penalty's pass, and passes
that are differentiated twice for other reasons, use the networks as they are.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from pgan.networks.forms import FormPlan
from pgan.networks.operators import split_lod
from pgan.networks.progressive import ChannelNoise
from pgan.networks.weights import PassWeights, StepWeights


def _amount(amount: float | None, like: Tensor) -> Tensor | None:
    return None if amount is None else torch.full((), amount, dtype=torch.float32, device=like.device)


class CompiledGenerator:
    """Called like the generator whose passes it compiles."""

    def __init__(self, network: nn.Module, res: int, dtype: torch.dtype) -> None:
        """`res` is the final resolution, `dtype` that of the computation."""
        self._res, self._weights = res, PassWeights(dtype)
        self._at = torch.compile(cast(Callable[..., Tensor], network.at), dynamic=False)

    def __call__(
        self, z: Tensor, labels: Tensor | None, lod: float, *, weights: StepWeights, forms: FormPlan
    ) -> Tensor:
        """Images, as `Generator.forward` gives them; `weights` are not used, the graph makes its own."""
        res, amount = split_lod(lod, self._res)
        return self._at(z, labels, res, _amount(amount, z), self._weights, forms)


class CompiledDiscriminator:
    """Called like the discriminator whose passes it compiles; without noise."""

    def __init__(self, network: nn.Module, res: int, dtype: torch.dtype) -> None:
        """`res` is the final resolution, `dtype` that of the computation."""
        self._res, self._weights = res, PassWeights(dtype)
        self._at = torch.compile(cast(Callable[..., Tensor], network.at), dynamic=False)

    def __call__(
        self,
        images: Tensor,
        lod: float,
        *,
        weights: StepWeights,
        forms: FormPlan,
        noise: ChannelNoise | None = None,
        segments: int = 1,
    ) -> Tensor:
        """Scores and class logits, as `Discriminator.forward` gives them; `weights` are not used."""
        res, amount = split_lod(lod, self._res)
        return self._at(images, res, _amount(amount, images), self._weights, forms, noise, segments)
