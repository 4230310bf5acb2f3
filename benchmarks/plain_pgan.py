"""A plain Progressive GAN step, as ports to PyTorch commonly write it; for comparison only, written from the paper.

Separate upsampling and convolution, contiguous NCHW, weights scaled in every pass, three passes of D (reals,
fakes, interpolates), D not frozen in the step of G, ordinary Adam, the average of G by a loop (Karras et al. 2018,
appendix A.1).
Shapes: N batch, L latent; images (N, 3, h, h) in [-1, 1] at one fixed resolution h.
"""

import contextlib
import copy
import itertools
import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
EPS = 1e-8
ROOT2 = math.sqrt(2.0)


class Equalized(nn.Module):
    """A convolution or dense layer whose weight is scaled in every pass (sec. 4.1), without bias."""

    def __init__(self, shape: tuple[int, ...], gain: float = ROOT2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.scale = gain / math.sqrt(math.prod(shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, ...) -> (N, O, ...)."""
        weight = self.weight * self.scale
        return F.conv2d(x, weight, padding=weight.shape[2] // 2) if weight.ndim == 4 else F.linear(x, weight)


class Biased(nn.Module):
    """An equalised layer and its bias."""

    def __init__(self, shape: tuple[int, ...], gain: float = ROOT2) -> None:
        super().__init__()
        self.layer = Equalized(shape, gain)
        self.bias = nn.Parameter(torch.zeros(shape[0]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, ...) -> (N, O, ...)."""
        return self.add_bias(self.layer(x))

    def add_bias(self, x: Tensor) -> Tensor:
        """Bias per channel."""
        return x + (self.bias[:, None, None] if x.ndim == 4 else self.bias)


def pixel_norm(x: Tensor) -> Tensor:
    """Sec. 4.2."""
    return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + EPS)


def activate_g(x: Tensor) -> Tensor:
    """Leaky ReLU and pixel norm."""
    return pixel_norm(F.leaky_relu(x, LEAK))


class PlainGenerator(nn.Module):
    """z (N, L) -> (N, 3, h, h); `maps` of the blocks at 4, 8, ... h."""

    def __init__(self, latent: int, maps: list[int]) -> None:
        super().__init__()
        self.dense = Equalized((maps[0] * 16, latent), ROOT2 / 4.0)
        self.dense_bias = nn.Parameter(torch.zeros(maps[0]))
        self.conv = Biased((maps[0], maps[0], 3, 3))
        pairs = list(itertools.pairwise(maps))
        self.up = nn.ModuleList(Biased((after, before, 3, 3)) for before, after in pairs)
        self.flat = nn.ModuleList(Biased((after, after, 3, 3)) for _, after in pairs)
        self.to_rgb = Biased((3, maps[-1], 1, 1), 1.0)

    def forward(self, z: Tensor) -> Tensor:
        """Images."""
        x = self.dense(pixel_norm(z)).view(len(z), -1, 4, 4) + self.dense_bias[:, None, None]
        x = activate_g(self.conv(activate_g(x)))
        for up, flat in zip(self.up, self.flat, strict=True):
            x = activate_g(up(F.interpolate(x, scale_factor=2, mode="nearest")))
            x = activate_g(flat(x))
        return self.to_rgb(x)  # type: ignore[no-any-return]


class PlainDiscriminator(nn.Module):
    """(N, 3, h, h) -> scores (N,)."""

    def __init__(self, maps: list[int], group: int, downsample: str) -> None:
        super().__init__()
        self.group, self.downsample = group, downsample
        pairs = list(itertools.pairwise(maps))[::-1]
        self.from_rgb = Biased((maps[-1], 3, 1, 1))
        self.flat = nn.ModuleList(Biased((before, before, 3, 3)) for _, before in pairs)
        self.down = nn.ModuleList(Biased((after, before, 3, 3)) for after, before in pairs)
        self.conv = Biased((maps[0], maps[0] + 1, 3, 3))
        self.dense0 = Biased((maps[0], maps[0] * 16))
        self.dense1 = Biased((1, maps[0]), 1.0)

    def forward(self, images: Tensor) -> Tensor:
        """Scores."""
        x = F.leaky_relu(self.from_rgb(images), LEAK)
        for flat, down in zip(self.flat, self.down, strict=True):
            x = F.leaky_relu(flat(x), LEAK)
            if self.downsample == "pool":
                x = F.avg_pool2d(F.leaky_relu(down(x), LEAK), 2)
            else:
                x = F.leaky_relu(down.add_bias(F.avg_pool2d(down.layer(x), 2)), LEAK)
        x = F.leaky_relu(self.conv(self.add_stddev(x)), LEAK)
        x = F.leaky_relu(self.dense0(x.flatten(1)), LEAK)
        return self.dense1(x)[:, 0]  # type: ignore[no-any-return]

    def add_stddev(self, x: Tensor) -> Tensor:
        """Minibatch stddev over neighbours in the batch."""
        size = min(self.group, len(x))
        y = x.float().view(-1, size, *x.shape[1:])
        y = torch.sqrt(y.var(dim=1, unbiased=False) + EPS).mean(dim=(1, 2, 3))
        plane = y.repeat_interleave(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return torch.cat([x, plane.to(x.dtype)], dim=1)


class PlainTrainer:
    """One step at a time: D, then G."""

    def __init__(self, latent: int, maps: list[int], *, group: int, downsample: str, bf16: bool) -> None:
        self.bf16 = bf16
        self.g = PlainGenerator(latent, maps)
        self.d = PlainDiscriminator(maps, group, downsample)
        self.average = copy.deepcopy(self.g)
        self.g_adam = torch.optim.Adam(self.g.parameters(), lr=1e-3, betas=(0.0, 0.99), eps=1e-8)
        self.d_adam = torch.optim.Adam(self.d.parameters(), lr=1e-3, betas=(0.0, 0.99), eps=1e-8)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """bfloat16 by autocast, or nothing."""
        with torch.autocast("cpu", torch.bfloat16) if self.bf16 else contextlib.nullcontext():
            yield

    def d_loss(self, reals: Tensor, z: Tensor, mix: Tensor) -> Tensor:
        """WGAN-GP with drift; `mix` (N, 1, 1, 1) in [0, 1] chooses the interpolates."""
        with self.precision():
            with torch.no_grad():
                fakes = self.g(z).float()
            real_scores, fake_scores = self.d(reals).float(), self.d(fakes).float()
            mixed = (reals + (fakes - reals) * mix).requires_grad_()
            mixed_scores = self.d(mixed).float()
        (gradient,) = torch.autograd.grad(mixed_scores.sum(), mixed, create_graph=True)
        norms = torch.sqrt(gradient.square().sum(dim=(1, 2, 3)))
        loss = fake_scores - real_scores + 0.001 * real_scores.square() + 10.0 * (norms - 1.0).square()
        return loss.mean()

    def g_loss(self, z: Tensor) -> Tensor:
        """Minus the scores of fakes."""
        with self.precision():
            return -self.d(self.g(z)).float().mean()

    def step(self, reals: Tensor, z_d: Tensor, z_g: Tensor, mix: Tensor) -> tuple[float, float]:
        """Update D, then G, then the average; returns both losses."""
        d_loss = self.d_loss(reals, z_d, mix)
        self.d_adam.zero_grad()
        d_loss.backward()  # type: ignore[no-untyped-call]
        self.d_adam.step()
        g_loss = self.g_loss(z_g)
        self.g_adam.zero_grad()
        g_loss.backward()  # type: ignore[no-untyped-call]
        self.g_adam.step()
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.g.parameters(), strict=True):
                slow.mul_(0.999).add_(fast, alpha=0.001)
        return float(d_loss.detach()), float(g_loss.detach())

    def load(self, g: Mapping[str, Tensor], d: Mapping[str, Tensor], resolutions: list[int]) -> None:
        """Take the weights of the trainer's networks (their state dicts) for resolutions 4, 8, ... h."""
        last = resolutions[-1]
        names = {"dense.weight": "first.dense.weight", "dense_bias": "first.first.bias"}
        names |= _layer("conv", "first.conv", "first.second.bias") | _layer(
            "to_rgb", f"to_rgb.{last}.conv", f"to_rgb.{last}.bias"
        )
        for index, res in enumerate(resolutions[1:]):
            names |= _layer(f"up.{index}", f"blocks.{res}.conv0", f"blocks.{res}.first.bias")
            names |= _layer(f"flat.{index}", f"blocks.{res}.conv1", f"blocks.{res}.second.bias")
        self.g.load_state_dict({own: g[other] for own, other in names.items()})
        self.average.load_state_dict(self.g.state_dict())
        names = _layer("from_rgb", f"from_rgb.{last}.conv", f"from_rgb.{last}.bias")
        for index, res in enumerate(resolutions[:0:-1]):
            names |= _layer(f"flat.{index}", f"blocks.{res}.conv0.conv", f"blocks.{res}.conv0.bias")
            names |= _layer(f"down.{index}", f"blocks.{res}.conv1.conv", f"blocks.{res}.conv1.bias")
        names |= _layer("conv", "last.conv.conv", "last.conv.bias")
        names |= _layer("dense0", "last.dense0", "last.dense0.bias") | _layer(
            "dense1", "last.dense1", "last.dense1.bias"
        )
        self.d.load_state_dict({own: d[other] for own, other in names.items()})


def _layer(own: str, weight: str, bias: str) -> dict[str, str]:
    return {f"{own}.layer.weight": f"{weight}.weight", f"{own}.bias": bias}
