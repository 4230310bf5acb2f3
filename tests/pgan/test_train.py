"""Runs: resuming to the bit, what is kept, what cannot disturb training, how it breaks down."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pgan.config import Config
from pgan.data import inspect_data
from pgan.errors import CheckpointError, ConfigError, DataError, RunError, TrainingError
from pgan.fit import Prepared, carry_out, prepare_new, prepare_resume
from pgan.run import RunDirectory
from pgan.snapshots import read_snapshot
from pgan.train import StopRequest, Training

CPU = torch.device("cpu")


def silent(record: Mapping[str, Any]) -> None:
    """Hear nothing."""


def start(config: Config, data: Path, out: Path) -> Prepared:
    """A new run of a configuration."""
    return Prepared(run=RunDirectory(out), config=config, data=inspect_data(data), resume=None)


def run_whole(config: Config, data: Path, out: Path) -> dict[str, torch.Tensor]:
    """Train to the end; the tensors of the last checkpoint."""
    assert carry_out(start(config, data, out), CPU, silent) == "finished"
    return dict(read_snapshot(RunDirectory(out).checkpoints()[-1]).tensors)


def stop_at(config: Config, data: Path, out: Path, nimg: int) -> None:
    """Train until at least `nimg` images and save, as a signal would."""
    prepared = start(config, data, out)
    request = StopRequest()

    def heard(record: Mapping[str, Any]) -> None:
        if record["kind"] == "step" and record["nimg"] >= nimg:
            request.name = "SIGTERM"

    prepared.run.hold()
    prepared.run.write_config(config, prepared.data)
    training = Training(prepared.run, config, prepared.data, device=CPU, resume=None, told=heard)
    assert training.fit(request) == "SIGTERM"
    prepared.run.release()


def assert_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    """Equal names and equal bits."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def variant(config: Config, kind: str) -> Config:
    """The tiny configuration, in one of several ways."""
    if kind == "lsgan":
        return replace(config, loss=replace(config.loss, loss="lsgan", gp_lambda=0.0))
    if kind == "same-pass":
        return replace(config, loss=replace(config.loss, same_pass=True, gp_target=750.0))
    if kind == "critic":
        network = replace(config.network, g_batch_norm=True, d_layer_norm=True, mbdisc_kernels=3)
        return replace(config, schedule=replace(config.schedule, d_repeats=2), network=network)
    if kind == "bf16":
        return replace(config, train=replace(config.train, precision="bf16"))
    return config


@pytest.mark.parametrize(
    ("kind", "nimg"),
    [("plain", 20), ("plain", 52), ("plain", 61), ("lsgan", 100), ("same-pass", 60), ("critic", 70), ("bf16", 60)],
)
def test_a_resumed_run_is_the_same_to_the_bit(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path, kind: str, nimg: int
) -> None:
    config, data = variant(tiny, kind), make_data()
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.16))
    whole = run_whole(config, data, tmp_path / "whole")
    stop_at(config, data, tmp_path / "parts", nimg)
    resumed = prepare_resume(tmp_path / "parts", None, {}, silent)
    assert resumed.resume is not None
    assert carry_out(resumed, CPU, silent) == "finished"
    assert_same(whole, read_snapshot(RunDirectory(tmp_path / "parts").checkpoints()[-1]).tensors)


def test_conditional_runs_resume_to_the_bit(tiny: Config, make_data: Callable[..., Path], tmp_path: Path) -> None:
    data = make_data(classes=3)
    config = replace(tiny, network=replace(tiny.network, label_size=3))
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.08))
    whole = run_whole(config, data, tmp_path / "whole")
    stop_at(config, data, tmp_path / "parts", 40)
    carry_out(prepare_resume(tmp_path / "parts", None, {}, silent), CPU, silent)
    assert_same(whole, read_snapshot(RunDirectory(tmp_path / "parts").checkpoints()[-1]).tensors)


def test_readers_and_metrics_do_not_change_training(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_CACHE", str(tmp_path / "cache"))
    data = make_data()
    config = replace(tiny, schedule=replace(tiny.schedule, total_kimg=0.12))
    alone = run_whole(config, data, tmp_path / "alone")
    busy = replace(config.train, workers=1, metrics=("swd", "ms-ssim"), metric_ticks=1, metric_images=16)
    measured = run_whole(replace(config, train=busy), data, tmp_path / "measured")
    assert_same(alone, measured)
    records = RunDirectory(tmp_path / "measured").records()
    values = [record["values"] for record in records if record["kind"] == "metrics"]
    assert len(values) == 2
    assert {"swd", "swd/16", "ms-ssim"} <= values[0].keys()


@pytest.mark.slow
def test_metrics_in_the_background_give_the_same_values(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_CACHE", str(tmp_path / "cache"))
    data, found = make_data(), []
    base = replace(tiny, schedule=replace(tiny.schedule, total_kimg=0.06))
    for background in (False, True):
        train = replace(base.train, metrics=("swd",), metric_ticks=1, metric_images=16, metrics_background=background)
        out = tmp_path / str(background)
        run_whole(replace(base, train=train), data, out)
        found.append([r["values"] for r in RunDirectory(out).records() if r["kind"] == "metrics"])
    assert found[0] == found[1]
    assert len(found[0]) == 1


@pytest.mark.parametrize("background", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_measurement_that_fails_does_not_end_the_run(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    monkeypatch.setenv("METRICS_CACHE", str(tmp_path / "cache"))
    # SWD has no level below 16 pixels.
    train = replace(tiny.train, metrics=("swd",), metric_ticks=1, metric_images=16, metric_res=8)
    config = replace(
        tiny,
        train=replace(train, metrics_background=background),
        schedule=replace(tiny.schedule, total_kimg=0.06),
    )
    out = tmp_path / "run"
    run_whole(config, make_data(), out)
    records = RunDirectory(out).records()
    failed = [record for record in records if record["kind"] == "metrics-failed"]
    assert failed
    assert "16" in failed[0]["reason"]
    assert records[-1]["reason"] == "finished"


def test_what_a_run_leaves_behind(tiny: Config, make_data: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_whole(tiny, make_data(), out)
    run = RunDirectory(out)
    config, described = run.read_config()
    assert config == tiny
    assert described["n"] == 40
    assert len(run.checkpoints()) == tiny.train.keep
    kinds = [record["kind"] for record in run.records()]
    assert kinds[0] == "start"
    assert kinds[-1] == "stop"
    ticks = [record for record in run.records() if record["kind"] == "tick"]
    assert [tick["res"] for tick in ticks][-1] == 16
    assert ticks[0]["res"] < 16
    assert {"sec_per_kimg", "loss_d", "loss_g", "gradient_penalty", "data_wait", "lod"} <= ticks[0].keys()
    assert (out / "reals.png").is_file()
    assert list(out.glob("fakes*.png"))
    assert list((out / "tb").iterdir())
    assert not list(out.rglob("*.partial"))
    mode = (out / "config.json").stat().st_mode
    assert {path.stat().st_mode for path in out.rglob("*.safetensors")} == {mode}


def test_the_total_may_grow_and_the_rest_may_not(tiny: Config, make_data: Callable[..., Path], tmp_path: Path) -> None:
    data, out = make_data(), tmp_path / "run"
    config = replace(tiny, schedule=replace(tiny.schedule, total_kimg=0.06))
    run_whole(config, data, out)
    longer = prepare_resume(out, None, {"total_kimg": "0.1"}, silent)
    assert carry_out(longer, CPU, silent) == "finished"
    assert RunDirectory(out).read_config()[0].schedule.total_kimg == 0.1
    with pytest.raises(ConfigError, match="--fmap-max is 8 in this run and cannot become 16"):
        prepare_resume(out, None, {"fmap_max": "16"}, silent)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path
) -> None:
    out, warned = tmp_path / "run", []
    run_whole(tiny, make_data(), out)
    newest, before = RunDirectory(out).checkpoints()[-1], RunDirectory(out).checkpoints()[-2]
    newest.write_bytes(newest.read_bytes()[:-100])
    prepared = prepare_resume(out, None, {}, lambda record: warned.append(record["text"]))
    assert prepared.resume is not None
    assert prepared.resume.meta["nimg"] == int(before.stem)
    assert "cut short or damaged" in warned[0]
    flipped = bytearray(before.read_bytes())
    flipped[-50] ^= 1
    before.write_bytes(flipped)
    with pytest.raises(CheckpointError, match="checksum"):
        read_snapshot(before)


def test_broken_numbers_are_named_and_the_last_checkpoint_stays(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = make_data(), tmp_path / "run"
    config = replace(tiny, schedule=replace(tiny.schedule, total_kimg=0.06))
    run_whole(config, data, out)
    kept = RunDirectory(out).checkpoints()
    prepared = prepare_resume(out, None, {"total_kimg": "0.2"}, silent)
    training = Training(prepared.run, prepared.config, prepared.data, device=CPU, resume=prepared.resume, told=silent)
    with torch.no_grad():
        next(training.state.g.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"nan: training broke down; .*is kept") as caught:
        training.fit(StopRequest())
    assert caught.value.reason == "non-finite"
    assert RunDirectory(out).checkpoints() == kept
    assert RunDirectory(out).records()[-1]["reason"] == "non-finite"
    carry_out(prepare_resume(out, None, {"total_kimg": "0.08"}, silent), CPU, silent)


def test_a_stop_in_the_middle_of_a_tick_saves_no_broken_numbers(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path
) -> None:
    prepared = start(tiny, make_data(), tmp_path / "run")
    prepared.run.hold()
    prepared.run.write_config(tiny, prepared.data)
    training = Training(prepared.run, tiny, prepared.data, device=CPU, resume=None, told=silent)
    with torch.no_grad():
        next(training.state.g.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="nothing was saved yet"):
        training.fit(StopRequest(name="SIGTERM"))
    assert prepared.run.checkpoints() == []
    prepared.run.release()


def test_bad_input_is_named_and_leaves_no_run(tiny: Config, make_data: Callable[..., Path], tmp_path: Path) -> None:
    data, out = make_data(), tmp_path / "run"
    with pytest.raises(DataError, match="16 pixels, preset celebahq-1024 wants 1024; --res 16"):
        prepare_new("celebahq-1024", data, out, {})
    with pytest.raises(DataError, match="no such file"):
        prepare_new("demo", tmp_path / "no.h5", out, {"res": "16"})
    with pytest.raises(DataError, match="no labels"):
        prepare_new("demo", data, out, {"res": "16", "labels": "class"})
    with pytest.raises(ConfigError, match="preset 'none' is unknown"):
        prepare_new("none", data, out, {})
    with pytest.raises(ConfigError, match="--batch 'x'"):
        prepare_new("demo", data, out, {"res": "16", "batch": "x"})
    with pytest.raises(RunError, match="not the directory of a run"):
        prepare_resume(out, None, {}, silent)
    assert not out.exists()
    run_whole(replace(tiny, schedule=replace(tiny.schedule, total_kimg=0.02)), data, out)
    with pytest.raises(RunError, match="holds a run already"):
        prepare_new("demo", data, out, {"res": "16"})
    with pytest.raises(DataError, match="other images"):
        prepare_resume(out, make_data(seed=1, name="other.h5"), {}, silent)


def test_a_checkpoint_of_other_networks_is_refused(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = make_data(), tmp_path / "run"
    run_whole(replace(tiny, schedule=replace(tiny.schedule, total_kimg=0.02)), data, out)
    place = out / "config.json"
    plain = json.loads(place.read_text())
    plain["config"]["network"]["fmap_max"] = 4
    place.write_text(json.dumps(plain))
    with pytest.raises(CheckpointError, match="another configuration"):
        prepare_resume(out, None, {}, silent)


def test_a_full_disk_keeps_what_was_there(
    tiny: Config, make_data: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    from pgan.errors import DiskSpaceError

    data, out = make_data(), tmp_path / "run"
    run_whole(replace(tiny, schedule=replace(tiny.schedule, total_kimg=0.06)), data, out)
    kept = {path.name: path.read_bytes() for path in RunDirectory(out).checkpoints()}
    prepared = prepare_resume(out, None, {"total_kimg": "0.2"}, silent)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(DiskSpaceError, match="disk is full"):
        carry_out(prepared, CPU, silent)
    assert {path.name: path.read_bytes() for path in RunDirectory(out).checkpoints()} == kept


def test_two_processes_cannot_hold_one_run(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    first.hold()
    with pytest.raises(RunError, match="in use"):
        second.hold()
    first.release()
    second.hold()
    second.release()
