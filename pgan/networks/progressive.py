"""The networks of Progressive GAN (Karras et al. 2018, appendix A.1, table 2) and of table 1's rows.

Shapes: N batch, L latent, K classes, R final resolution; images (N, 3, h, h) at the present resolution h, which is
R / 2^floor(lod), in [-1, 1]. Layers above it are never evaluated.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgan.config import CONV, RELU, NetworkConfig
from pgan.networks.across import MinibatchDiscrimination, stddev_map
from pgan.networks.conditioning import add_label_table, latent_input
from pgan.networks.forms import PLAIN_FORM, Form, FormPlan
from pgan.networks.layers import BatchNorm, Conv, Dense, LayerNorm
from pgan.networks.operators import LEAK, LRELU_GAIN, down2, fade, pixel_norm, split_lod, up2
from pgan.networks.weights import StepWeights

COLOURS = 3
FIRST_LOG2 = 2
FIRST_PIXELS = 16
DENSE_GAIN = LRELU_GAIN / 4.0
"""Of G's first layer, as in the original: fan-in counts the 4x4 pixels too."""


class Activation(nn.Module):
    """What follows a convolution of G: bias, batch norm, activation, pixel norm, as configured.

    The bias is added by the convolution, which is handed `bias_for`.
    """

    def __init__(self, maps: int, config: NetworkConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(maps))
        self.norm = BatchNorm(maps) if config.g_batch_norm else None
        self.relu = config.g_activation == RELU
        self.eps = config.pixel_norm_eps if config.pixel_norm else None

    def bias_for(self, x: Tensor) -> Tensor:
        """(C,) in the dtype of `x`."""
        return self.bias.to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, h), bias added already -> the same."""
        if self.norm is not None:
            x = self.norm(x)
        x = F.relu(x, inplace=True) if self.relu else F.leaky_relu(x, LEAK, inplace=True)
        return x if self.eps is None else pixel_norm(x, self.eps)


class FirstBlockG(nn.Module):
    """(N, L + K) -> (N, nf(1), 4, 4)."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        maps = config.maps(1)
        self.dense = Dense(
            config.latent + config.label_size,
            maps * FIRST_PIXELS,
            equalized=config.equalized,
            generator=generator,
            gain=DENSE_GAIN,
            with_bias=False,
        )
        self.first = Activation(maps, config)
        self.conv = Conv(maps, maps, 3, equalized=config.equalized, generator=generator)
        self.second = Activation(maps, config)

    def forward(self, z: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """Dense layer to 4x4 pixels, then a convolution."""
        x = self.dense(z, weights).unflatten(1, (-1, 4, 4)) + self.first.bias_for(z)[:, None, None]
        x = self.first(form.arrange(x))
        return self.second(self.conv(x, self.second.bias_for(x), weights, form.channels_last))  # type: ignore[no-any-return]


class BlockG(nn.Module):
    """(N, nf(r - 2), h/2, h/2) -> (N, nf(r - 1), h, h) with h = 2^r."""

    def __init__(self, config: NetworkConfig, log2: int, generator: torch.Generator) -> None:
        super().__init__()
        maps_in, maps = config.maps(log2 - 2), config.maps(log2 - 1)
        self.conv0 = Conv(maps_in, maps, 3, equalized=config.equalized, generator=generator)
        self.first = Activation(maps, config)
        self.conv1 = Conv(maps, maps, 3, equalized=config.equalized, generator=generator)
        self.second = Activation(maps, config)

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """Twice the size, two convolutions."""
        x = form.arrange(x)
        x = self.first(self.conv0.up(x, self.first.bias_for(x), weights, form.channels_last, form.fused))
        return self.second(self.conv1(x, self.second.bias_for(x), weights, form.channels_last))  # type: ignore[no-any-return]


class ToRGB(nn.Module):
    """(N, nf(r - 1), h, h) -> (N, 3, h, h) float32; 1x1 convolution, gain 1."""

    def __init__(self, config: NetworkConfig, log2: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = Conv(config.maps(log2 - 1), COLOURS, 1, equalized=config.equalized, generator=generator, gain=1.0)
        self.bias = nn.Parameter(torch.zeros(COLOURS))
        self.tanh = config.tanh

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """Colours; linear, or through tanh."""
        image = self.conv(x, self.bias.to(x.dtype), weights, form.channels_last).float()
        return torch.tanh(image) if self.tanh else image


class Generator(nn.Module):
    """z (N, L) float32 and labels, (N,) int64 or (N, K) float32 -> images (N, 3, h, h) float32."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        logs = range(FIRST_LOG2 + 1, config.res_log2 + 1)
        self.first = FirstBlockG(config, generator)
        self.blocks = nn.ModuleDict({str(1 << r): BlockG(config, r, generator) for r in logs})
        self.to_rgb = nn.ModuleDict({str(1 << r): ToRGB(config, r, generator) for r in (FIRST_LOG2, *logs)})
        add_label_table(self, config)

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        lod: float = 0.0,
        *,
        weights: StepWeights | None = None,
        forms: FormPlan = PLAIN_FORM,
    ) -> Tensor:
        """Images at R / 2^floor(lod); a fractional lod fades the newest block in (fig. 2)."""
        last, amount = split_lod(lod, self.config.res)
        return self.at(z, labels, last, amount, weights, forms)

    def at(
        self,
        z: Tensor,
        labels: Tensor | None,
        last: int,
        amount: float | Tensor | None,
        weights: StepWeights | None,
        forms: FormPlan,
    ) -> Tensor:
        """`forward` at resolution `last`; `amount` of the coarser path is seen, None: it is not looked at."""
        dtype = torch.float32 if weights is None else weights.dtype
        x = latent_input(z, labels, self.config).to(dtype)
        x = self.first(x, weights, forms.at(4))
        res, before = 4, x
        while res < last:
            res, before = res * 2, x
            x = self.blocks[str(res)](x, weights, forms.at(res))
        image: Tensor = self.to_rgb[str(res)](x, weights, forms.at(res))
        if amount is None:
            return image
        return fade(image, up2(self.to_rgb[str(res // 2)](before, weights, forms.at(res // 2))), amount)


class FromRGB(nn.Module):
    """(N, 3, h, h) -> (N, nf(r - 1), h, h); 1x1 convolution."""

    def __init__(self, config: NetworkConfig, log2: int, generator: torch.Generator) -> None:
        super().__init__()
        maps = config.maps(log2 - 1)
        self.conv = Conv(COLOURS, maps, 1, equalized=config.equalized, generator=generator)
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """Features of the image's pixels."""
        x = form.arrange(x)
        y = self.conv(x, self.bias.to(x.dtype), weights, form.channels_last)
        return F.leaky_relu(y, LEAK, inplace=True)


class ConvD(nn.Module):
    """Convolution, bias, layer norm if configured, leaky ReLU; may halve the size."""

    def __init__(self, config: NetworkConfig, maps_in: int, maps: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = Conv(maps_in, maps, 3, equalized=config.equalized, generator=generator)
        self.bias = nn.Parameter(torch.zeros(maps))
        self.norm = LayerNorm(maps) if config.d_layer_norm else None
        self.down_in_conv = config.downsample == CONV

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """(N, I, h, h) -> (N, O, h, h)."""
        return self._activate(self.conv(x, self.bias.to(x.dtype), weights, form.channels_last))

    def down(self, x: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """(N, I, h, h) -> (N, O, h/2, h/2)."""
        if not self.down_in_conv:
            return down2(self(x, weights, form))
        return self._activate(self.conv.down(x, self.bias.to(x.dtype), weights, form.channels_last, form.fused))

    def _activate(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x if self.norm is None else self.norm(x), LEAK, inplace=True)


class BlockD(nn.Module):
    """(N, nf(r - 1), h, h) -> (N, nf(r - 2), h/2, h/2) with h = 2^r."""

    def __init__(self, config: NetworkConfig, log2: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv0 = ConvD(config, config.maps(log2 - 1), config.maps(log2 - 1), generator)
        self.conv1 = ConvD(config, config.maps(log2 - 1), config.maps(log2 - 2), generator)

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form, noise: "ChannelNoise | None") -> Tensor:
        """Two convolutions, half the size."""
        x = self.conv0(noisy(x, noise), weights, form)
        return self.conv1.down(noisy(x, noise), weights, form)


class LastBlockD(nn.Module):
    """(N, nf(1), 4, 4) -> (N, 1 + K) float32."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        maps, units = config.maps(1), config.maps(0)
        self.group = config.mbstd_group
        self.conv = ConvD(config, maps + (1 if self.group else 0), maps, generator)
        self.dense0 = Dense(maps * FIRST_PIXELS, units, equalized=config.equalized, generator=generator)
        kernels = config.mbdisc_kernels
        self.mbdisc = MinibatchDiscrimination(units, kernels, generator=generator) if kernels else None
        self.dense1 = Dense(
            units + kernels, 1 + config.label_size, equalized=config.equalized, generator=generator, gain=1.0
        )

    def forward(
        self, x: Tensor, weights: StepWeights | None, form: Form, noise: "ChannelNoise | None", segments: int
    ) -> Tensor:
        """Scores and class logits."""
        if self.group:
            x = stddev_map(x, self.group, segments)
        x = self.conv(noisy(form.arrange(x), noise), weights, form)
        x = noisy(x, noise).contiguous().flatten(1)
        x = F.leaky_relu(self.dense0(x, weights), LEAK)
        if self.mbdisc is not None:
            x = self.mbdisc(x, segments)
        return self.dense1(x, weights).float()  # type: ignore[no-any-return]


class ChannelNoise:
    """Multiplicative Gaussian noise per sample and channel, N(1, strength^2) (appendix B)."""

    def __init__(self, strength: float, generator: torch.Generator) -> None:
        self.strength = strength
        self._generator = generator

    def factors(self, x: Tensor) -> Tensor:
        """(N, C, 1, 1) for activations (N, C, h, h)."""
        shape = (len(x), x.shape[1], 1, 1)
        drawn = torch.randn(shape, generator=self._generator, device=self._generator.device)
        return (1.0 + self.strength * drawn).to(x)


def noisy(x: Tensor, noise: ChannelNoise | None) -> Tensor:
    """`x` under multiplicative noise, if there is any."""
    return x if noise is None else x * noise.factors(x)


class Discriminator(nn.Module):
    """Images (N, 3, h, h) -> scores and class logits (N, 1 + K) float32."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        logs = range(FIRST_LOG2 + 1, config.res_log2 + 1)
        self.from_rgb = nn.ModuleDict({str(1 << r): FromRGB(config, r, generator) for r in (FIRST_LOG2, *logs)})
        self.blocks = nn.ModuleDict({str(1 << r): BlockD(config, r, generator) for r in logs})
        self.last = LastBlockD(config, generator)

    def forward(
        self,
        images: Tensor,
        lod: float = 0.0,
        *,
        weights: StepWeights | None = None,
        forms: FormPlan = PLAIN_FORM,
        noise: ChannelNoise | None = None,
        segments: int = 1,
    ) -> Tensor:
        """Judge images at R / 2^floor(lod); a fractional lod fades the newest block in.

        segments  how many batches of equal size are in `images`, one after the other; layers that look across
                  the batch keep them apart
        """
        res, amount = split_lod(lod, self.config.res)
        return self.at(images, res, amount, weights, forms, noise, segments)

    def at(
        self,
        images: Tensor,
        res: int,
        amount: float | Tensor | None,
        weights: StepWeights | None,
        forms: FormPlan,
        noise: ChannelNoise | None,
        segments: int,
    ) -> Tensor:
        """`forward` at resolution `res`; `amount` of the coarser path is seen, None: it is not looked at."""
        images = images.to(torch.float32 if weights is None else weights.dtype)
        x = self.from_rgb[str(res)](images, weights, forms.at(res))
        newest = res
        while res > 4:
            x = self.blocks[str(res)](x, weights, forms.at(res), noise)
            res //= 2
            if amount is not None and res * 2 == newest:
                x = fade(x, self.from_rgb[str(res)](down2(images), weights, forms.at(res)), amount)
        return self.last(x, weights, forms.at(4), noise, segments)  # type: ignore[no-any-return]
