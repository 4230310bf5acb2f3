"""Operators, layers and the progressive networks against closed forms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pgan.config import NetworkConfig
from pgan.networks.across import MinibatchDiscrimination, stddev_map
from pgan.networks.forms import PLAIN_FORM, FormPlan
from pgan.networks.layers import BatchNorm, Conv, Dense
from pgan.networks.operators import down2, fade_images, group_size, layer_norm, pixel_norm, up2
from pgan.networks.progressive import Discriminator, Generator
from pgan.networks.weights import StepWeights

FUSED = FormPlan(fused_from=0, channels_last_from=None)
SMALL = NetworkConfig(res=32, fmap_base=128, fmap_max=16, latent=16)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=draws(seed))


@pytest.mark.parametrize("channels_last", [False, True])
def test_fused_up_and_down_equal_the_separate_operations(channels_last: bool) -> None:
    conv = Conv(5, 7, 3, equalized=True, generator=draws())
    x, bias = normal(2, 5, 8, 8, seed=1), normal(7, seed=2)
    scaled = conv.weight * math.sqrt(2.0 / 45.0)
    up = F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), scaled, bias, padding=1)
    full = F.conv2d(x, scaled, bias, padding=1)
    down = full.reshape(2, 7, 4, 2, 4, 2).mean(dim=(3, 5))
    for fused in (False, True):
        torch.testing.assert_close(conv.up(x, bias, None, channels_last, fused), up, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(conv.down(x, bias, None, channels_last, fused), down, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eps", [1e-8, 1e-4])
def test_pixel_norm(eps: float) -> None:
    x = normal(2, 6, 3, 3).numpy().astype(np.float64)
    expected = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + eps)
    np.testing.assert_allclose(pixel_norm(torch.from_numpy(x).float(), eps).numpy(), expected, rtol=2e-6)
    half = pixel_norm(torch.from_numpy(x).bfloat16(), eps)
    assert half.dtype == torch.bfloat16
    np.testing.assert_allclose(half.float().numpy(), expected, rtol=0.03, atol=0.01)


def test_group_sizes_divide_the_batch() -> None:
    sizes = {(4, 16): 4, (16, 3): 3, (4, 6): 3, (4, 14): 2, (16, 14): 14, (4, 5): 1, (4, 1): 1}
    assert {case: group_size(*case) for case in sizes} == sizes


@pytest.mark.parametrize(("limit", "batch", "size"), [(4, 8, 4), (16, 3, 3), (4, 6, 3), (2, 5, 1)])
def test_minibatch_stddev_closed_form(limit: int, batch: int, size: int) -> None:
    x = normal(batch, 3, 4, 4)
    values = x.numpy().astype(np.float64)
    expected = np.repeat(
        [np.sqrt(values[start : start + size].var(axis=0) + 1e-8).mean() for start in range(0, batch, size)],
        size,
    )
    result = stddev_map(x, limit)
    assert result.shape == (batch, 4, 4, 4)
    assert torch.equal(result[:, :3], x)
    np.testing.assert_allclose(result[:, 3].numpy(), np.broadcast_to(expected[:, None, None], (batch, 4, 4)), rtol=1e-5)


def test_minibatch_stddev_keeps_segments_apart() -> None:
    x = torch.cat([normal(4, 3, 4, 4), 5.0 * normal(4, 3, 4, 4, seed=1)])
    apart = torch.cat([stddev_map(part, 16) for part in x.chunk(2)])
    torch.testing.assert_close(stddev_map(x, 16, segments=2), apart)
    assert not torch.allclose(stddev_map(x, 16), apart)


def test_minibatch_discrimination_closed_form() -> None:
    layer = MinibatchDiscrimination(6, 4, generator=draws())
    x = normal(3, 6, seed=1)
    kernels = layer.kernels.detach().numpy().astype(np.float64)
    m = np.einsum("na,abd->nbd", x.numpy(), kernels)
    expected = np.zeros((3, 4))
    for i in range(3):
        for j in range(3):
            if i != j:
                expected[i] += np.exp(-np.abs(m[i] - m[j]).sum(axis=1))
    result = layer(x).detach()
    assert torch.equal(result[:, :6], x)
    np.testing.assert_allclose(result[:, 6:].numpy(), expected, rtol=1e-4, atol=1e-6)
    two = layer(torch.cat([x, x + 1.0]), segments=2).detach()
    torch.testing.assert_close(two, torch.cat([layer(x), layer(x + 1.0)]).detach())


def test_layer_norm_closed_form() -> None:
    x, gain, bias = normal(2, 3, 4, 4) * 3.0 + 1.0, normal(3, seed=1), normal(3, seed=2)
    values = x.numpy().astype(np.float64)
    mean, var = values.mean(axis=(1, 2, 3), keepdims=True), values.var(axis=(1, 2, 3), keepdims=True)
    normed = (values - mean) / np.sqrt(var + 1e-5)
    expected = normed * gain.numpy()[:, None, None] + bias.numpy()[:, None, None]
    np.testing.assert_allclose(layer_norm(x, gain, bias).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_fading_of_images() -> None:
    x = normal(1, 3, 8, 8)
    blocks = x.reshape(1, 3, 4, 2, 4, 2).mean(dim=(3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(fade_images(x, 0.25), 0.75 * x + 0.25 * blocks)
    assert fade_images(x, 0.0) is x
    torch.testing.assert_close(fade_images(x, 1.0), up2(down2(x)))


def test_equalised_learning_rate() -> None:
    conv = Conv(64, 128, 3, equalized=True, generator=draws())
    assert conv.weight.mean().abs() < 0.02
    assert abs(conv.weight.std() - 1.0) < 0.02
    assert conv.scale == pytest.approx(math.sqrt(2.0) / math.sqrt(9 * 64))
    x = normal(1, 64, 4, 4, seed=1)
    expected = F.conv2d(x, conv.weight * math.sqrt(2.0 / (9 * 64)), padding=1)
    torch.testing.assert_close(conv(x, None, None, False), expected)
    dense = Dense(512, 256, equalized=True, generator=draws(), gain=1.0)
    assert abs(dense.weight.std() - 1.0) < 0.02
    assert dense.scale == pytest.approx(512**-0.5)
    plain = Conv(64, 128, 3, equalized=False, generator=draws())
    assert plain.scale == 1.0
    torch.testing.assert_close(plain.weight, conv.weight * conv.scale)


def test_first_layer_of_g_has_the_originals_gain() -> None:
    assert Generator(SMALL, draws()).first.dense.scale == pytest.approx(math.sqrt(2.0) / 4.0 / math.sqrt(16))


def test_batch_norm_moments_and_running_moments() -> None:
    norm, reference = BatchNorm(3), torch.nn.BatchNorm2d(3)
    for seed in range(3):
        x = normal(4, 3, 5, 5, seed=seed) * 2.0 + 3.0
        torch.testing.assert_close(norm(x), reference(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    torch.testing.assert_close(norm.running_var, reference.running_var)
    norm.eval()
    reference.eval()
    x = normal(2, 3, 5, 5, seed=9)
    torch.testing.assert_close(norm(x), reference(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm(x)[:1], norm(x[:1]))


def test_batch_norm_has_a_second_derivative() -> None:
    """The gradient penalty's gradient equals that of double precision torch."""
    grads = []
    for norm, dtype in ((BatchNorm(2), torch.float32), (torch.nn.BatchNorm2d(2).double(), torch.float64)):
        x = normal(3, 2, 2, 2).to(dtype).requires_grad_()
        steer = normal(3, 2, 2, 2, seed=1).to(dtype)
        (first,) = torch.autograd.grad((torch.tanh(norm(x)) * steer).sum(), x, create_graph=True)
        (first.square().sum(dim=(1, 2, 3)).sqrt() - 1.0).square().sum().backward()
        assert x.grad is not None
        grads.append(x.grad.double())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-5)


def test_step_weights_carry_the_same_gradients_back() -> None:
    results = []
    for cached in (False, True):
        d = Discriminator(SMALL, draws())
        weights = StepWeights(torch.float32) if cached else None
        for seed in (1, 2):
            d(normal(4, 3, 32, 32, seed=seed), 0.5, weights=weights, forms=FUSED).square().mean().backward()
        if weights is not None:
            weights.carry_back()
        results.append({name: one.grad for name, one in d.named_parameters()})
    direct, carried = results
    for name, gradient in direct.items():
        if gradient is None:
            assert carried[name] is None, name
        else:
            torch.testing.assert_close(carried[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_frozen_step_weights_leave_no_gradient_on_weights() -> None:
    d = Discriminator(SMALL, draws())
    images = normal(2, 3, 32, 32).requires_grad_()
    weights = StepWeights(torch.float32, frozen=True)
    d(images, weights=weights).sum().backward()
    weights.carry_back()
    assert images.grad is not None
    assert all(one.grad is None for name, one in d.named_parameters() if name.endswith("weight"))


@pytest.fixture(scope="module")
def paper() -> tuple[Generator, Discriminator]:
    return Generator(NetworkConfig(), draws()), Discriminator(NetworkConfig(), draws())


def test_parameter_counts_of_the_paper(paper: tuple[Generator, Discriminator]) -> None:
    """With the toRGB and fromRGB layers of all resolutions."""
    g, d = paper
    assert sum(one.numel() for one in g.parameters()) == 23_079_115
    assert sum(one.numel() for one in d.parameters()) == 23_087_249


TABLE_2 = {8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}


def test_layer_shapes_of_table_2(paper: tuple[Generator, Discriminator]) -> None:
    g, d = paper
    assert g.first.dense.weight.shape == (512 * 16, 512)
    assert g.first.conv.weight.shape == (512, 512, 3, 3)
    assert d.last.conv.conv.weight.shape == (512, 513, 3, 3)
    assert d.last.dense0.weight.shape == (512, 8192)
    assert d.last.dense1.weight.shape == (1, 512)
    before = 512
    for res, maps in TABLE_2.items():
        assert g.blocks[str(res)].conv0.weight.shape == (maps, before, 3, 3)
        assert g.blocks[str(res)].conv1.weight.shape == (maps, maps, 3, 3)
        assert g.to_rgb[str(res)].conv.weight.shape == (3, maps, 1, 1)
        assert d.from_rgb[str(res)].conv.weight.shape == (maps, 3, 1, 1)
        assert d.blocks[str(res)].conv0.conv.weight.shape == (maps, maps, 3, 3)
        assert d.blocks[str(res)].conv1.conv.weight.shape == (before, maps, 3, 3)
        before = maps


@pytest.mark.parametrize("level", [1, 2, 3])
def test_lod_is_continuous(level: int) -> None:
    """Just below lod k the new block has no weight yet: upsampled, it is what lod k gives."""
    g, d = Generator(SMALL, draws()), Discriminator(SMALL, draws(1))
    z = normal(3, 16)
    with torch.no_grad():
        coarse, fine = g(z, None, float(level)), g(z, None, level - 1e-9)
        torch.testing.assert_close(fine, up2(coarse), rtol=0, atol=1e-6)
        images = normal(3, 3, 32 >> (level - 1), 32 >> (level - 1), seed=2)
        torch.testing.assert_close(d(images, level - 1e-9), d(down2(images), float(level)), rtol=0, atol=1e-6)
        # and from the other side: the old path has lost its weight when the fade ends
        below = float(level - 1)
        torch.testing.assert_close(g(z, None, below + 1e-9), g(z, None, below), rtol=0, atol=1e-6)
        torch.testing.assert_close(d(images, below + 1e-9), d(images, below), rtol=0, atol=1e-6)
        half = g(z, None, level - 0.5)
        torch.testing.assert_close(half, (up2(coarse) + g(z, None, below)) / 2, rtol=0, atol=1e-5)


def test_layers_above_the_resolution_are_not_used() -> None:
    g, d = Generator(SMALL, draws()), Discriminator(SMALL, draws())
    d(g(normal(4, 16), None, 1.5), 1.5).sum().backward()
    used = {name for network in (g, d) for name, one in network.named_parameters() if one.grad is not None}
    assert any(".16." in name for name in used)
    assert not any(".32." in name for name in used)


def test_fused_and_plain_networks_agree() -> None:
    for plan in (FUSED, FormPlan(fused_from=0, channels_last_from=0), FormPlan(fused_from=16, channels_last_from=8)):
        for lod in (0.0, 0.5):
            g, d = Generator(SMALL, draws()), Discriminator(SMALL, draws())
            z = normal(4, 16)
            with torch.no_grad():
                images = g(z, None, lod, forms=PLAIN_FORM)
                # The order of additions, and so the last digits, depend on the processor.
                torch.testing.assert_close(g(z, None, lod, forms=plan), images, rtol=1e-4, atol=5e-5)
                torch.testing.assert_close(d(images, lod, forms=plan), d(images, lod), rtol=1e-4, atol=5e-5)


def test_bf16_agrees_to_its_precision() -> None:
    g, d = Generator(SMALL, draws()), Discriminator(SMALL, draws())
    z = normal(8, 16)
    with torch.no_grad():
        exact = g(z)
        rounded = g(z, weights=StepWeights(torch.bfloat16))
        assert rounded.dtype == torch.float32
        assert 0.0 < (rounded - exact).norm() / exact.norm() < 0.02
        scores, rough = d(exact), d(exact, weights=StepWeights(torch.bfloat16))
        assert rough.dtype == torch.float32
        assert 0.0 < (rough - scores).norm() / scores.norm() < 0.05
