"""`celebahq build` and `celebahq import images` as a person calls them."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from celebahq_tools.cli import main
from celebahq_tools.pipeline.job import restorer_at_hand
from celebahq_tools.restore.base import RestorerStamp
from celebahq_tools.restore.plain import PlainRestorer

MakeCelebA = Callable[..., Path]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_sample_is_built_without_a_source(tmp_path: Path) -> None:
    result = run("build", "--out", tmp_path / "s.h5", "--res", 64, "--recipe", "plain", "--limit", 3, "--json", "-q")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["num_images"] == 3
    assert summary["res"] == 64
    assert summary["config"]["recipe"] == "plain"
    assert not summary["already_complete"]
    again = run("build", "--out", tmp_path / "s.h5", "--res", 64, "--recipe", "plain", "--limit", 3)
    assert again.exit_code == 0
    assert "complete already" in again.stdout


def test_without_other_weights_our_own_network_restores_and_it_is_said(
    tmp_path: Path, make_celeba: MakeCelebA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELEBAHQ_CACHE", str(tmp_path / "cache"))
    for number, options in enumerate(([], ["--recipe", "paper"])):
        out = tmp_path / f"{number}.h5"
        result = run("build", "--src", make_celeba(1, name=f"c{number}"), "--out", out, "--res", 32, "--json", *options)
        assert result.exit_code == 0, result.output
        assert "restoring with ours joint-1" in result.stderr
        assert "celebahq weights get realesrgan" in result.stderr
        config = json.loads(result.stdout)["config"]
        assert (config["recipe"], config["restorer"]["name"], config["restorer"]["task"]) == ("paper", "ours", "joint")
    root = make_celeba(1, name="p")
    plain = run("build", "--src", root, "--out", tmp_path / "p.h5", "--res", 32, "--restorer", "none", "--json")
    assert plain.exit_code == 0, plain.output
    assert json.loads(plain.stdout)["config"]["recipe"] == "plain"
    assert "restoring" not in plain.stderr
    root = make_celeba(1, name="b")
    for options in (["--recipe", "paper"], []):
        asked = run("build", "--src", root, "--out", tmp_path / "t.h5", "--restorer", "realesrgan", *options)
        assert asked.exit_code == 1
        assert "celebahq weights get realesrgan" in asked.stderr


def test_other_weights_that_are_there_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        def stamp(self) -> RestorerStamp:
            return replace(PlainRestorer().stamp(), name="realesrgan", version="0.1.0", precision="bf16")

    monkeypatch.setattr("celebahq_tools.restore.open_restorer", lambda config: Found())
    config, note = restorer_at_hand("bf16")
    assert (config.name, config.precision, note) == ("realesrgan", "bf16", "restoring with realesrgan 0.1.0, bf16")


def test_dry_run_estimates_and_writes_nothing(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root = make_celeba(7)
    before = sorted(tmp_path.rglob("*"))
    result = run("build", "--src", root, "--out", tmp_path / "s.h5", "--recipe", "plain", "--dry-run", "--json", "-q")
    assert result.exit_code == 0, result.output
    cost = json.loads(result.stdout)
    assert (cost["files"], cost["images"]) == (7, 7)
    assert cost["render_sec"] > 0
    assert 7 * 3 * 1024**2 < cost["disk_bytes"] < 7 * 3 * 1024**2 * 1.5
    assert 0 < cost["worker_gib"] < 8
    assert sorted(tmp_path.rglob("*")) == before
    text = run("build", "--src", root, "--out", tmp_path / "s.h5", "--recipe", "plain", "--dry-run")
    assert "about 7 images at 1024x1024" in text.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--out", "x.png"], 2, "expected a name ending in .h5"),
        (["--out", "x.h5", "--res", "100"], 2, "power of two"),
        (["--out", "x.h5", "--jobs", "0"], 2, "--jobs 0"),
        (["--out", "x.h5", "--ids", "@none.txt"], 2, "cannot be read"),
        (["--out", "x.h5", "--ids", " , "], 2, "names nothing"),
        (["--out", "x.h5", "--recipe", "plain", "--restorer", "realesrgan"], 2, "goes with --recipe paper"),
        (["--out", "x.h5", "--recipe", "plain", "--deltas", "d"], 2, "goes with --recipe official"),
        (["--out", "x.h5", "--recipe", "none"], 2, "Invalid value"),
        (["--out", "x.h5", "--src", "nowhere"], 1, "nowhere: no such folder or zip"),
        ([], 2, "Missing option '--out'"),
    ],
)
def test_wrong_usage_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("build", *arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_rejects_are_shown_and_strict_fails(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root = make_celeba(3)
    (root / "img_celeba" / "000002.jpg").write_bytes(b"")
    arguments = ["build", "--src", root, "--recipe", "plain", "--res", 32, "-q"]
    result = run(*arguments, "--out", tmp_path / "a.h5")
    assert result.exit_code == 0
    assert "Rejected pictures: 1" in result.stdout
    assert "000002.jpg" in result.stdout
    strict = run(*arguments, "--out", tmp_path / "b.h5", "--strict")
    assert strict.exit_code == 1
    assert len(strict.stderr.splitlines()) == 1


def test_images_are_imported(tmp_path: Path) -> None:
    (tmp_path / "src" / "cat").mkdir(parents=True)
    Image.fromarray(np.full((48, 64, 3), 9, np.uint8)).save(tmp_path / "src" / "cat" / "a.png")
    refused = run("import", "images", tmp_path / "src", "--out", tmp_path / "o.h5", "--res", 32)
    assert refused.exit_code == 1
    assert "--fit crop" in refused.stderr
    result = run("import", "images", tmp_path / "src", "--out", tmp_path / "o.h5", "--res", 32, "--fit", "crop")
    assert result.exit_code == 0, result.output
    assert "1 images, 32x32" in result.stdout


def test_help_is_quick_to_load_and_has_an_example() -> None:
    probe = (
        "import sys; from celebahq_tools.cli import main; heavy = {'numpy', 'torch', 'cv2', 'h5py', 'dlib', 'scipy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
    for command in main.commands.values():
        leaves = command.commands.values() if hasattr(command, "commands") else [command]
        for leaf in leaves:
            assert "Example" in (leaf.help or ""), f"{leaf.name}: no example in its help"
