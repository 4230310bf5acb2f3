"""Loss terms against closed forms and finite differences."""

import math

import pytest
import torch

from pgan import losses

REAL, FAKE = torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.5])


def test_wgan_terms() -> None:
    assert losses.wgan_d(REAL, FAKE).item() == pytest.approx(-0.75 - 2.0)
    assert losses.wgan_g(FAKE).item() == pytest.approx(0.75)
    assert losses.drift(REAL, 0.001).item() == pytest.approx(0.001 * 5.0)


def test_lsgan_terms() -> None:
    assert losses.lsgan_d(REAL, FAKE, 0.1).item() == pytest.approx(5.0 + 0.1 * (9.0 + 0.25) / 2)
    assert losses.lsgan_g(FAKE).item() == pytest.approx((4.0 + 0.25) / 2)


@pytest.mark.parametrize("target", [1.0, 750.0])
def test_gradient_penalty_of_known_norms(target: float) -> None:
    norms = torch.tensor([target, target + 2.0])
    assert losses.gradient_penalty(norms, 10.0, target).item() == pytest.approx(10.0 * 2.0 / target**2)


def test_gradient_norms_of_a_linear_critic_and_their_derivative() -> None:
    w = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    images = torch.randn(2, 3, 4, 4).requires_grad_()
    for scale in (1.0, 1024.0):
        norms = losses.gradient_norms((images * w).flatten(1).sum(dim=1), images, scale)
        torch.testing.assert_close(norms, w.detach().norm().expand(2))
        (slope,) = torch.autograd.grad(norms.sum(), w)
        torch.testing.assert_close(slope, 2 * w.detach() / w.detach().norm())


def test_gradient_penalty_against_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    last = torch.randn(5, generator=generator, dtype=torch.float64)
    points = torch.randn(3, 3, 2, 2, generator=generator, dtype=torch.float64)

    def penalty(w: torch.Tensor) -> torch.Tensor:
        images = points.clone().requires_grad_()
        scores = torch.tanh(images.flatten(1) @ w.T) @ last
        (gradients,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
        return losses.gradient_penalty(gradients.flatten(1).norm(dim=1), 10.0, 1.0)

    assert torch.autograd.gradcheck(penalty, (weight.requires_grad_(),))


def test_interpolates_lie_between() -> None:
    real, fake = torch.ones(3, 3, 2, 2), torch.zeros(3, 3, 2, 2)
    mixed = losses.interpolate(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed[:, 0, 0, 0].tolist() == [1.0, 0.75, 0.0]


def test_attribute_loss_is_binary_cross_entropy() -> None:
    logits = torch.tensor([[math.log(3.0), -math.log(3.0)], [0.0, math.log(3.0)]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = (2 * -math.log(0.75) + math.log(2.0) - math.log(0.25)) / 4
    assert losses.attribute_loss(logits, labels).item() == pytest.approx(expected)
    assert losses.label_loss("attributes", logits, labels).item() == pytest.approx(expected)


def test_value_loss_is_half_the_squared_error() -> None:
    outputs, labels = torch.tensor([[1.0, 2.0], [0.0, -3.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert losses.value_loss(outputs, labels).item() == pytest.approx(0.5 * (1 + 4 + 0 + 16) / 4)
    assert losses.label_loss("continuous", outputs, labels).item() == pytest.approx(0.5 * 21 / 4)


def test_label_terms_have_the_slopes_of_their_formulas() -> None:
    logits = torch.tensor([[0.3, -1.2]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    (slope,) = torch.autograd.grad(losses.attribute_loss(logits, labels), logits)
    torch.testing.assert_close(slope, (torch.sigmoid(logits.detach()) - labels) / 2)
    (slope,) = torch.autograd.grad(losses.value_loss(logits, labels), logits)
    torch.testing.assert_close(slope, (logits.detach() - labels) / 2)


def test_class_loss_is_cross_entropy() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert losses.class_loss(logits, torch.tensor([1])).item() == pytest.approx(-math.log(0.75))


def test_noise_strength_follows_fake_scores() -> None:
    assert losses.gdrop_strength(0.5, 0.2) == 0.0
    assert losses.gdrop_strength(0.2, 0.2) == 0.0
    assert losses.gdrop_strength(1.5, 0.2) == pytest.approx(0.2)
    assert losses.running_score(1.0, 2.0) == pytest.approx(1.1)
