"""`pgan sample`, `video`, `eval` and `export` as commands: output, exit codes, one line per error."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid
from pgan.cli import main
from pgan.config import NetworkConfig, config_json
from pgan.generate import write_generator
from pgan.networks.build import build_generator
from pgan.presets import preset


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory with two networks, and the pyramid it names."""
    torch.set_num_threads(1)
    network = NetworkConfig(res=16, fmap_base=64, fmap_max=8, latent=8)
    base = preset("demo")
    config = replace(base, network=network, schedule=replace(base.schedule, start_res=4))
    run = tmp_path / "run"
    (run / "networks").mkdir(parents=True)
    for kimg in (5, 10):
        path = run / "networks" / f"{kimg:06d}.safetensors"
        write_generator(path, config, build_generator(config, kimg), lod=0.0, nimg=1000 * kimg)
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 16, 16), dtype=np.uint8)
    data = tmp_path / "data.h5"
    create_pyramid(data, res=16, rows=[IndexRow(key=str(k), file="made") for k in range(12)], meta=PyramidMeta())
    with SlotWriter(data) as writer:
        for slot, image in enumerate(images):
            writer.write(slot, image)
    plain = {"schema": "celebahq-tools/pgan-run", "config": config_json(config), "data": {"path": str(data)}}
    (run / "config.json").write_text(json.dumps(plain))
    return run


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(code: int, message: str, *arguments: Any) -> None:
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["sample", "video", "eval", "export"])
def test_help_has_an_example(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"pgan {command} runs/cifar10" in result.output


def test_sample_writes_and_reports(run_dir: Path, tmp_path: Path) -> None:
    result = call(
        "sample",
        run_dir,
        "--out",
        tmp_path / "s.npy",
        "--n",
        6,
        "--grid",
        "3x2",
        "--grid-out",
        tmp_path / "g.png",
        "--json",
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["n"], report["res"], report["shown"]) == (6, 16, 6)
    assert report["network"].endswith("000010.safetensors")
    assert np.load(tmp_path / "s.npy").shape == (6, 3, 16, 16)
    with Image.open(tmp_path / "g.png") as image:
        assert image.size == (48, 32)


def test_sample_dry_run_and_quiet(run_dir: Path, tmp_path: Path) -> None:
    dry = call("sample", run_dir, "--out", tmp_path / "new", "--seeds", "0-3", "--dry-run")
    assert dry.exit_code == 0
    assert "would make 4 images of 16x16" in dry.stdout
    assert not (tmp_path / "new").exists()
    quiet = call("sample", run_dir, "--out", tmp_path / "new", "--seeds", "0-3", "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert len(list((tmp_path / "new").glob("*.png"))) == 4


def test_sample_refusals(run_dir: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x")
    refused(2, "nothing to write", "sample", run_dir)
    refused(2, "exclude each other", "sample", run_dir, *out, "--n", 3, "--seeds", "1")
    refused(2, "truncation is not defined", "sample", run_dir, *out, "--truncation", 0.7)
    refused(2, "not conditional", "sample", run_dir, *out, "--label", 1)
    refused(2, "name --grid-out", "sample", run_dir, *out, "--grid", "2x2")
    refused(1, "does not exist", "sample", run_dir / "networks" / "000099.safetensors", *out)
    refused(1, "holds no networks", "sample", tmp_path, *out)
    bad = run_dir / "networks" / "000010.safetensors"
    bad.write_bytes(bad.read_bytes()[:500])
    refused(1, "cut short or damaged", "sample", run_dir, *out)


def test_video_of_walk_strip_and_progress(run_dir: Path, tmp_path: Path) -> None:
    short = ("--seconds", 1, "--fps", 4)
    result = call("video", run_dir, "--out", tmp_path / "w.mp4", "--strip", tmp_path / "strip.png", *short, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["frames"] == 4
    with Image.open(tmp_path / "strip.png") as image:
        assert image.size == (160, 16)
    film = tmp_path / "p.mp4"
    dry = call("video", run_dir, "--training-progress", "--out", film, *short, "--dry-run")
    assert (dry.exit_code, film.exists()) == (0, False)
    assert call("video", run_dir, "--training-progress", "--out", film, *short, "-q").exit_code == 0
    assert film.stat().st_size > 500
    refused(2, "too few for 2 networks", "video", run_dir, "--training-progress", "--out", film, "--seconds", 0.02)
    refused(2, "nothing to write", "video", run_dir)
    refused(2, "no --strip", "video", run_dir, "--training-progress", "--strip", tmp_path / "x.png")
    refused(1, "does not exist", "video", tmp_path / "none", "--training-progress", "--out", film, *short)


def test_eval_measures_names_the_best_and_goes_on(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METRICS_WEIGHTS", str(tmp_path / "no-weights"))
    dry = call("eval", run_dir, "--dry-run")
    assert dry.exit_code == 0
    assert "2 networks" in dry.stdout
    result = call("eval", run_dir, "--n", 12, "--metrics", "swd,fid", "--jobs", 1, "--json", "-q")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    values = [row["values"]["swd"] for row in report["networks"]]
    assert report["best"]["swd"] == report["networks"][int(np.argmin(values))]["network"]
    assert "weights" in report["skipped"]["fid"]
    again = call("eval", run_dir, "--n", 12, "--metrics", "swd", "--jobs", 1, "--json", "-q")
    assert [row["measured"] for row in json.loads(again.stdout)["networks"]] == [[], []]
    text = call("eval", run_dir, "--n", 12, "--metrics", "swd", "-q").stdout
    assert f"{values[0]:.3f}" in text
    assert "best swd: " in text
    refused(1, "12 images, asked for 50", "eval", run_dir, "--n", 50, "-q")
    refused(2, "name some of", "eval", run_dir, "--metrics", "beauty")
    refused(1, "does not exist", "eval", tmp_path / "none")
    (tmp_path / "data.h5").unlink()
    refused(1, "data.h5 does not exist", "eval", run_dir, "-q", "--n", 4)


def test_export_reports_the_difference(run_dir: Path, tmp_path: Path) -> None:
    refused(2, "ends in .onnx", "export", run_dir, "--out", tmp_path / "x.bin")
    dry = call("export", run_dir, "--out", tmp_path / "x.onnx", "--dry-run")
    assert "would write" in dry.stdout
    assert not (tmp_path / "x.onnx").exists()
    result = call("export", run_dir, "--out", tmp_path / "x.onnx", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["relative"] < 1e-4
    assert (tmp_path / "x.onnx").is_file()


def test_metrics_takes_a_run(run_dir: Path, tmp_path: Path, entry_point: None) -> None:
    from metrics.cli import main as metrics_main

    for source in (run_dir, run_dir / "networks" / "000010.safetensors"):
        arguments = ["swd", str(tmp_path / "data.h5"), str(source), "--no-floor", "--no-cache", "--json", "-q"]
        result = CliRunner().invoke(metrics_main, arguments)
        assert result.exit_code == 0, result.output
        fake = json.loads(result.stdout)["protocol"]["sets"]["fake"]
        assert (fake["kind"], fake["n"], fake["available"]) == ("checkpoint", 12, 65_536)


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """This checkout's entry point, whatever is installed."""
    from importlib import metadata

    entry = metadata.EntryPoint("safetensors", "pgan.image_set:open_generator", "celebahq_tools.image_sets")
    monkeypatch.setattr("metrics.sources.generators.metadata.entry_points", lambda **_: [entry])
