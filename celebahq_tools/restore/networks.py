"""Our own restoration networks: one shape of network, of which the three tasks take different sizes.

An encoder and decoder with skips between them, as in RED-Net (Mao et al. 2016), made of residual blocks without
normalisation (Lim et al. 2017, EDSR). Space folded into channels at the entrance and unfolded at the exit (Shi et al.
2016, sub-pixel convolution) keeps most of the work at a coarse grid, where a processor is fast. The network
computes what is to be added to its input, or to the bicubic enlargement of it.

Legend: tensors are (N, C, H, W), channels-last memory is preferred. RGB in [0, 1]. `grid` is the pixel pitch on
which the network repeats: moving a picture by a multiple of it moves the result, any other step changes it a little.
"""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from celebahq_tools.errors import UsageError

TaskName = Literal["jpeg", "sr4", "joint"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)

RGB = 3
MAX_LEVELS = 4
MAX_CHANNELS = 512
MAX_BLOCKS = 64
SCALES = (1, 4)
FOLDS = (1, 2, 4)
# Convolutions of a freshly made network change their input little, so that training starts at the input's own error.
RESIDUAL_INIT = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """Size of a network.

    scale     1 or 4: how much larger the result is
    fold      edge of the squares of pixels that are folded into channels at the entrance: 1, 2 or 4
    channels  per level, finest first; each level halves the height and width
    blocks    residual blocks per level: on the way down and again on the way up, on the coarsest level once
    """

    scale: int
    fold: int
    channels: tuple[int, ...]
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.scale not in SCALES or self.fold not in FOLDS:
            raise UsageError(f"network scale {self.scale}, fold {self.fold}: expected one of {SCALES} and of {FOLDS}")
        if not 1 <= len(self.channels) <= MAX_LEVELS or len(self.blocks) != len(self.channels):
            raise UsageError(
                f"network has {len(self.channels)} channel counts and {len(self.blocks)} block counts: expected one "
                f"of each for 1 to {MAX_LEVELS} levels"
            )
        if not all(1 <= c <= MAX_CHANNELS for c in self.channels) or not all(0 <= b <= MAX_BLOCKS for b in self.blocks):
            raise UsageError(f"network of channels {self.channels} and blocks {self.blocks} is out of range")

    @property
    def grid(self) -> int:
        """Pixels; see the legend."""
        return self.fold * int(2 ** (len(self.channels) - 1))

    @property
    def reach_px(self) -> int:
        """Pixels around an input pixel beyond which nothing can change its result."""
        reach = 0.0
        pitch = self.fold
        reach += 2 * pitch  # the first and the last convolution
        last = len(self.channels) - 1
        for level, blocks in enumerate(self.blocks):
            passes = 1 if level == last else 2
            reach += 2 * blocks * passes * pitch
            if level < last:
                pitch *= 2
        # A pixel shares the square of the coarsest grid with up to grid - 1 others; bicubic looks 2 pixels far.
        return int(reach) + self.grid + 2


JPEG = NetworkConfig(scale=1, fold=2, channels=(64, 96, 128), blocks=(1, 1, 2))
SR4 = NetworkConfig(scale=4, fold=1, channels=(64,), blocks=(8,))
JOINT = NetworkConfig(scale=4, fold=1, channels=(64,), blocks=(12,))


def default_network(task: TaskName) -> NetworkConfig:
    """The size that is trained for a task."""
    return {"jpeg": JPEG, "sr4": SR4, "joint": JOINT}[task]


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)
        with torch.no_grad():
            self.conv2.weight.mul_(RESIDUAL_INIT)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, C, H, W)."""
        return cast(Tensor, x + self.conv2(functional.relu(self.conv1(x))))


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class RestoreNetwork(nn.Module):
    """(N, 3, H, W) float32 RGB [0, 1], H and W multiples of `grid` => (N, 3, sH, sW) float32, not clipped."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        folded = RGB * config.fold**2
        unfolded = RGB * (config.fold * config.scale) ** 2
        c = config.channels
        self.first = _conv(folded, c[0])
        self.encode = nn.ModuleList(_blocks(c[i], config.blocks[i]) for i in range(len(c)))
        self.down = nn.ModuleList(nn.Conv2d(c[i], c[i + 1], kernel_size=2, stride=2) for i in range(len(c) - 1))
        self.up = nn.ModuleList(nn.ConvTranspose2d(c[i + 1], c[i], kernel_size=2, stride=2) for i in range(len(c) - 1))
        self.decode = nn.ModuleList(_blocks(c[i], config.blocks[i]) for i in range(len(c) - 1))
        self.last = _conv(c[0], unfolded)
        with torch.no_grad():
            self.last.weight.mul_(RESIDUAL_INIT)

    def residual(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) => (N, 3, sH, sW): what is to be added, in the number format of the weights."""
        config = self.config
        x = functional.pixel_unshuffle(x, config.fold) if config.fold > 1 else x
        stream: Tensor = self.first(x.to(self.first.weight.dtype))
        entry = stream
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encode):
            stream = blocks(stream)
            if level < len(self.down):
                skips.append(stream)
                stream = self.down[level](stream)
        for level in reversed(range(len(self.up))):
            stream = self.decode[level](skips[level] + self.up[level](stream))
        stream = self.last(stream + entry)
        factor = config.fold * config.scale
        return functional.pixel_shuffle(stream, factor) if factor > 1 else stream

    def forward(self, x: Tensor) -> Tensor:
        """See the class. Base and sum stay in float32: bfloat16 has steps of a grey level near 1."""
        return self.base(x) + self.residual(x).float()

    def base(self, x: Tensor) -> Tensor:
        """What the residual is added to: the picture, or its bicubic enlargement, (N, 3, sH, sW) float32."""
        if self.config.scale == 1:
            return x
        return functional.interpolate(x, scale_factor=self.config.scale, mode="bicubic", align_corners=False)


def parameter_count(network: nn.Module) -> int:
    """How many numbers a network has."""
    return sum(parameter.numel() for parameter in network.parameters())
