"""The FID Inception: TensorFlow's Inception-v3 graph of 2015-12-05 with 1008 logits, as a torch module.

Architecture: Szegedy et al. 2016, table 1. It differs from later Inceptions: average pools do not count
padding, the last block pools by maximum, and the classifier has 1008 outputs. Names of modules follow the
published weight file, so that its keys load one to one.

Legend: N images, C channels. Activations are NCHW in channels-last memory order.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_SIZE = 299
BATCHNORM_EPS = 1e-3
CLASSES = 1008
POOL_CHANNELS = 2048
INPUT_OFFSET = 128.0
INPUT_SCALE = 128.0

LAYER_WIDTHS = {
    "64": 64,
    "192": 192,
    "768": 768,
    "2048": POOL_CHANNELS,
    "logits_unbiased": CLASSES,
    "logits": CLASSES,
}
"""Layers this network gives, in the order they are computed. Numbers are channels after a spatial mean."""


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU. `fold` merges the normalisation into the convolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=BATCHNORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H', W')."""
        return F.relu(self.bn(self.conv(x)), inplace=True)

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the normalisation's statistics into weight and bias, in float64. Only for inference."""
        norm = self.bn
        if not isinstance(norm, nn.BatchNorm2d):
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = self.conv.weight.double() * scale[:, None, None, None]
        bias = norm.bias.double() - norm.running_mean.double() * scale
        self.conv.weight.copy_(weight)
        self.conv.bias = nn.Parameter(bias.to(self.conv.weight.dtype), requires_grad=False)
        self.bn = nn.Identity()


class BlockA(nn.Module):
    """35 x 35 grid: branches 1x1, 5x5, double 3x3, pool."""

    def __init__(self, inputs: int, pool_outputs: int) -> None:
        super().__init__()
        self.branch1x1 = ConvUnit(inputs, 64, 1)
        self.branch5x5_1 = ConvUnit(inputs, 48, 1)
        self.branch5x5_2 = ConvUnit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvUnit(inputs, 64, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3, padding=1)
        self.branch_pool = ConvUnit(inputs, pool_outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 35, 35) -> (N, 224 + pool_outputs, 35, 35)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_mean_pool(x))], 1)


class BlockB(nn.Module):
    """Reduction 35 x 35 -> 17 x 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = ConvUnit(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = ConvUnit(inputs, 64, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 35, 35) -> (N, inputs + 480, 17, 17)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17 grid: branches 1x1, 7x7 and double 7x7 factorised into 1x7 and 7x1, pool."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        row_pad, column_pad = (0, 3), (3, 0)
        self.branch1x1 = ConvUnit(inputs, 192, 1)
        self.branch7x7_1 = ConvUnit(inputs, width, 1)
        self.branch7x7_2 = ConvUnit(width, width, row, padding=row_pad)
        self.branch7x7_3 = ConvUnit(width, 192, column, padding=column_pad)
        self.branch7x7dbl_1 = ConvUnit(inputs, width, 1)
        self.branch7x7dbl_2 = ConvUnit(width, width, column, padding=column_pad)
        self.branch7x7dbl_3 = ConvUnit(width, width, row, padding=row_pad)
        self.branch7x7dbl_4 = ConvUnit(width, width, column, padding=column_pad)
        self.branch7x7dbl_5 = ConvUnit(width, 192, row, padding=row_pad)
        self.branch_pool = ConvUnit(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 17, 17) -> (N, 768, 17, 17)."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_mean_pool(x))], 1)


class BlockD(nn.Module):
    """Reduction 17 x 17 -> 8 x 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvUnit(inputs, 192, 1)
        self.branch3x3_2 = ConvUnit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = ConvUnit(inputs, 192, 1)
        self.branch7x7x3_2 = ConvUnit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvUnit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvUnit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 17, 17) -> (N, inputs + 512, 8, 8)."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8 grid: wide block whose 3x3 branches fan out. `max_pool` marks the last block of this graph."""

    def __init__(self, inputs: int, *, max_pool: bool) -> None:
        super().__init__()
        row, column = (1, 3), (3, 1)
        row_pad, column_pad = (0, 1), (1, 0)
        self.max_pool = max_pool
        self.branch1x1 = ConvUnit(inputs, 320, 1)
        self.branch3x3_1 = ConvUnit(inputs, 384, 1)
        self.branch3x3_2a = ConvUnit(384, 384, row, padding=row_pad)
        self.branch3x3_2b = ConvUnit(384, 384, column, padding=column_pad)
        self.branch3x3dbl_1 = ConvUnit(inputs, 448, 1)
        self.branch3x3dbl_2 = ConvUnit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = ConvUnit(384, 384, row, padding=row_pad)
        self.branch3x3dbl_3b = ConvUnit(384, 384, column, padding=column_pad)
        self.branch_pool = ConvUnit(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 8, 8) -> (N, 2048, 8, 8)."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.max_pool else _mean_pool(x)
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(pooled),
            ],
            1,
        )


class FIDInception(nn.Module):
    """Scaled images to the named layers. Build, load the weights, `prepare_for_inference`, call."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, max_pool=False)
        self.Mixed_7c = BlockE(2048, max_pool=True)
        self.fc = nn.Linear(POOL_CHANNELS, CLASSES)

    def prepare_for_inference(self, dtype: torch.dtype = torch.float32) -> None:
        """Freeze, fold the normalisations (to about 1e-6 of the unfolded network), convolve in `dtype`.

        Means over the grid and logits are float32 whatever `dtype` is.
        """
        self.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fold()
                module.to(dtype)

    def forward(self, pixels: Tensor, layers: frozenset[str]) -> dict[str, Tensor]:
        """(N, 3, 299, 299) float [0, 255] to {layer: (N, D)}; nothing beyond the last layer asked is run."""
        wanted = [name for name in LAYER_WIDTHS if name in layers]
        found: dict[str, Tensor] = {}

        def keep(name: str, activation: Tensor) -> bool:
            if name in layers:
                found[name] = activation.float().mean((2, 3))
            return len(found) == len(wanted)

        x = ((pixels - INPUT_OFFSET) / INPUT_SCALE).to(self.Conv2d_1a_3x3.conv.weight.dtype)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)
        if keep("64", x):
            return found
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        if keep("192", x):
            return found
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        if keep("768", x):
            return found
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        if keep("2048", x):
            return found
        pooled = x.float().mean((2, 3))
        if "logits_unbiased" in layers or "logits" in layers:
            unbiased = F.linear(pooled, self.fc.weight)
            if "logits_unbiased" in layers:
                found["logits_unbiased"] = unbiased
            if "logits" in layers:
                found["logits"] = unbiased + self.fc.bias
        return found


def _mean_pool(x: Tensor) -> Tensor:
    """3x3 average over the pixels that exist: padding is not counted."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
