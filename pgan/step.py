"""One step of D and one of G (Karras et al. 2018, appendix A.1).

D sees reals and fakes in one pass; the gradient penalty needs a second one. In G's step D's weights are frozen, so no
work is spent on their gradients. Effective weights are made once per step (`StepWeights`). With several processes every
loss is the mean over the global batch. Batches that do not fit are split, and their gradients added up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pgan import losses
from pgan.config import CLASS, LSGAN, Config
from pgan.draws import INTERPOLATES, LABELS, LATENTS, NOISE, numpy_generator, torch_generator
from pgan.networks.compiled import CompiledDiscriminator, CompiledGenerator
from pgan.networks.forms import FormPlan
from pgan.networks.progressive import ChannelNoise
from pgan.networks.weights import StepWeights
from pgan.parallel import World, any_process, average_gradients, mean_over_processes
from pgan.schedule import Stage, active_layers
from pgan.state import LossScale, TrainState
from pgan.walk import Iteration

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
D_STEP, G_STEP = 0, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Real:
    """This process's share of a batch of reals: images (n, 3, h, h) float32 in [-1, 1], labels (n, ...) or None."""

    images: Tensor
    labels: Tensor | None


@dataclass(slots=True)
class Sums:
    """Running sums of what a tick reports, on the device until asked for."""

    totals: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: Tensor, share: float) -> None:
        """Add a reading of a part of a batch, `share` of the whole."""
        self.totals[name] = self.totals.get(name, torch.zeros_like(value)) + value.detach() * share
        self.counts[name] = self.counts.get(name, 0.0) + share

    def means(self) -> dict[str, float]:
        """Mean of every quantity over steps and processes; starts afresh."""
        if not self.totals:
            return {}
        names = sorted(self.totals)
        stacked = torch.stack([self.totals[name] / self.counts[name] for name in names])
        values = mean_over_processes(stacked).tolist()
        self.totals.clear()
        self.counts.clear()
        return dict(zip(names, values, strict=True))


class Stepper:
    """Makes the steps of a run on its state."""

    def __init__(
        self, state: TrainState, *, forms: FormPlan, world: World, micro_batch: dict[int, int] | None = None
    ) -> None:
        """`micro_batch`: images at a time by resolution; a resolution that is not named takes its whole share."""
        self.state, self.forms, self.world = state, forms, world
        self.config: Config = state.config
        self.dtype = DTYPES[self.config.train.precision]
        self.sums = Sums()
        self._micro = micro_batch or {}
        self._g: nn.Module | CompiledGenerator = state.g
        self._d: nn.Module | CompiledDiscriminator = state.d
        if self.config.train.compile:
            self._g = CompiledGenerator(state.g, self.config.network.res, self.dtype)
            # Noise is drawn within a pass, and in a common pass G's loss differentiates D's graph once more.
            if self.config.loss.loss != LSGAN and not self.config.loss.same_pass:
                self._d = CompiledDiscriminator(state.d, self.config.network.res, self.dtype)

    def iterate(self, iteration: Iteration, reals: Iterator[Real]) -> None:
        """The steps of D and the step of G of one iteration; the state moves on to its end."""
        state, stage = self.state, iteration.stage
        layers = active_layers(stage.lod)
        if state.layers != layers:
            if state.layers is not None and self.config.optimizer.reset_on_growth:
                state.forget_moments()
            state.layers = layers
        for adam in (state.adam_g, state.adam_d):
            for group in adam.param_groups:
                group["lr"] = stage.lr
        if self.config.loss.same_pass:
            self._both(iteration.start.nimg, stage, next(reals))
        else:
            labels = None
            for nimg in iteration.d_starts():
                real = next(reals)
                labels = real.labels
                self._d_step(nimg, stage, real)
            self._g_step(iteration.start.nimg, stage, labels)
        self._average_weights()
        state.position = iteration.after

    # -- the three kinds of steps ------------------------------------------------------------------------------

    def _d_step(self, nimg: int, stage: Stage, real: Real) -> None:
        weights_g = StepWeights(self.dtype, frozen=True)
        weights_d = StepWeights(self.dtype)
        z, labels = self._latents(nimg, D_STEP, stage), self._fake_labels(nimg, stage, real.labels)
        amounts = self._amounts(nimg, stage)
        noise = self._noise(nimg, D_STEP)
        self._zero(self.state.d)
        for part in self._parts(stage):
            with torch.no_grad():
                fake = self._g(z[part], _at(labels, part), stage.lod, weights=weights_g, forms=self.forms)
            share = (part.stop - part.start) / len(z)
            own = real.images[part]
            scores = self._d(
                torch.cat([own, fake]), stage.lod, weights=weights_d, forms=self.forms, noise=noise, segments=2
            )
            loss = self._d_loss(scores, _at(real.labels, part), _at(labels, part), share)
            loss = loss + self._penalty(own, fake, amounts[part], stage, weights_d, noise, share)
            self.sums.add("loss_d", loss, share)
            (loss * (share * self.state.scale_d.value)).backward()
        weights_d.carry_back()
        self._update(self.state.d, self.state.adam_d, self.state.scale_d)

    def _g_step(self, nimg: int, stage: Stage, real_labels: Tensor | None) -> None:
        weights_g = StepWeights(self.dtype)
        weights_d = StepWeights(self.dtype, frozen=True)
        z, labels = self._latents(nimg, G_STEP, stage), self._fake_labels(nimg, stage, real_labels)
        noise = self._noise(nimg, G_STEP)
        self._zero(self.state.g)
        self.state.d.requires_grad_(False)
        for part in self._parts(stage):
            share = (part.stop - part.start) / len(z)
            fake = self._g(z[part], _at(labels, part), stage.lod, weights=weights_g, forms=self.forms)
            scores = self._d(fake, stage.lod, weights=weights_d, forms=self.forms, noise=noise)
            loss = self._g_loss(scores, _at(labels, part))
            self.sums.add("loss_g", loss, share)
            (loss * (share * self.state.scale_g.value)).backward()
        self.state.d.requires_grad_(True)
        weights_g.carry_back()
        self._update(self.state.g, self.state.adam_g, self.state.scale_g)

    def _both(self, nimg: int, stage: Stage, real: Real) -> None:
        """G and D from the same pass (sec. 6.5): one set of fakes, judged once, moves both."""
        weights_g, weights_d = StepWeights(self.dtype), StepWeights(self.dtype)
        z, labels = self._latents(nimg, D_STEP, stage), self._fake_labels(nimg, stage, real.labels)
        amounts, noise = self._amounts(nimg, stage), self._noise(nimg, D_STEP)
        scale_g, scale_d = self.state.scale_g.value, self.state.scale_d.value
        self._zero(self.state.d)
        self._zero(self.state.g)
        for part in self._parts(stage):
            share = (part.stop - part.start) / len(z)
            made = self._g(z[part], _at(labels, part), stage.lod, weights=weights_g, forms=self.forms)
            fake = made.detach().requires_grad_()
            own = real.images[part]
            scores = self._d(
                torch.cat([own, fake]), stage.lod, weights=weights_d, forms=self.forms, noise=noise, segments=2
            )
            loss_g = self._g_loss(scores.chunk(2)[1], _at(labels, part))
            (gradient,) = torch.autograd.grad(loss_g * (share * scale_g), fake, retain_graph=True)
            loss_d = self._d_loss(scores, _at(real.labels, part), _at(labels, part), share)
            loss_d = loss_d + self._penalty(own, fake.detach(), amounts[part], stage, weights_d, noise, share)
            self.sums.add("loss_d", loss_d, share)
            self.sums.add("loss_g", loss_g, share)
            (loss_d * (share * scale_d)).backward()
            made.backward(gradient)
        weights_d.carry_back()
        weights_g.carry_back()
        self._update(self.state.d, self.state.adam_d, self.state.scale_d)
        self._update(self.state.g, self.state.adam_g, self.state.scale_g)

    # -- losses ------------------------------------------------------------------------------------------------

    def _d_loss(self, scores: Tensor, labels: Tensor | None, fake_labels: Tensor | None, share: float) -> Tensor:
        settings = self.config.loss
        of_real, of_fake = scores.chunk(2)
        real, fake = of_real[:, 0], of_fake[:, 0]
        self.sums.add("score_real", real.mean(), share)
        self.sums.add("score_fake", fake.mean(), share)
        if settings.loss == LSGAN:
            loss = losses.lsgan_d(real, fake, settings.lsgan_fake_weight)
            self._follow(fake)
        else:
            loss = losses.wgan_d(real, fake)
        if settings.drift:
            drift = losses.drift(real, settings.drift)
            self.sums.add("drift", drift, share)
            loss = loss + drift
        if labels is not None and fake_labels is not None and settings.label_weight:
            kind = self.config.network.label_kind
            term = losses.label_loss(kind, of_real[:, 1:], labels)
            term = term + losses.label_loss(kind, of_fake[:, 1:], fake_labels)
            self.sums.add("loss_class" if kind == CLASS else "loss_label", term, share)
            loss = loss + settings.label_weight * term
        return loss

    def _g_loss(self, scores: Tensor, labels: Tensor | None) -> Tensor:
        settings = self.config.loss
        loss = losses.lsgan_g(scores[:, 0]) if settings.loss == LSGAN else losses.wgan_g(scores[:, 0])
        if labels is not None and settings.label_weight:
            term = losses.label_loss(self.config.network.label_kind, scores[:, 1:], labels)
            loss = loss + settings.label_weight * term
        return loss

    def _penalty(
        self,
        real: Tensor,
        fake: Tensor,
        amounts: Tensor,
        stage: Stage,
        weights: StepWeights,
        noise: ChannelNoise | None,
        share: float,
    ) -> Tensor:
        settings = self.config.loss
        if not settings.gp_lambda:
            return real.new_zeros(())
        mixed = losses.interpolate(real, fake, amounts).requires_grad_()
        scores = self.state.d(mixed, stage.lod, weights=weights, forms=self.forms, noise=noise)[:, 0]
        norms = losses.gradient_norms(scores, mixed, self.state.scale_d.value)
        self.sums.add("gradient_norm", norms.mean(), share)
        penalty = losses.gradient_penalty(norms, settings.gp_lambda, settings.gp_target)
        self.sums.add("gradient_penalty", penalty, share)
        return penalty

    def _follow(self, fake: Tensor) -> None:
        mean = float(mean_over_processes(fake.detach().mean()))
        self.state.fake_score = losses.running_score(self.state.fake_score, mean)

    # -- updates -----------------------------------------------------------------------------------------------

    def _update(self, network: nn.Module, adam: torch.optim.Adam, scale: LossScale) -> None:
        parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        average_gradients(list(parameters))
        if scale.value != 1.0 or self.dtype is torch.float16:
            torch._foreach_mul_(gradients, 1.0 / scale.value)
            largest = torch.stack([gradient.abs().amax() for gradient in gradients]).amax()
            overflowed = any_process(not bool(torch.isfinite(largest)), self.state.device)
            scale.update(overflowed)
            if overflowed:
                return
        adam.step()

    @torch.no_grad()
    def _average_weights(self) -> None:
        """The average of G's weights; Adam's last word is in them."""
        decay = self.config.optimizer.ema_decay
        averages, weights = list(self.state.ema.parameters()), list(self.state.g.parameters())
        pairs = [(a, w) for a, w in zip(averages, weights, strict=True) if w.numel()]
        torch._foreach_lerp_([a for a, _ in pairs], [w for _, w in pairs], 1.0 - decay)
        for average, buffer in zip(self.state.ema.buffers(), self.state.g.buffers(), strict=True):
            average.copy_(buffer)

    def _zero(self, network: nn.Module) -> None:
        for parameter in network.parameters():
            parameter.grad = None

    # -- draws: of the global batch, then this process's share -------------------------------------------------

    def _share(self, stage: Stage) -> int:
        return stage.batch // self.world.size

    def _own(self, drawn: Tensor, stage: Stage) -> Tensor:
        share = self._share(stage)
        return drawn[self.world.rank * share : (self.world.rank + 1) * share].to(self.state.device)

    def _latents(self, nimg: int, which: int, stage: Stage) -> Tensor:
        generator = torch_generator(self.config.train.seed, LATENTS, nimg, which)
        return self._own(torch.randn((stage.batch, self.config.network.latent), generator=generator), stage)

    def _amounts(self, nimg: int, stage: Stage) -> Tensor:
        generator = torch_generator(self.config.train.seed, INTERPOLATES, nimg)
        return self._own(torch.rand(stage.batch, generator=generator), stage)

    def _fake_labels(self, nimg: int, stage: Stage, real_labels: Tensor | None) -> Tensor | None:
        """Labels of the fakes: those of the reals, which have the data's frequencies."""
        if not self.config.label_size:
            return None
        if real_labels is not None:
            return real_labels
        drawn = numpy_generator(self.config.train.seed, LABELS, nimg).integers(self.config.label_size, size=stage.batch)
        return self._own(torch.from_numpy(drawn), stage)

    def _noise(self, nimg: int, which: int) -> ChannelNoise | None:
        if self.config.loss.loss != LSGAN or not self.config.loss.gdrop_strength:
            return None
        strength = losses.gdrop_strength(self.state.fake_score, self.config.loss.gdrop_strength)
        generator = torch_generator(self.config.train.seed, NOISE, nimg, which, self.world.rank)
        return ChannelNoise(strength, generator)

    def _parts(self, stage: Stage) -> list[slice]:
        share = self._share(stage)
        step = self._micro.get(stage.res, share)
        return [slice(start, min(start + step, share)) for start in range(0, share, step)]


def _at(labels: Tensor | None, part: slice) -> Tensor | None:
    return None if labels is None else labels[part]
