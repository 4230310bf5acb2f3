"""Loss terms as pure functions of scores, logits and gradient norms; float32 scalars out.

Shapes: scores (N,), D's outputs for labels (N, K); labels (N,) int64 classes or (N, K) float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pgan.config import ATTRIBUTES, CLASS

GDROP_DECAY = 0.9
GDROP_OFFSET = 0.5


def wgan_d(real: Tensor, fake: Tensor) -> Tensor:
    """Wasserstein critic: E D(fake) - E D(real) (Arjovsky et al. 2017, eq. 2, negated)."""
    return fake.mean() - real.mean()


def wgan_g(fake: Tensor) -> Tensor:
    """-E D(fake)."""
    return -fake.mean()


def drift(real: Tensor, weight: float) -> Tensor:
    """weight * E D(real)^2 keeps scores near zero (Karras et al. 2018, appendix A.1)."""
    return weight * real.square().mean()


def gradient_penalty(norms: Tensor, weight: float, target: float) -> Tensor:
    """weight * E (|grad D| - target)^2 / target^2 (Gulrajani et al. 2017, eq. 3; sec. 6.5 for the target)."""
    return weight / target**2 * (norms - target).square().mean()


def lsgan_d(real: Tensor, fake: Tensor, fake_weight: float) -> Tensor:
    """Least squares (appendix B): real scores to 0, fake scores to 1."""
    return real.square().mean() + fake_weight * (fake - 1.0).square().mean()


def lsgan_g(fake: Tensor) -> Tensor:
    """Fake scores to 0."""
    return fake.square().mean()


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy of AC-GAN (Odena et al. 2017, eq. 3)."""
    return F.cross_entropy(logits, labels)


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """AC-GAN's term for K attributes that are 0 or 1: binary cross-entropy, the mean over attributes."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def value_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """AC-GAN's term for K standardised values: half the squared error (a Gaussian of deviation 1), their mean."""
    return 0.5 * F.mse_loss(outputs, labels)


def label_loss(kind: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """The term of the labels' kind: 'class', 'attributes' or 'continuous'."""
    if kind == CLASS:
        return class_loss(outputs, labels)
    return attribute_loss(outputs, labels) if kind == ATTRIBUTES else value_loss(outputs, labels)


def interpolate(real: Tensor, fake: Tensor, amounts: Tensor) -> Tensor:
    """Points between real and fake images: (N, C, h, h), amounts (N,) in [0, 1]."""
    return torch.lerp(real, fake, amounts[:, None, None, None])


def gradient_norms(scores: Tensor, images: Tensor, scale: float = 1.0) -> Tensor:
    """L2 norm of d scores / d images per image, (N,), differentiable again.

    scale  the scores are multiplied by it on the way, so that half-precision gradients do not vanish
    """
    (gradients,) = torch.autograd.grad((scores * scale).sum(), images, create_graph=True)
    return (gradients.float() / scale).flatten(1).square().sum(dim=1).sqrt()


def gdrop_strength(mean_fake_score: float, strength: float) -> float:
    """strength * max(d - 0.5, 0)^2 for the running mean d of D(fake) (appendix B)."""
    return float(strength * max(mean_fake_score - GDROP_OFFSET, 0.0) ** 2)


def running_score(before: float, mean_fake_score: float) -> float:
    """The running mean of D(fake) that steers the noise."""
    return GDROP_DECAY * before + (1.0 - GDROP_DECAY) * mean_fake_score
