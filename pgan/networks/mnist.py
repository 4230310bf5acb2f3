"""The networks of the discrete mode test (Karras et al. 2018, appendix E, after Metz et al. 2017).

Stages count the doublings from 4x4: r = log2(h) - 2. A stage has F / 2^(r - 1) maps in G and 1 / K of that in D, which
mirrors G; F is `mnist_maps` (64), K `mnist_cripple` (2 or 4).

`g_batch_norm` stands for batch norm in both networks, after every convolution but toRGB. Without it, `equalized` and
`pixel_norm` (in G only) take its place as in the progressive family. `mbstd_group` gives D one more map before its
dense layer. The leaky ReLU is the progressive family's.
Networks that do not grow have one toRGB and no fromRGB; those that grow have both at every resolution.

Shapes: N batch, L latent, K classes, R final resolution; images (N, 3, h, h) with h = R / 2^floor(lod), in [-1, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgan.config import CONV, NetworkConfig
from pgan.networks.across import stddev_map
from pgan.networks.conditioning import add_label_table, latent_input
from pgan.networks.forms import PLAIN_FORM, Form, FormPlan
from pgan.networks.layers import BatchNorm, Conv, Dense
from pgan.networks.operators import LEAK, down2, fade, split_lod, up2
from pgan.networks.progressive import COLOURS, FIRST_LOG2, FIRST_PIXELS, Activation, ChannelNoise, noisy
from pgan.networks.weights import StepWeights


def maps_g(config: NetworkConfig, log2: int) -> int:
    """Feature maps of G at 2^log2 pixels: F at 4x4, then F / 2^(r - 1)."""
    return max(config.mnist_maps >> max(log2 - FIRST_LOG2 - 1, 0), 1)


def maps_d(config: NetworkConfig, log2: int) -> int:
    """Feature maps of D's convolution at 2^log2 pixels: F / 2^(r - 1) / K."""
    return max(maps_g(config, log2) // config.mnist_cripple, 1)


def resolutions(config: NetworkConfig, *, grown: bool) -> tuple[int, ...]:
    """log2 of the resolutions at which there are toRGB layers: all if the networks grow, else the final one."""
    return tuple(range(FIRST_LOG2, config.res_log2 + 1)) if grown else (config.res_log2,)


class StageG(nn.Module):
    """(N, I, h/2, h/2) -> (N, O, h, h): twice the size, a 3x3 convolution."""

    def __init__(self, config: NetworkConfig, log2: int, generator: torch.Generator) -> None:
        super().__init__()
        maps = maps_g(config, log2)
        self.conv = Conv(maps_g(config, log2 - 1), maps, 3, equalized=config.equalized, generator=generator)
        self.after = Activation(maps, config)

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """Features at twice the size."""
        x = form.arrange(x)
        return self.after(self.conv.up(x, self.after.bias_for(x), weights, form.channels_last, form.fused))  # type: ignore[no-any-return]


class MnistToRGB(nn.Module):
    """(N, C, h, h) -> (N, 3, h, h) float32; 3x3 convolution, gain 1."""

    def __init__(self, config: NetworkConfig, log2: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = Conv(maps_g(config, log2), COLOURS, 3, equalized=config.equalized, generator=generator, gain=1.0)
        self.bias = nn.Parameter(torch.zeros(COLOURS))
        self.tanh = config.tanh

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form) -> Tensor:
        """Colours; linear, or through tanh."""
        image = self.conv(form.arrange(x), self.bias.to(x.dtype), weights, form.channels_last).float()
        return torch.tanh(image) if self.tanh else image


class MnistGenerator(nn.Module):
    """z (N, L) float32 and labels, (N,) int64 or (N, K) float32 -> images (N, 3, h, h) float32."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator, *, grown: bool) -> None:
        super().__init__()
        self.config = config
        maps = maps_g(config, FIRST_LOG2)
        # A 4x4 'full' convolution of a 1x1 latent is a dense layer to 4x4 pixels: its fan-in is the latent's size.
        self.dense = Dense(
            config.latent + config.label_size,
            maps * FIRST_PIXELS,
            equalized=config.equalized,
            generator=generator,
            with_bias=False,
        )
        self.after = Activation(maps, config)
        logs = range(FIRST_LOG2 + 1, config.res_log2 + 1)
        self.stages = nn.ModuleDict({str(1 << r): StageG(config, r, generator) for r in logs})
        self.to_rgb = nn.ModuleDict(
            {str(1 << r): MnistToRGB(config, r, generator) for r in resolutions(config, grown=grown)}
        )
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
        """Images at R / 2^floor(lod); a fractional lod fades the newest stage in (fig. 2)."""
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
        x = latent_input(z, labels, self.config).to(torch.float32 if weights is None else weights.dtype)
        x = self.dense(x, weights).unflatten(1, (-1, 4, 4)) + self.after.bias_for(x)[:, None, None]
        x = self.after(forms.at(4).arrange(x))
        res, before = 4, x
        while res < last:
            res, before = res * 2, x
            x = self.stages[str(res)](x, weights, forms.at(res))
        image: Tensor = self.to_rgb[str(res)](x, weights, forms.at(res))
        if amount is None:
            return image
        return fade(image, up2(self.to_rgb[str(res // 2)](before, weights, forms.at(res // 2))), amount)


class ConvStep(nn.Module):
    """Convolution of D, batch norm if configured, leaky ReLU; may halve the size."""

    def __init__(self, config: NetworkConfig, maps_in: int, maps: int, kernel: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = Conv(maps_in, maps, kernel, equalized=config.equalized, generator=generator)
        self.bias = nn.Parameter(torch.zeros(maps))
        self.norm = BatchNorm(maps) if config.g_batch_norm else None
        self.down_in_conv = config.downsample == CONV

    def forward(self, x: Tensor, weights: StepWeights | None, form: Form, segments: int) -> Tensor:
        """(N, I, h, h) -> (N, O, h, h)."""
        x = form.arrange(x)
        return self._activate(self.conv(x, self.bias.to(x.dtype), weights, form.channels_last), segments)

    def down(self, x: Tensor, weights: StepWeights | None, form: Form, segments: int) -> Tensor:
        """(N, I, h, h) -> (N, O, h/2, h/2)."""
        if not self.down_in_conv:
            return down2(self(x, weights, form, segments))
        x = form.arrange(x)
        y = self.conv.down(x, self.bias.to(x.dtype), weights, form.channels_last, form.fused)
        return self._activate(y, segments)

    def _activate(self, x: Tensor, segments: int) -> Tensor:
        if self.norm is not None:
            x = torch.cat([self.norm(part) for part in x.chunk(segments)])
        return F.leaky_relu(x, LEAK, inplace=True)


class MnistDiscriminator(nn.Module):
    """Images (N, 3, h, h) -> scores and class logits (N, 1 + K) float32."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator, *, grown: bool) -> None:
        super().__init__()
        self.config = config
        logs = range(FIRST_LOG2 + 1, config.res_log2 + 1)
        finest = maps_d(config, config.res_log2)
        enters = {r: maps_d(config, r + 1) if r < config.res_log2 else finest for r in (FIRST_LOG2, *logs)}
        self.from_rgb = nn.ModuleDict()
        if grown:
            self.from_rgb.update(
                {str(1 << r): ConvStep(config, COLOURS, maps, 1, generator) for r, maps in enters.items()}
            )
        else:
            enters[config.res_log2] = COLOURS
        self.stages = nn.ModuleDict(
            {str(1 << r): ConvStep(config, enters[r], maps_d(config, r), 3, generator) for r in logs}
        )
        self.group = config.mbstd_group
        maps = enters[FIRST_LOG2] + (1 if self.group else 0)
        self.dense = Dense(
            maps * FIRST_PIXELS, 1 + config.label_size, equalized=config.equalized, generator=generator, gain=1.0
        )

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
        """Judge images at R / 2^floor(lod); a fractional lod fades the newest stage in.

        segments  how many batches of equal size are in `images`, one after the other; batch norm and minibatch
                  stddev keep them apart
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
        x = self._enter(images, res, weights, forms, segments)
        newest = res
        while res > 4:
            x = self.stages[str(res)].down(noisy(x, noise), weights, forms.at(res), segments)  # type: ignore[operator]
            res //= 2
            if amount is not None and res * 2 == newest:
                x = fade(x, self._enter(down2(images), res, weights, forms, segments), amount)
        if self.group:
            x = stddev_map(x, self.group, segments)
        return self.dense(noisy(x, noise).contiguous().flatten(1), weights).float()  # type: ignore[no-any-return]

    def _enter(self, images: Tensor, res: int, weights: StepWeights | None, forms: FormPlan, segments: int) -> Tensor:
        if not self.from_rgb:
            return images
        return self.from_rgb[str(res)](images, weights, forms.at(res), segments)  # type: ignore[no-any-return]
