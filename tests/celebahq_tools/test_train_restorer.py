"""Training our own networks: data, losses, resuming, and that it learns."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError, MissingDependencyError, SourceError, UsageError
from celebahq_tools.restore.modelfile import decode_model
from celebahq_tools.restore.networks import NetworkConfig
from celebahq_tools.restore.training import loop
from celebahq_tools.restore.training.batches import PatchSource, oriented, prefetched
from celebahq_tools.restore.training.config import DegradeConfig, TrainConfig, default_training
from celebahq_tools.restore.training.degrade import KERNELS, compressed, jpeg, noisy, shrink4
from celebahq_tools.restore.training.loop import TrainResult, TrainRun, learning_rate, open_log, train
from celebahq_tools.restore.training.losses import charbonnier, relativistic_hinge, spectrum
from celebahq_tools.restore.training.photos import Photo, choose_place, probabilities, read_photos, split_photos
from celebahq_tools.restore.training.state import load_checkpoint
from celebahq_tools.restore.training.validate import Score

Pixels = NDArray[np.uint8]
TINY = NetworkConfig(scale=1, fold=2, channels=(8, 8), blocks=(1, 1))
TINY_X4 = NetworkConfig(scale=4, fold=1, channels=(8,), blocks=(1,))


def scene(seed: int, height: int = 160, width: int = 200) -> Pixels:
    """Smooth shades with hard edges on them: something that compression damages."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8).copy()
    for _ in range(25):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.circle(picture, centre, int(rng.integers(3, 25)), colour, -1, cv2.LINE_AA)
    return picture


def photos(count: int = 4) -> list[Photo]:
    return [Photo(f"{n}.png", scene(n)) for n in range(count)]


def config(task: str = "jpeg", **changes: object) -> TrainConfig:
    network = TINY if task == "jpeg" else TINY_X4
    base = TrainConfig(task=task, network=network, steps=6, batch=3, patch=64, warmup=2)  # type: ignore[arg-type]
    return replace(base, **changes)  # type: ignore[arg-type]


def run(wanted: TrainConfig, out: Path, **options: object) -> TrainResult:
    """A run on two threads' worth of nothing: small, float32, silent."""
    plan = TrainRun(out=out, bf16=False, save_every=2, validate_every=100)
    return train(
        wanted,
        plan,
        photos(),
        photos(2)[:1],
        progress=lambda done, total: None,
        scored=lambda step, scores: None,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("task", ["jpeg", "joint"])
def test_resumed_run_equals_one_in_one_go(tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CRITIC_COUNTS", (0, 2))
    adversarial = {"adversarial": 0.01, "frequency": 0.1} if task == "joint" else {}
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    wanted = config(task, **adversarial)
    run(wanted, whole)

    class KilledError(Exception):
        pass

    def kill_at_five(done: int, total: int) -> None:
        if done == 5:
            raise KilledError

    plan = TrainRun(out=parts, bf16=False, save_every=2, validate_every=100)
    with pytest.raises(KilledError):
        train(wanted, plan, photos(), photos(1), progress=kill_at_five, scored=lambda step, scores: None)
    assert load_checkpoint(plan.checkpoint, wanted).step == 4
    assert not parts.exists()
    run(wanted, parts)
    a, b = (decode_model(path.read_bytes(), name="net").state for path in (whole, parts))
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=0, atol=0)
    assert not list(tmp_path.glob("*.partial"))


def test_it_learns(tmp_path: Path) -> None:
    seen: list[tuple[int, Sequence[Score]]] = []
    wanted = config(steps=160, rate=5e-3, ema=0.9, degrade=DegradeConfig(quality=(20, 40), twice=0.0))
    plan = TrainRun(out=tmp_path / "n.safetensors", bf16=False, save_every=500, validate_every=1000)
    result = train(
        wanted,
        plan,
        photos(8),
        [Photo("held", scene(77))],
        progress=lambda done, total: None,
        scored=lambda step, scores: seen.append((step, scores)),
    )
    by_case = {score.case: score for score in result.scores}
    assert by_case["q30"].psnr_gain > 0.05
    assert [step for step, _ in seen] == [160]
    card = decode_model(plan.out.read_bytes(), name="n").card
    assert card["training"] == wanted.to_json()
    assert card["photographs"] == 8
    assert {row["case"] for row in card["held_out_scores"]} == {"q10", "q30", "q50", "q75"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_moves_between_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CRITIC_COUNTS", (0, 2))
    found = {}
    wanted = config("joint", adversarial=0.01, frequency=0.1)
    for name, devices in {"cpu": ("cpu", "cpu"), "both": ("cuda", "cpu"), "back": ("cpu", "cuda")}.items():
        for steps, device in zip((3, 6), devices, strict=True):
            plan = TrainRun(out=tmp_path / f"{name}.safetensors", bf16=False, save_every=3, device=device)  # type: ignore[arg-type]
            train(
                replace(wanted, steps=steps),
                plan,
                photos(),
                photos(1),
                progress=lambda done, total: None,
                scored=lambda step, scores: None,
            )
        found[name] = decode_model(plan.out.read_bytes(), name=name).state
    for name in ("both", "back"):
        for key, value in found["cpu"].items():
            torch.testing.assert_close(found[name][key], value, rtol=0, atol=5e-3)


def test_finished_run_does_nothing_more(tmp_path: Path) -> None:
    out = tmp_path / "n.safetensors"
    run(config(), out)
    before = out.read_bytes()
    assert run(config(), out).step == 6
    assert out.read_bytes() == before


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "n.safetensors"
    run(config(), out)
    with pytest.raises(UsageError, match="a run with batch 3, now 4"):
        run(config(batch=4), out)
    assert run(config(steps=7), out).step == 7
    checkpoint = tmp_path / "n.safetensors.train"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(FormatError, match="not a checkpoint, or damaged"):
        run(config(), out)
    torch.save({"format": "other"}, checkpoint)
    with pytest.raises(FormatError, match="not a checkpoint of this program"):
        run(config(), out)


def test_the_critic_is_heard_once_it_has_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [loop.critic_share(step) for step in (0, 100, 200, 300, 10_000)] == [0, 0, 0.5, 1, 1]
    states = []
    for name, adversarial, counts in (("without", 0.0, (0, 1)), ("early", 0.5, (100, 300)), ("heard", 0.5, (0, 1))):
        monkeypatch.setattr(loop, "CRITIC_COUNTS", counts)
        run(config("joint", adversarial=adversarial), tmp_path / f"{name}.safetensors")
        states.append(decode_model((tmp_path / f"{name}.safetensors").read_bytes(), name=name).state)
    without, early, heard = states
    assert all(torch.equal(early[key], value) for key, value in without.items())
    assert any(not torch.equal(heard[key], value) for key, value in without.items())


def test_start_from_weights(tmp_path: Path) -> None:
    run(config(), tmp_path / "a.safetensors")
    state = decode_model((tmp_path / "a.safetensors").read_bytes(), name="a").state
    run(config(steps=1, rate=1e-9, warmup=0), tmp_path / "b.safetensors", init=state)
    found = decode_model((tmp_path / "b.safetensors").read_bytes(), name="b")
    assert found.card["initialised"] is True
    for key, value in state.items():
        torch.testing.assert_close(found.state[key], value, rtol=0, atol=1e-3)


@pytest.mark.parametrize("task", ["jpeg", "sr4", "joint"])
def test_batches_depend_on_seed_and_step_only(task: str) -> None:
    wanted = config(task, degrade=DegradeConfig(noise=0.5, bicubic=0.2, twice=0.5))
    source = PatchSource(photos(), wanted)
    batches = list(prefetched(source, 0, 3))
    assert len(batches) == 3
    again = source.batch(1)
    torch.testing.assert_close(again.damaged, batches[1].damaged, rtol=0, atol=0)
    assert not torch.equal(batches[0].target, batches[1].target)
    assert not torch.equal(PatchSource(photos(), replace(wanted, seed=1)).batch(1).target, again.target)
    small = 64 // wanted.network.scale
    assert again.damaged.shape == (3, 3, small, small)
    assert again.target.shape == (3, 3, 64, 64)
    assert float(again.damaged.min()) >= 0
    assert float(again.damaged.max()) <= 1


def test_enlargement_pairs_lie_upon_each_other() -> None:
    wanted = config("sr4", degrade=DegradeConfig(noise=0.0, jpeg=0.0))
    pair = PatchSource(photos(), wanted).batch(0)
    means = torch.nn.functional.avg_pool2d(pair.target, 4)
    # A shift by a single small pixel would be far off.
    assert float((means - pair.damaged).abs().mean()) < 0.4 * float((means.roll(1, -1) - pair.damaged).abs().mean())


def test_damage() -> None:
    picture = scene(1, 64, 64)
    assert np.abs(jpeg(picture, 95, full_chroma=True).astype(int) - picture).mean() < 3
    errors = [np.square(jpeg(picture, q).astype(float) - picture).mean() for q in (10, 50, 90)]
    assert errors[0] > errors[1] > errors[2]
    assert not np.array_equal(jpeg(picture, 75), jpeg(picture, 75, full_chroma=True))
    for kernel in KERNELS:
        small = shrink4(scene(1, 66, 71), kernel)
        assert small.shape == (16, 17, 3)
        assert abs(float(small.mean()) - float(scene(1, 66, 71).mean())) < 3
    with pytest.raises(UsageError, match="kernel 'box' is unknown"):
        shrink4(picture, "box")
    rng = np.random.default_rng(0)
    twice = compressed(picture, DegradeConfig(twice=1.0, quality=(50, 50)), rng)
    assert twice.shape == picture.shape
    assert not np.array_equal(noisy(picture, DegradeConfig(), rng), picture)
    assert {oriented(picture, n).tobytes() for n in range(8)} == {oriented(picture, n).tobytes() for n in range(8)}
    assert len({oriented(picture, n).tobytes() for n in range(8)}) == 8


def test_places_prefer_detail_and_stay_inside() -> None:
    flat = np.zeros((100, 100, 3), np.uint8)
    busy = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    pictures = [flat, busy]
    rng = np.random.default_rng(1)
    places = [choose_place(pictures, probabilities(pictures), 32, 4, rng) for _ in range(200)]
    assert sum(place.number for place in places) > 110
    for place in places:
        height, width = pictures[place.number].shape[:2]
        assert place.x % 4 == place.y % 4 == 0
        assert place.x + 32 <= width
        assert place.y + 32 <= height


def test_photographs_are_read_and_split(tmp_path: Path) -> None:
    for number in range(12):
        assert cv2.imwrite(str(tmp_path / f"{number:02d}.png"), scene(number, 80, 100))
    found = read_photos(tmp_path, shrink=2.0, progress=lambda done, total: None)
    assert [photo.pixels.shape for photo in found] == [(40, 50, 3)] * 12
    training, held = split_photos(found)
    assert [photo.name for photo in held] == ["05.png"]
    assert len(training) == 11
    with pytest.raises(SourceError, match="no photograph has 96 pixels a side after shrinking"):
        PatchSource(found, config())


def test_losses() -> None:
    x, y = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)
    assert float(charbonnier(x, y)) == pytest.approx(0.5, abs=1e-5)
    assert float(charbonnier(x, x)) == pytest.approx(1e-3)
    assert float(spectrum(x, x)) == 0
    assert float(spectrum(x, y)) > 0
    real, fake = torch.full((2, 1), 5.0), torch.full((2, 1), -5.0)
    assert float(relativistic_hinge(real, fake)) == 0
    assert float(relativistic_hinge(fake, real)) == pytest.approx(11)


def test_rate_warms_up_and_falls() -> None:
    wanted = config(steps=100, warmup=10, rate=1e-3)
    rates = [learning_rate(wanted, step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(1e-5)


def test_settings_are_checked() -> None:
    for changes, message in (
        ({"patch": 30}, "patch of 30 pixels: expected a multiple of 4"),
        ({"patch": 66}, "multiple of 4"),
        ({"steps": 0}, "steps is 0"),
        ({"shrink": 0.5}, "expected at least 1"),
        ({"rate": 2.0}, "out of range"),
        ({"adversarial": -1.0}, "negative"),
    ):
        with pytest.raises(UsageError, match=message):
            config(**changes)  # type: ignore[arg-type]
    for changes in ({"quality": (50, 20)}, {"quality": (0, 20)}, {"twice": 1.5}):
        with pytest.raises(UsageError):
            DegradeConfig(**changes)  # type: ignore[arg-type]
    for task in ("jpeg", "sr4", "joint"):
        assert default_training(task).task == task  # type: ignore[arg-type]


def test_tensorboard_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_log(None) is None
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: object, **options: object) -> object:
        if name == "torch.utils.tensorboard":
            raise ImportError(name)
        return real(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"celebahq-tools\[tensorboard\]"):
        open_log(tmp_path / "log")
    monkeypatch.undo()

    class Notes:
        def __init__(self) -> None:
            self.tags: set[str] = set()

        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            assert np.isfinite(scalar_value)
            self.tags.add(tag)

    notes = Notes()
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    run(config(), tmp_path / "n.safetensors", log=notes)
    assert {"loss/charbonnier", "rate", "psnr/q10", "psnr_gain/q75"} <= notes.tags
