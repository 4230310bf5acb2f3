"""Layers with equalised learning rate, and the norms of table 1's first rows.

Every layer computes in the dtype of its input; parameters stay float32.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgan.networks.operators import LRELU_GAIN, down2, layer_norm, up2
from pgan.networks.weights import Shape, StepWeights, weight_of
from pgan.parallel import sum_over_processes

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1


def initial_weight(
    shape: tuple[int, ...], fan_in: int, gain: float, *, equalized: bool, generator: torch.Generator
) -> tuple[nn.Parameter, float]:
    """A weight and its run-time scale (sec. 4.1): N(0, 1) and gain / sqrt(fan_in), or He's and 1."""
    std = gain / math.sqrt(fan_in)
    weight = torch.randn(shape, generator=generator)
    return (nn.Parameter(weight), std) if equalized else (nn.Parameter(weight * std), 1.0)


class Conv(nn.Module):
    """Convolution of odd size with 'same' padding, without bias: (N, I, H, W) -> (N, O, H, W)."""

    def __init__(
        self,
        maps_in: int,
        maps_out: int,
        kernel: int,
        *,
        equalized: bool,
        generator: torch.Generator,
        gain: float = LRELU_GAIN,
    ) -> None:
        super().__init__()
        self.weight, self.scale = initial_weight(
            (maps_out, maps_in, kernel, kernel),
            kernel * kernel * maps_in,
            gain,
            equalized=equalized,
            generator=generator,
        )
        self.padding = kernel // 2

    def forward(self, x: Tensor, bias: Tensor | None, weights: StepWeights | None, channels_last: bool) -> Tensor:
        """Convolve; `bias` (O,) is added on the way."""
        weight = weight_of(self, Shape.PLAIN, weights, channels_last=channels_last)
        return F.conv2d(x, weight, bias, padding=self.padding)

    def up(
        self, x: Tensor, bias: Tensor | None, weights: StepWeights | None, channels_last: bool, fused: bool
    ) -> Tensor:
        """Twice the size and convolve, in one operation if `fused`: (N, I, H, W) -> (N, O, 2H, 2W)."""
        if not fused:
            return self.forward(up2(x), bias, weights, channels_last)
        weight = weight_of(self, Shape.UP, weights, channels_last=channels_last)
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)

    def down(
        self, x: Tensor, bias: Tensor | None, weights: StepWeights | None, channels_last: bool, fused: bool
    ) -> Tensor:
        """Convolve and halve the size, in one operation if `fused`: (N, I, H, W) -> (N, O, H/2, W/2)."""
        if not fused:
            y = down2(self.forward(x, None, weights, channels_last))
            return y if bias is None else y + bias[:, None, None]
        weight = weight_of(self, Shape.DOWN, weights, channels_last=channels_last)
        return F.conv2d(x, weight, bias, stride=2, padding=1)


class Dense(nn.Module):
    """Fully connected layer: (N, I) -> (N, O)."""

    def __init__(
        self,
        units_in: int,
        units_out: int,
        *,
        equalized: bool,
        generator: torch.Generator,
        gain: float = LRELU_GAIN,
        with_bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight, self.scale = initial_weight(
            (units_out, units_in), units_in, gain, equalized=equalized, generator=generator
        )
        self.bias = nn.Parameter(torch.zeros(units_out)) if with_bias else None

    def forward(self, x: Tensor, weights: StepWeights | None) -> Tensor:
        """Multiply and add the bias, if there is one."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, weight_of(self, Shape.PLAIN, weights), bias)


class BatchNorm(nn.Module):
    """Batch normalisation with the moments of the whole batch over all processes (Ioffe & Szegedy 2015).

    Running moments serve samples, which therefore do not depend on their batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))
        self.register_buffer("running_mean", torch.zeros(maps))
        self.register_buffer("running_var", torch.ones(maps))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, normalised per channel."""
        if self.training:
            mean, var = self._moments(x.float())
        else:
            mean, var = self.running_mean, self.running_var
        factor = self.gain * torch.rsqrt(var + BATCH_NORM_EPS)
        shift = self.bias - mean * factor
        return (x.float() * factor[:, None, None] + shift[:, None, None]).to(x.dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        count, mean = _mean_over_all(x)
        squares = _mean_over_all((x - mean[:, None, None]).square())[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, BATCH_NORM_MOMENTUM)
            self.running_var.lerp_(squares * (count / max(count - 1.0, 1.0)), BATCH_NORM_MOMENTUM)
        return mean, squares


def _mean_over_all(x: Tensor) -> tuple[float, Tensor]:
    """How many values per channel there are over all processes, and their mean (C,)."""
    own = float(x.numel() // x.shape[1])
    total = sum_over_processes(torch.cat([x.sum(dim=(0, 2, 3)), x.new_full((1,), own)]))
    count = float(total[-1].detach())
    return count, total[:-1] / count


class LayerNorm(nn.Module):
    """Layer normalisation over C, H, W with gain and bias per channel."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return layer_norm(x, self.gain, self.bias)
