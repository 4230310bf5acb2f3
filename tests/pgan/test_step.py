"""Steps: parts add up to the whole, frozen weights stay, precisions agree, noise, collapse."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from pgan.config import Config
from pgan.errors import TrainingError
from pgan.networks.forms import PLAIN_FORM, FormPlan
from pgan.parallel import World
from pgan.state import TrainState
from pgan.step import Real, Stepper
from pgan.walk import Position, walk
from pgan.watch import VarietyWatch, check_finite

CPU = torch.device("cpu")


def reals_of(config: Config, position: Position) -> Iterator[Real]:
    """Random reals that depend on where they are."""
    for iteration in walk(config, position):
        for nimg in iteration.d_starts():
            generator = torch.Generator().manual_seed(nimg)
            shape = (iteration.stage.batch, 3, iteration.stage.res, iteration.stage.res)
            yield Real(images=torch.rand(shape, generator=generator) * 2 - 1, labels=None)


def train(
    config: Config,
    steps: int,
    *,
    forms: FormPlan = PLAIN_FORM,
    micro: dict[int, int] | None = None,
    scale: float | None = None,
) -> TrainState:
    """A few iterations from the start."""
    state = TrainState(config, CPU)
    if scale is not None:
        state.scale_g.value = state.scale_d.value = scale
    stepper = Stepper(state, forms=forms, world=World(), micro_batch=micro)
    reals = reals_of(config, state.position)
    for iteration, _ in zip(walk(config, state.position), range(steps), strict=False):
        stepper.iterate(iteration, reals)
    return state


def changes(state: TrainState, config: Config) -> torch.Tensor:
    """How far all weights of both networks moved from where they started."""
    fresh = TrainState(config, CPU)
    moved = [
        (now - before).flatten()
        for network, start in ((state.g, fresh.g), (state.d, fresh.d))
        for now, before in zip(network.parameters(), start.parameters(), strict=True)
    ]
    return torch.cat(moved).detach()


def test_a_split_batch_gives_the_step_of_the_whole(tiny: Config) -> None:
    # Without Adam's normalisation the comparison is of gradients; groups of the stddev stay whole.
    config = replace(
        tiny,
        network=replace(tiny.network, mbstd_group=2),
        schedule=replace(tiny.schedule, batch=8, start_res=16),
        optimizer=replace(tiny.optimizer, eps=1.0),
    )
    whole, parts = (changes(train(config, 2, micro=micro), config) for micro in (None, {16: 2}))
    assert whole.abs().max() > 0
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "forms", [FormPlan(fused_from=0, channels_last_from=0), FormPlan(fused_from=8, channels_last_from=None)]
)
def test_forms_make_the_same_steps(tiny: Config, forms: FormPlan) -> None:
    config = replace(
        tiny,
        network=replace(tiny.network, downsample="conv"),
        schedule=replace(tiny.schedule, start_res=16),
        optimizer=replace(tiny.optimizer, eps=1.0),
    )
    plain, other = (changes(train(config, 2, forms=plan), config) for plan in (PLAIN_FORM, forms))
    torch.testing.assert_close(plain, other, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.15), ("fp16", 0.1)])
def test_half_precision_moves_the_weights_the_same_way(tiny: Config, precision: str, tolerance: float) -> None:
    config = replace(tiny, schedule=replace(tiny.schedule, start_res=16), optimizer=replace(tiny.optimizer, eps=1.0))
    half = replace(
        config,
        train=replace(config.train, precision=precision),
        network=replace(config.network, pixel_norm_eps=1e-4),
    )
    full, other = changes(train(config, 2), config), changes(train(half, 2, scale=64.0), half)
    assert (full - other).norm() / full.norm() < tolerance


def test_overflow_skips_the_step_and_halves_the_scale(tiny: Config) -> None:
    config = replace(tiny, train=replace(tiny.train, precision="fp16"))
    state = TrainState(config, CPU)
    state.scale_g.value = state.scale_d.value = 2.0**60
    before = {name: value.clone() for name, value in state.g.state_dict().items()}
    stepper = Stepper(state, forms=PLAIN_FORM, world=World())
    stepper.iterate(next(walk(config, state.position)), reals_of(config, state.position))
    assert state.scale_g.value == 2.0**59
    assert all(torch.equal(value, before[name]) for name, value in state.g.state_dict().items())


def test_layers_above_the_resolution_do_not_move_and_moments_are_forgotten(tiny: Config) -> None:
    state = train(tiny, 3)
    moved = {name for name, parameter in state.g.named_parameters() if parameter in state.adam_g.state}
    assert any(name.startswith("first.") for name in moved)
    assert not any("16" in name for name in moved)
    steps = [float(entry["step"]) for entry in state.adam_g.state.values()]
    grown = train(tiny, 14)
    assert max(float(entry["step"]) for entry in grown.adam_g.state.values()) < 14
    assert max(steps) == 3


def test_the_average_follows_with_its_decay(tiny: Config) -> None:
    config = replace(tiny, optimizer=replace(tiny.optimizer, ema_decay=0.75))
    state, fresh = train(config, 1), TrainState(config, CPU)
    for average, weight, start in zip(state.ema.parameters(), state.g.parameters(), fresh.g.parameters(), strict=True):
        torch.testing.assert_close(average, start * 0.75 + weight.detach() * 0.25)


def test_lsgan_noise_appears_with_high_fake_scores(tiny: Config) -> None:
    config = replace(tiny, loss=replace(tiny.loss, loss="lsgan", gp_lambda=0.0))
    results = []
    for fake_score in (0.0, 3.0):
        state = TrainState(config, CPU)
        state.fake_score = fake_score
        stepper = Stepper(state, forms=PLAIN_FORM, world=World())
        stepper.iterate(next(walk(config, state.position)), reals_of(config, state.position))
        results.append(stepper.sums.means()["loss_d"])
    assert results[0] != results[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # of torch's own compiler
def test_compiled_passes_train_as_the_others_do(tiny: Config) -> None:
    """Several iterations over a fade, which must not make a graph each."""
    counters.clear()
    weights = []
    for compiled in (False, True):
        config = replace(tiny, train=replace(tiny.train, compile=compiled))
        state = TrainState(config, CPU)
        stepper = Stepper(state, forms=PLAIN_FORM, world=World())
        state.position = Position(nimg=40, stage_nimg=40)
        steps = list(islice(walk(config, state.position), 6))
        assert len({iteration.stage.fade for iteration in steps}) > 2
        for iteration in steps:
            stepper.iterate(iteration, reals_of(config, state.position))
        weights.append({name: value for name, value in state.tensors().items() if name.startswith(("g.", "d."))})
    # G with and without gradients, D as it learns and as it is frozen; before the fade, and within it.
    assert counters["stats"]["unique_graphs"] == 8
    start = TrainState(tiny, CPU).tensors()
    for name, value in weights[0].items():
        moved = float((value - start[name]).norm())
        apart = float((weights[1][name] - value).norm())
        assert apart <= 1e-3 * moved + 1e-7, name


def test_collapse_is_named() -> None:
    rng = np.random.default_rng(0)
    watch = VarietyWatch(rng.integers(0, 256, (8, 3, 4, 4), dtype=np.uint8))
    same = np.full((8, 3, 4, 4), 100, np.uint8)
    watch.look(same, "x is kept")
    watch.look(rng.integers(0, 256, (8, 3, 4, 4), dtype=np.uint8), "x is kept")
    watch.look(same, "x is kept")
    watch.look(same, "x is kept")
    with pytest.raises(TrainingError, match="all samples look alike") as caught:
        watch.look(same, "x is kept")
    assert caught.value.reason == "collapse"
    with pytest.raises(TrainingError, match="diverged"):
        check_finite({"score_real": 1e7, "score_fake": 0.0}, "x is kept")
