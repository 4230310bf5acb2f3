"""The commands `metrics is|fid|kid|pr|features|all`, with the tiny network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from metrics.cli import main

TINY = ["--extractor", "tiny"]


def pictures(n: int, seed: int = 0, spread: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    colours = (128 + rng.integers(-spread, spread + 1, (n, 3, 4, 4))).astype(np.uint8)
    return colours.repeat(8, axis=2).repeat(8, axis=3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRICS_WEIGHTS", str(tmp_path / "weights"))
    np.save("real.npy", pictures(60))
    np.save("fake.npy", pictures(50, 1, 90))
    return tmp_path


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result


def as_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, *TINY, "--json", "--quiet").stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("is", "fake.npy"),
        ("fid", "real.npy", "fake.npy"),
        ("kid", "real.npy", "fake.npy", "--subset-size", "20"),
        ("pr", "real.npy", "fake.npy"),
        ("fid", "real.npy"),
        ("kid", "real.npy", "--subset-size", "20"),
        ("pr", "real.npy"),
    ],
)
def test_json_has_the_fields_of_a_result(folder: Path, arguments: tuple[str, ...]) -> None:
    plain = as_json(*arguments)
    assert plain["metric"] == arguments[0]
    assert {"value", "std", "interval", "noise_floor", "protocol", "warnings", "run"} <= set(plain)
    assert plain["protocol"]["extractor"] == "tiny"
    assert len(plain["protocol"]["weights_sha256"]) == 64
    assert any("tiny" in line for line in plain["warnings"])
    if "fake.npy" in arguments and arguments[0] != "is":
        assert plain["noise_floor"] is not None
    assert as_json(*arguments, "--jobs", "1", "--batch", "3")["value"] == plain["value"]


def test_text_shows_value_and_warnings_and_out_stores_the_json(folder: Path) -> None:
    shown = run("fid", "real.npy", "fake.npy", *TINY, "--out", "r.json")
    stored = json.loads(Path("r.json").read_text())
    assert f"{stored['value']:.6g}" in shown.stdout
    assert "not comparable with published" in shown.stderr
    quiet = run("pr", "real.npy", "fake.npy", *TINY, "--quiet")
    assert "recall" in quiet.stdout
    assert quiet.stderr == ""


def test_one_set_alone_is_cut_into_halves(folder: Path) -> None:
    sets = as_json("kid", "real.npy", "--subset-size", "30")["protocol"]["sets"]
    assert sets["real"]["n"] == sets["fake"]["n"] == 30
    assert "half" in sets["real"]["selection"]
    assert "cut into halves" in run("kid", "real.npy", "--subset-size", "31", *TINY, code=1).stderr


def test_features_and_statistics_files_take_the_place_of_images(folder: Path) -> None:
    made = as_json("features", "real.npy", "--out", "f.npz", "--stats", "s.npz", "--layers", "pool,logits_unbiased")
    assert made["layers"] == {"pool": 64, "logits_unbiased": 16}
    with np.load("f.npz") as stored:
        assert stored["pool"].shape == (60, 64)
    value = as_json("fid", "real.npy", "fake.npy")["value"]
    assert as_json("fid", "f.npz", "fake.npy")["value"] == value
    assert as_json("fid", "s.npz", "fake.npy")["value"] == pytest.approx(value, rel=1e-12)
    assert as_json("is", "f.npz")["value"] == as_json("is", "real.npy")["value"]
    assert "only FID can use" in run("pr", "s.npz", "fake.npy", *TINY, code=1).stderr
    assert "need the images themselves" in run("all", "f.npz", "fake.npy", code=2).stderr


def test_stats_cache_saves_the_second_pass(folder: Path) -> None:
    arguments = ("fid", "real.npy", "fake.npy", "--stats-cache", "cache")
    first, second = as_json(*arguments), as_json(*arguments)
    assert second["value"] == pytest.approx(first["value"], rel=1e-12)
    assert set(first["details"]["feature_pass"]) == {"real", "fake"}
    assert set(second["details"]["feature_pass"]) == {"fake"}


def test_infinity_is_reference_and_layer(folder: Path) -> None:
    assert "fid_infinity" in as_json("fid", "real.npy", "fake.npy", "--infinity")["details"]
    assert as_json("is", "fake.npy", "real.npy")["details"]["reference"]["value"] > 1
    biased = as_json("is", "fake.npy", "--layer", "logits")
    assert biased["protocol"]["settings"]["layer"] == "logits"
    assert as_json("is", "fake.npy", "--no-shuffle", "--splits", "2")["protocol"]["settings"]["shuffle"] is False


def test_all_gives_every_result_and_stores_each(folder: Path) -> None:
    plain = as_json("all", "real.npy", "fake.npy", "--subset-size", "20", "--out", "results")
    names = [result["metric"] for result in plain["results"]]
    assert names == ["swd", "ms-ssim", "is", "fid", "kid", "pr"]
    for result in plain["results"]:
        assert json.loads(Path("results", f"{result['metric']}.json").read_text()) == result
    assert plain["results"][3]["value"] == as_json("fid", "real.npy", "fake.npy")["value"]
    text = run("all", "real.npy", "fake.npy", *TINY, "--metrics", "is,pr").stdout
    assert text.index("is  ") < text.index("pr  ")


@pytest.mark.parametrize("command", ["is", "fid", "kid", "pr", "features", "all"])
def test_dry_run_computes_nothing(folder: Path, command: str) -> None:
    arguments = ["fake.npy"] if command in ("is", "features") else ["real.npy", "fake.npy"]
    arguments += ["--out", "o.npz"] if command == "features" else []
    arguments += ["--subset-size", "20"] if command in ("kid", "all") else []
    before = sorted(path.name for path in folder.iterdir())
    assert "would" in run(command, *arguments, *TINY, "--dry-run").stdout
    plain = json.loads(run(command, *arguments, *TINY, "--dry-run", "--json").stdout)
    assert plain["memory_bytes"] > 0
    assert sorted(path.name for path in folder.iterdir()) == before


def test_dry_run_without_weights_says_what_is_missing(folder: Path) -> None:
    shown = run("fid", "real.npy", "fake.npy", "--dry-run").stdout
    assert "time unknown" in shown
    assert "6726825d" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fid", "real.npy", "fake.npy", "--no-download"), 1, "pt_inception-2015-12-05-6726825d.pth is needed"),
        (("fid", "real.npy", "fake.npy", "--weights", "real.npy"), 1, "not a readable weights file"),
        (("fid", "real.npy", "fake.npy", "--extractor", "vgg"), 2, "choose inception-2015, tiny or onnx:PATH"),
        (("fid", "none.npy", "fake.npy", *TINY), 1, "does not exist"),
        (("kid", "real.npy", "fake.npy", *TINY), 1, "name a smaller --subset-size"),
        (("is", "fake.npy", *TINY, "--n", "51"), 1, "asked for 51"),
        (("fid", "real.npy", "fake.npy", *TINY, "--layer", "2048"), 2, "no layer 2048"),
        (("fid", "real.npy", "fake.npy", *TINY, "--out", "no/r.json"), 2, "does not exist; create it"),
        (("features", "real.npy", *TINY, "--out", "f.txt"), 2, "should end in .npz"),
        (("features", "real.npy", *TINY, "--out", "f.npz", "--layers", "pool,pool"), 2, "names a layer twice"),
        (("all", "real.npy", "fake.npy", *TINY, "--metrics", "fad"), 2, "name some of"),
        (("fid", "real.npy", "fake.npy", "--extractor", "onnx:no.onnx"), 1, "cannot read weights no.onnx"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(
    folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = run(*arguments, "--quiet", code=code)
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize("command", ["is", "fid", "kid", "pr", "features", "all"])
def test_help_has_an_example(command: str) -> None:
    assert f"metrics {command} " in run(command, "--help").stdout


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, metrics.cli; print([m for m in ('torch', 'numpy', 'scipy', 'PIL') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
