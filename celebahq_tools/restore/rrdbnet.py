"""RRDBNet, the generator of ESRGAN (Wang et al. 2018, section 3.1) as Real-ESRGAN x4plus uses it.

Legend: tensors are (N, C, H, W) in channels-last memory; F = features, G = growth. Input and output are RGB [0, 1].
Module names are those of the published weights, so that their keys fit.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from celebahq_tools.restore.tiles import run_windowed

SCALE = 4
LEAKY_SLOPE = 0.2
RESIDUAL_SCALE = 0.2
DENSE_CONVS = 5
RDBS_PER_BLOCK = 3
# How far a stage looks, in pixels of its input: one pixel per 3x3 convolution, and for the enlargement
# 1/2 + 1/4 + 1/4 + 1/4, rounded up.
DENSE_HALO = DENSE_CONVS
ENLARGE_HALO = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class RRDBNetConfig:
    """Size of the network.

    features  F, channels of the residual stream
    blocks    residual-in-residual dense blocks
    growth    G, channels that each inner convolution of a dense block adds
    """

    features: int = 64
    blocks: int = 23
    growth: int = 32

    @property
    def reach_px(self) -> int:
        """Pixels around an input pixel that can change its result: the receptive field's radius."""
        return 1 + DENSE_CONVS * RDBS_PER_BLOCK * self.blocks + 1 + ENLARGE_HALO


X4PLUS = RRDBNetConfig()


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each reading all before it; the last is added to the input, scaled by 0.2."""

    def __init__(self, config: RRDBNetConfig) -> None:
        super().__init__()
        f, g = config.features, config.growth
        self.conv1 = _conv(f, g)
        self.conv2 = _conv(f + g, g)
        self.conv3 = _conv(f + 2 * g, g)
        self.conv4 = _conv(f + 3 * g, g)
        self.conv5 = _conv(f + 4 * g, f)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) => (N, F, H, W)."""
        stack = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            stack = torch.cat((stack, functional.leaky_relu_(conv(stack), LEAKY_SLOPE)), dim=1)
        return torch.add(x, self.conv5(stack), alpha=RESIDUAL_SCALE)


class ResidualInResidual(nn.Module):
    """Three dense blocks; their result is added to the input, scaled by 0.2."""

    def __init__(self, config: RRDBNetConfig) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(config)
        self.rdb2 = ResidualDenseBlock(config)
        self.rdb3 = ResidualDenseBlock(config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) => (N, F, H, W)."""
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=RESIDUAL_SCALE)


class RRDBNet(nn.Module):
    """(N, 3, H, W) float32 RGB [0, 1] => (N, 3, 4H, 4W) float32, about [0, 1] and not clipped."""

    def __init__(self, config: RRDBNetConfig = X4PLUS) -> None:
        super().__init__()
        f = config.features
        self.conv_first = _conv(3, f)
        self.body = nn.Sequential(*(ResidualInResidual(config) for _ in range(config.blocks)))
        self.conv_body = _conv(f, f)
        self.conv_up1 = _conv(f, f)
        self.conv_up2 = _conv(f, f)
        self.conv_hr = _conv(f, f)
        self.conv_last = _conv(f, 3)

    def set_precision(self, dtype: torch.dtype) -> None:
        """Compute in `dtype`, but read and write pixels in float32: bfloat16 has steps of a grey level at 1."""
        self.to(dtype)
        self.conv_first.to(torch.float32)
        self.conv_last.to(torch.float32)

    def _first(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv_first(x).to(self.conv_body.weight.dtype))

    def features(self, x: Tensor, *, tile: int) -> Tensor:
        """(1, 3, H, W) float32 => (1, F, H, W), each dense block computed in windows of `tile` pixels.

        The windows change nothing in the result: each dense block gets the halo it looks at from the block before
        it. They keep the working set in the processor's cache and the dense blocks' stack of channels small.
        """
        first = self._first(x)
        stream = first
        for module in self.body:
            block = cast(ResidualInResidual, module)
            entry = stream
            for dense in (block.rdb1, block.rdb2, block.rdb3):
                stream = run_windowed(dense, stream, halo=DENSE_HALO, tile=tile)
            torch.add(entry, stream, alpha=RESIDUAL_SCALE, out=stream)
        return cast(Tensor, self.conv_body(stream).add_(first))

    def enlarge(self, features: Tensor) -> Tensor:
        """(N, F, H, W) => (N, 3, 4H, 4W) float32: nearest x2 and a convolution, twice, then two convolutions."""
        x = functional.leaky_relu_(
            self.conv_up1(functional.interpolate(features, scale_factor=2, mode="nearest")), LEAKY_SLOPE
        )
        x = functional.leaky_relu_(
            self.conv_up2(functional.interpolate(x, scale_factor=2, mode="nearest")), LEAKY_SLOPE
        )
        x = functional.leaky_relu_(self.conv_hr(x), LEAKY_SLOPE)
        return cast(Tensor, self.conv_last(x.to(self.conv_last.weight.dtype)))

    def forward(self, x: Tensor) -> Tensor:
        """The network in one go, as published; for tests and small pictures."""
        first = self._first(x)
        return self.enlarge(first + self.conv_body(self.body(first)))
