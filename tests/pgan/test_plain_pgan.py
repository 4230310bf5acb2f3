"""The plain form of the benchmark and the trainer's step do the same."""

import pytest
import torch

from benchmarks.pgan_step import FORMS, FP32, PARTS, Ours, Plain, config_of


@pytest.mark.parametrize("downsample", ["pool", "conv"])
def test_plain_and_ours_give_the_same_losses_and_weights(downsample: str) -> None:
    config = config_of(16, downsample, FP32, fmap_max=8)
    plain, ours = Plain(config, bf16=False), Ours(config)
    assert ours.step() == pytest.approx(plain.step(), rel=1e-5, abs=1e-5)
    for _ in range(2):
        # They agree only if the updates before did; Adam's first ones turn the rounding of tiny gradients into steps.
        assert ours.step() == pytest.approx(plain.step(), rel=1e-2, abs=1e-2)
    average = ours.state.ema.state_dict()["blocks.16.conv1.weight"]
    torch.testing.assert_close(average, plain.trainer.average.state_dict()["flat.1.layer.weight"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("part", PARTS)
def test_taking_an_optimisation_out_changes_no_loss(part: str) -> None:
    config = config_of(8, "conv", FP32, fmap_max=8)
    whole, less = Ours(config), Ours(config, without=part)
    for _ in range(3):
        assert less.step() == pytest.approx(whole.step(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_forms_change_no_loss(form: str) -> None:
    config = config_of(16, "conv", FP32, fmap_max=8)
    assert Ours(config, FORMS[form]).step() == pytest.approx(Ours(config).step(), rel=1e-4, abs=1e-4)
