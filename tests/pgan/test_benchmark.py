"""What resolutions cost: which are timed, what is counted, what is extrapolated."""

from dataclasses import replace

import pytest
import torch

from pgan import benchmark
from pgan.benchmark import estimate_run, measure_costs, memory_mib, parameters_in_use, total_sec
from pgan.config import Config
from pgan.errors import ConfigError
from pgan.networks.build import build_discriminator, build_generator
from pgan.presets import preset


def tiny() -> Config:
    demo = preset("demo")
    network = replace(demo.network, res=16, fmap_base=32, fmap_max=8, latent=8, mbstd_group=2)
    schedule = replace(demo.schedule, training_kimg=1.0, transition_kimg=2.0, total_kimg=20.0, batch=4)
    return replace(demo, network=network, schedule=schedule)


def test_every_resolution_the_run_reaches_is_timed() -> None:
    costs = measure_costs(tiny(), steps=1)
    assert [cost.res for cost in costs] == [4, 8, 16]
    assert all(cost.timed and cost.sec_per_step > 0 and cost.peak_mib > 0 for cost in costs)
    for cost in costs:
        assert cost.sec_per_kimg == pytest.approx(cost.sec_per_step * 1000 / 4)


def test_parameters_grow_to_the_whole_network() -> None:
    config = tiny()
    g, d = build_generator(config, 0), build_discriminator(config, 0)
    other_rgb = sum(p.numel() for name, p in g.named_parameters() if "to_rgb" in name and ".16." not in name)
    assert parameters_in_use(g, 16) == sum(p.numel() for p in g.parameters()) - other_rgb
    assert parameters_in_use(d, 4) < parameters_in_use(d, 8) < parameters_in_use(d, 16)


def test_parameters_in_use_are_those_with_gradients() -> None:
    config = tiny()
    g, d = build_generator(config, 0), build_discriminator(config, 0)
    d(g(torch.randn(4, 8), None, 1.0), 1.0).sum().backward()
    for network in (g, d):
        used = sum(p.numel() for p in network.parameters() if p.grad is not None)
        assert parameters_in_use(network, 8) == used


def test_slow_resolutions_are_extrapolated_by_their_multiplications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_time_steps", lambda stepper, stage, steps, limit: 3.0)
    config = tiny()
    costs = measure_costs(config, limit_sec=4.0)
    # 8x8 has 2 convolutions of 4 times the pixels more than the one of 4x4: 9 times the multiplications.
    assert [cost.timed for cost in costs] == [True, False, False]
    assert costs[1].sec_per_step == pytest.approx(27.0)
    assert costs[1].sec_per_kimg == pytest.approx(27.0 / 4 * 1000)
    assert costs[1].peak_mib == 0.0


def test_a_large_batch_is_timed_in_part_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(benchmark, "_time_steps", lambda stepper, stage, steps, limit: seen.append(stage.batch) or 1.0)
    config = tiny()
    config = replace(config, schedule=replace(config.schedule, batch=64, d_repeats=2))
    costs = measure_costs(config, largest_batch=16)
    assert seen == [16, 16, 16]
    assert costs[0].sec_per_step == pytest.approx(4.0)
    assert costs[0].sec_per_kimg == pytest.approx(4.0 / 128 * 1000)


def test_the_whole_run_is_the_sum_of_its_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_time_steps", lambda stepper, stage, steps, limit: stage.res * 0.004)
    config = tiny()
    costs = measure_costs(config)
    # 1 kimg at 4, 2 + 1 at 8, the other 16 at 16; 250 steps a kimg.
    assert total_sec(config, costs) == pytest.approx(1 * 4 + 3 * 8 + 16 * 16)


def test_the_memory_estimate_grows_with_batch_and_resolution() -> None:
    config = tiny()
    state = memory_mib(config, 16, 0)
    assert memory_mib(config, 16, 8) - state == pytest.approx(2 * (memory_mib(config, 16, 4) - state))
    assert memory_mib(config, 8, 4) < memory_mib(config, 16, 4)


def test_a_limit_below_the_first_resolution_is_refused() -> None:
    config = tiny()
    with pytest.raises(ConfigError, match="starts at 4"):
        measure_costs(config, max_res=2)


def test_an_estimate_takes_few_images_and_leaves_slow_resolutions_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(benchmark, "_time_steps", lambda stepper, stage, steps, limit: seen.append(stage.batch) or 7.0)
    config = tiny()
    costs = estimate_run(replace(config, schedule=replace(config.schedule, batch=64)))
    assert seen == [16]
    assert [cost.timed for cost in costs] == [True, False, False]
