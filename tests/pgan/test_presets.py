"""Every preset against the tables of the paper and of the releases, as literal values."""

from dataclasses import replace

import pytest
import torch

from pgan.config import Config, config_from_json, config_json
from pgan.errors import ConfigError
from pgan.networks.build import build_discriminator, build_generator
from pgan.presets import preset, preset_names

BATCHES = {
    "celebahq-1024": (16, {256: 14, 512: 6, 1024: 3}),
    "v1-1gpu": (16, {256: 14, 512: 6, 1024: 3}),
    "v2-1gpu": (4, {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4}),
    "v2-2gpus": (8, {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8}),
    "v2-4gpus": (16, {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16}),
    "v2-8gpus": (32, {4: 512, 8: 256, 16: 128, 32: 64, 64: 32}),
    "lsgan": (16, {256: 14, 512: 6, 1024: 3}),
    "cifar10": (16, {}),
    "mnist1k": (64, {}),
    "mnist1k-k4": (64, {}),
    "mnist1k-grown": (64, {}),
    "mnist1k-grown-k4": (64, {}),
    "table1-a": (64, {}),
    "table1-b": (64, {}),
    **{f"table1-{row}": (16, {}) for row in ("c", "d", "e-star", "e", "f", "g", "h")},
    "demo": (16, {}),
}

RATES = {
    "v2-1gpu": {1024: 0.0015},
    "v2-2gpus": {512: 0.0015, 1024: 0.002},
    "v2-4gpus": {256: 0.0015, 512: 0.002, 1024: 0.003},
    "v2-8gpus": {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
}

LENGTHS = {
    "celebahq-1024": (800, 800, 19_000),
    "v1-1gpu": (800, 800, 19_000),
    **dict.fromkeys(RATES, (600, 600, 12000)),
    "cifar10": (400, 400, 20_000),
    **{f"table1-{row}": (800, 800, 10_000) for row in ("a", "b", "c", "d", "e-star", "e", "f", "g")},
    "mnist1k-grown": (500, 2000, 15_000),
    "mnist1k-grown-k4": (500, 2000, 15_000),
}


def test_every_preset_is_in_the_table() -> None:
    assert set(preset_names()) == set(BATCHES)
    assert len(set(preset_names())) == len(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_batches_and_learning_rates(name: str) -> None:
    config = preset(name)
    assert config.preset == name
    assert (config.schedule.batch, dict(config.schedule.batch_by_res)) == BATCHES[name]
    assert dict(config.optimizer.lr_by_res) == RATES.get(name, {})
    early = [f"table1-{row}" for row in ("a", "b", "c", "d", "e-star", "e")]
    assert config.optimizer.lr == (1e-4 if name in early else 1e-3)


@pytest.mark.parametrize("name", sorted(LENGTHS))
def test_lengths(name: str) -> None:
    schedule = preset(name).schedule
    assert (schedule.training_kimg, schedule.transition_kimg, schedule.total_kimg) == LENGTHS[name]


@pytest.mark.parametrize("name", ["mnist1k", "mnist1k-k4"])
def test_mode_test_without_growing(name: str) -> None:
    schedule = preset(name).schedule
    assert (schedule.start_res, schedule.total_kimg) == (32, 10_000)


@pytest.mark.parametrize("name", preset_names())
def test_adam_and_average(name: str) -> None:
    optimizer = preset(name).optimizer
    beta2 = 0.9 if name in ("table1-a", "table1-b", "table1-c") else 0.99
    assert (optimizer.beta1, optimizer.beta2, optimizer.eps) == (0.0, beta2, 1e-8)
    averages = {"table1-a": 0.980189, "table1-b": 0.980189, "table1-c": 0.99501, "demo": 0.99}
    assert optimizer.ema_decay == pytest.approx(averages.get(name, 0.999), abs=1e-6)
    assert optimizer.rampup_kimg == (40.0 if name == "v1-1gpu" else 0.0)
    assert optimizer.reset_on_growth


@pytest.mark.parametrize("name", preset_names())
def test_losses(name: str) -> None:
    loss, schedule = preset(name).loss, preset(name).schedule
    old = name in ("table1-a", "table1-b", "table1-c") or name.startswith("mnist1k")
    assert schedule.d_repeats == (5 if old else 1)
    assert schedule.minibatch_repeats == 4
    if name == "lsgan":
        assert (loss.loss, loss.gdrop_strength, loss.lsgan_fake_weight) == ("lsgan", 0.2, 0.1)
        return
    assert (loss.loss, loss.gp_lambda) == ("wgan-gp", 10.0)
    assert loss.drift == (0.0 if old else 0.001)
    assert (loss.gp_target, loss.same_pass) == ((750.0, True) if name == "cifar10" else (1.0, False))
    assert loss.label_weight == 1.0


PAPER = {"res": 1024, "latent": 512, "fmap_base": 8192, "fmap_decay": 1.0, "fmap_max": 512}
MAPS = {
    **dict.fromkeys(("celebahq-1024", "v1-1gpu", "lsgan", *RATES), PAPER),
    "cifar10": {"res": 32, "latent": 128, "fmap_base": 4096, "fmap_decay": 1.0, "fmap_max": 128},
    **{
        f"table1-{row}": {"res": 128, "latent": 128 if row in "abc" else 512, "fmap_base": 2048, "fmap_max": 512}
        for row in ("a", "b", "c", "d", "e-star", "e", "f", "g", "h")
    },
    **{
        name: {"res": 32, "latent": 64, "mnist_maps": 64, "mnist_cripple": 4 if name.endswith("k4") else 2}
        for name in BATCHES
        if name.startswith("mnist1k")
    },
}


@pytest.mark.parametrize("name", sorted(MAPS))
def test_sizes(name: str) -> None:
    network = preset(name).network
    assert {key: getattr(network, key) for key in MAPS[name]} == MAPS[name]
    group = {"v1-1gpu": 16, "celebahq-1024": 16, **dict.fromkeys(RATES, 4)}
    if name in group:
        assert network.mbstd_group == group[name]


# start, equalized, pixel norm, activation, batch norm, layer norm, tanh, stddev, kernels, normalised latents
TABLE_1 = {
    "a": (128, False, False, "relu", True, True, True, False, 0, False),
    "b": (4, False, False, "relu", True, True, True, False, 0, False),
    "c": (4, False, False, "relu", True, True, True, False, 0, False),
    "d": (4, False, False, "lrelu", False, False, False, False, 0, True),
    "e-star": (4, False, False, "lrelu", False, False, False, False, 100, True),
    "e": (4, False, False, "lrelu", False, False, False, True, 0, True),
    "f": (4, True, False, "lrelu", False, False, False, True, 0, True),
    "g": (4, True, True, "lrelu", False, False, False, True, 0, True),
    "h": (4, True, True, "lrelu", False, False, False, True, 0, True),
}


@pytest.mark.parametrize("row", sorted(TABLE_1))
def test_rows_of_table_1(row: str) -> None:
    config = preset(f"table1-{row}")
    one = config.network
    found = (
        config.schedule.start_res,
        one.equalized,
        one.pixel_norm,
        one.g_activation,
        one.g_batch_norm,
        one.d_layer_norm,
        one.tanh,
        one.mbstd_group > 0,
        one.mbdisc_kernels,
        one.normalize_latent,
    )
    assert found == TABLE_1[row]
    assert config.schedule.total_kimg >= 10_000


def test_mirroring() -> None:
    faces = {"celebahq-1024", "lsgan", "demo", "v1-1gpu", *RATES}
    assert {name for name in preset_names() if preset(name).train.mirror} == faces


def reduced(name: str) -> Config:
    config = preset(name)
    network = replace(config.network, res=min(config.network.res, 32), fmap_base=64, fmap_max=8)
    start = min(config.schedule.start_res, network.res)
    return replace(config, network=network, schedule=replace(config.schedule, start_res=start))


@pytest.mark.parametrize("name", preset_names())
def test_networks_run_forward_and_backward(name: str) -> None:
    config = reduced(name)
    g, d = build_generator(config, 0), build_discriminator(config, 0)
    grown = config.schedule.start_res < config.network.res
    for lod in (0.0, 0.5) if grown else (0.0,):
        z = torch.randn((4, config.network.latent), generator=torch.Generator().manual_seed(1))
        images = g(z, None, lod)
        assert images.shape == (4, 3, 32, 32)
        scores = d(images, lod)
        assert scores.shape == (4, 1)
        scores.sum().backward()
        for network in (g, d):
            gradients = [one.grad for one in network.parameters() if one.grad is not None]
            assert gradients
            assert all(one.isfinite().all() for one in gradients)
    assert any(one.grad is not None and one.grad.any() for one in g.parameters())


@pytest.mark.parametrize("name", preset_names())
def test_stored_and_read_again(name: str) -> None:
    assert config_from_json(config_json(preset(name)), "here") == preset(name)


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"'celeba' is unknown; choose one of celebahq-1024, "):
        preset("celeba")
    with pytest.raises(ConfigError):
        preset("table1-i")
