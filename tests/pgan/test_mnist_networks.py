"""The networks of the discrete mode test."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgan.config import CONV, Config
from pgan.networks.build import build_discriminator, build_generator
from pgan.networks.forms import FormPlan
from pgan.networks.mnist import MnistDiscriminator, MnistGenerator
from pgan.networks.operators import down2, up2
from pgan.networks.progressive import ChannelNoise
from pgan.networks.weights import StepWeights
from pgan.presets import preset

FUSED = FormPlan(fused_from=0, channels_last_from=0)
BATCH = 6


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def own_norms(config: Config, group: int = 0) -> Config:
    """Equalised learning rate and pixel norm instead of batch norm."""
    network = replace(config.network, g_batch_norm=False, equalized=True, pixel_norm=True, mbstd_group=group)
    return replace(config, network=network)


def networks(config: Config) -> tuple[MnistGenerator, MnistDiscriminator]:
    g, d = build_generator(config, 3), build_discriminator(config, 3)
    assert isinstance(g, MnistGenerator)
    assert isinstance(d, MnistDiscriminator)
    return g, d


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(one.shape) for name, one in network.named_parameters() if name.endswith("weight")}


def test_layers_of_the_generator() -> None:
    g, _ = networks(preset("mnist1k"))
    assert shapes(g) == {
        "dense.weight": (64 * 16, 64),
        "stages.8.conv.weight": (64, 64, 3, 3),
        "stages.16.conv.weight": (32, 64, 3, 3),
        "stages.32.conv.weight": (16, 32, 3, 3),
        "to_rgb.32.conv.weight": (3, 16, 3, 3),
    }


@pytest.mark.parametrize(("name", "maps"), [("mnist1k", (8, 16, 32)), ("mnist1k-k4", (4, 8, 16))])
def test_layers_of_the_crippled_discriminator(name: str, maps: tuple[int, int, int]) -> None:
    _, d = networks(preset(name))
    assert shapes(d) == {
        "stages.32.conv.weight": (maps[0], 3, 3, 3),
        "stages.16.conv.weight": (maps[1], maps[0], 3, 3),
        "stages.8.conv.weight": (maps[2], maps[1], 3, 3),
        "dense.weight": (1, maps[2] * 16),
    }


def test_growing_adds_colour_layers_at_every_resolution() -> None:
    g, d = networks(preset("mnist1k-grown"))
    colours = {name: shape for name, shape in shapes(g).items() if "to_rgb" in name}
    assert colours == {
        f"to_rgb.{res}.conv.weight": (3, maps, 3, 3) for res, maps in ((4, 64), (8, 64), (16, 32), (32, 16))
    }
    colours = {name: shape for name, shape in shapes(d).items() if "from_rgb" in name}
    assert colours == {
        f"from_rgb.{res}.conv.weight": (maps, 3, 1, 1) for res, maps in ((4, 32), (8, 16), (16, 8), (32, 8))
    }


def test_batch_norm_after_every_convolution_but_the_last() -> None:
    g, d = networks(preset("mnist1k"))
    gains = [name for network in (g, d) for name, _ in network.named_parameters() if name.endswith("gain")]
    assert gains == [
        "after.norm.gain",
        *(f"stages.{res}.after.norm.gain" for res in (8, 16, 32)),
        *(f"stages.{res}.norm.gain" for res in (8, 16, 32)),
    ]
    features: list[Tensor] = []
    g.stages["32"].after.norm.register_forward_hook(lambda _m, _i, out: features.append(out.clone()))
    images = g(normal(32, 64))
    assert images.abs().max() < 1.0
    torch.testing.assert_close(features[0].mean(dim=(0, 2, 3)), torch.zeros(16), rtol=0, atol=1e-4)
    torch.testing.assert_close(features[0].var(dim=(0, 2, 3), unbiased=False), torch.ones(16), rtol=0, atol=1e-2)


def test_other_norms_replace_batch_norm() -> None:
    g, d = networks(own_norms(preset("mnist1k"), group=4))
    assert not any(name.endswith("gain") for network in (g, d) for name, _ in network.named_parameters())
    assert g.stages["32"].conv.scale == pytest.approx((2.0 / (9 * 32)) ** 0.5)
    assert d.dense.weight.shape == (1, 33 * 16)
    features: list[Tensor] = []
    g.stages["32"].after.register_forward_hook(lambda _m, _i, out: features.append(out.clone()))
    g(normal(4, 64))
    torch.testing.assert_close(features[0].square().mean(dim=1), torch.ones(4, 32, 32), rtol=0, atol=1e-4)


def test_samples_do_not_depend_on_their_batch() -> None:
    g, _ = networks(preset("mnist1k"))
    z = normal(8, 64)
    g(z)
    g.eval()
    with torch.no_grad():
        torch.testing.assert_close(g(z)[:1], g(z[:1]), rtol=1e-4, atol=1e-5)


def configs() -> dict[str, Config]:
    grown = preset("mnist1k-grown")
    return {"norm": grown, "own": own_norms(grown), "stddev": own_norms(grown, group=16)}


@pytest.mark.parametrize("kind", ["norm", "own", "stddev"])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_lod_is_continuous(kind: str, level: int) -> None:
    g, d = networks(configs()[kind])
    z = normal(BATCH, 64)
    side = 32 >> (level - 1)
    images = normal(BATCH, 3, side, side, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(g(z, None, level - 1e-9), up2(g(z, None, float(level))), rtol=0, atol=1e-6)
        torch.testing.assert_close(d(images, level - 1e-9), d(down2(images), float(level)), rtol=0, atol=1e-6)
        below = float(level - 1)
        torch.testing.assert_close(g(z, None, below + 1e-9), g(z, None, below), rtol=0, atol=1e-6)
        torch.testing.assert_close(d(images, below + 1e-9), d(images, below), rtol=0, atol=1e-6)


@pytest.mark.parametrize("downsample", ["pool", CONV])
@pytest.mark.parametrize("kind", ["norm", "stddev"])
def test_segments_never_see_each_other(kind: str, downsample: str) -> None:
    config = configs()[kind]
    _, d = networks(replace(config, network=replace(config.network, downsample=downsample)))
    real, fake = normal(4, 3, 32, 32), 3.0 * normal(4, 3, 32, 32, seed=1) + 1.0
    with torch.no_grad():
        apart = torch.cat([d(real, 0.5), d(fake, 0.5)])
        together = d(torch.cat([real, fake]), 0.5, segments=2)
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(d(torch.cat([real, fake]), 0.5), apart, atol=1e-2)


@pytest.mark.parametrize("kind", ["norm", "own"])
@pytest.mark.parametrize("downsample", ["pool", CONV])
def test_forms_and_step_weights_agree(kind: str, downsample: str) -> None:
    config = configs()[kind]
    config = replace(config, network=replace(config.network, downsample=downsample))
    z = normal(BATCH, 64)
    for lod in (0.0, 0.5):
        g, d = networks(config)
        images = g(z, None, lod)
        d(images, lod).square().mean().backward()
        g2, d2 = networks(config)
        weights = [StepWeights(torch.float32), StepWeights(torch.float32)]
        images2 = g2(z, None, lod, weights=weights[0], forms=FUSED)
        torch.testing.assert_close(images2, images, rtol=1e-4, atol=1e-5)
        d2(images2, lod, weights=weights[1], forms=FUSED).square().mean().backward()
        for one in weights:
            one.carry_back()
        for network, other in ((g, g2), (d, d2)):
            for (name, a), (_, b) in zip(network.named_parameters(), other.named_parameters(), strict=True):
                if a.grad is None:
                    assert b.grad is None, name
                else:
                    # Rounding may flip the sign of single activations, where the leaky ReLU's slope jumps.
                    assert (b.grad - a.grad).abs().max() <= 0.01 * a.grad.abs().max() + 1e-6, name


def test_bf16_agrees_to_its_precision() -> None:
    g, d = networks(preset("mnist1k"))
    z = normal(32, 64)
    with torch.no_grad():
        exact = g(z)
        rounded = g(z, weights=StepWeights(torch.bfloat16))
        assert rounded.dtype == torch.float32
        assert 0.0 < (rounded - exact).norm() / exact.norm() < 0.03
        scores, rough = d(exact), d(exact, weights=StepWeights(torch.bfloat16))
        assert rough.dtype == torch.float32
        assert 0.0 < (rough - scores).norm() / scores.norm() < 0.05


def penalty(d: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    return (gradient.square().sum(dim=(1, 2, 3)).sqrt() - 1.0).square().mean()


def test_scores_and_gradient_penalty_equal_those_of_plain_torch() -> None:
    """A second derivative through batch norm, against torch's own layers in double precision."""
    _, d = networks(preset("mnist1k-k4"))
    images = normal(BATCH, 3, 32, 32)
    ours = dict(zip(shapes(d), torch.autograd.grad(penalty(d, images), _weights(d)), strict=True))
    doubles = [one.detach().double().requires_grad_() for one in _weights(d)]

    def plain(x: Tensor) -> Tensor:
        for weight in doubles[2::-1]:  # 32x32 first
            x = F.conv2d(x, weight, padding=1)
            x = F.avg_pool2d(F.leaky_relu(F.batch_norm(x, None, None, training=True), 0.2), 2)
        return F.linear(x.flatten(1), doubles[3])

    torch.testing.assert_close(d(images).double(), plain(images.double()), rtol=1e-4, atol=1e-5)
    reference = torch.autograd.grad(penalty(plain, images.double()), doubles)
    for (name, one), other in zip(ours.items(), reference, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-4, msg=name)


def _weights(network: nn.Module) -> list[Tensor]:
    return [one for name, one in network.named_parameters() if name.endswith("weight")]


def test_labels_and_noise() -> None:
    config = own_norms(preset("mnist1k"))
    g, d = networks(replace(config, network=replace(config.network, label_size=10)))
    z = normal(4, 64)
    with torch.no_grad():
        images = g(z, torch.tensor([0, 1, 2, 3]))
        assert not torch.equal(images, g(z, torch.tensor([3, 1, 2, 3])))
        scores = d(images)
        assert scores.shape == (4, 11)
        quiet = ChannelNoise(0.0, torch.Generator().manual_seed(0))
        loud = ChannelNoise(0.5, torch.Generator().manual_seed(0))
        torch.testing.assert_close(d(images, noise=quiet), scores)
        assert not torch.allclose(d(images, noise=loud), scores)


def test_weights_come_from_the_seed() -> None:
    config = preset("mnist1k")
    first, same, other = (build_generator(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["dense.weight"], other["dense.weight"])


PROCESS = """
import os, sys
import torch
import torch.distributed as dist
from pgan.networks.build import build_discriminator
from pgan.parallel import average_gradients, world
from pgan.presets import preset

torch.set_num_threads(1)
if "RANK" in os.environ:
    dist.init_process_group("gloo")
here = world()
d = build_discriminator(preset("mnist1k-k4"), 3)
images = torch.randn((8, 3, 32, 32), generator=torch.Generator().manual_seed(0))
share = 8 // here.size
x = images[here.rank * share : (here.rank + 1) * share].requires_grad_()
scores = d(x)
(gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
(scores.mean() + (gradient.square().sum(dim=(1, 2, 3)).sqrt() - 1.0).square().mean()).backward()
parameters = list(d.parameters())
average_gradients(parameters)
if here.leads:
    result = {name: one.grad for name, one in d.named_parameters()}
    torch.save({**result, **dict(d.named_buffers())}, sys.argv[1])
if here.size > 1:
    dist.destroy_process_group()
"""


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Scores, gradient penalty and running moments with batch norm over the batch of both."""
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    base = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    runs = [
        subprocess.Popen([sys.executable, script, tmp_path / name], env={**base, **extra})
        for name, extra in (("one", {}), ("two", {**meet, "RANK": "0"}), ("none", {**meet, "RANK": "1"}))
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0, 0]
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=name)
