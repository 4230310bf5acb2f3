"""`pgan fit`, `status` and `presets` as a person uses them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from celebahq_tools.store import PyramidMeta, SlotWriter, create_pyramid
from celebahq_tools.store.schema import IndexRow
from pgan.cli import main

FAST = [
    "--res", "16", "--fmap-base", "64", "--fmap-max", "8", "--latent", "8", "--training-kimg", "0.04",
    "--transition-kimg", "0.04", "--batch", "8", "--tick-kimg", "0.06", "--grid", "2x2", "--workers", "0",
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A pyramid of noise."""
    path, rng = tmp_path / "data.h5", np.random.default_rng(0)
    create_pyramid(path, rows=[IndexRow(key=str(n), file=str(n)) for n in range(24)], res=16, meta=PyramidMeta())
    with SlotWriter(path) as writer:
        for slot in range(24):
            writer.write(slot, rng.integers(0, 256, (3, 16, 16), dtype=np.uint8))
    return path


def test_fit_resume_and_status(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    call = ["fit", "--data", str(data), "--out", str(run), "--total-kimg", "0.12", *FAST, "--json", "-q"]
    first = CliRunner().invoke(main, call)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout) == {"run": str(run), "reason": "finished", "nimg": 120}
    again = CliRunner().invoke(main, call)
    assert again.exit_code == 1
    assert "holds a run already" in again.stderr
    longer = CliRunner().invoke(main, ["fit", "--resume", str(run), "--total-kimg", "0.2", "-q"])
    assert longer.exit_code == 0, longer.output
    status = CliRunner().invoke(main, ["status", str(run), "--json"])
    found = json.loads(status.stdout)
    assert found["kimg"] >= 0.2
    assert found["state"] == "finished"
    assert "sec/kimg" in CliRunner().invoke(main, ["status", str(run)]).output


def test_dry_run_prints_costs_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    call = ["fit", "--data", str(data), "--out", str(run), *FAST, "--dry-run", "--json"]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    plain = json.loads(done.stdout)
    assert plain["config"]["network"]["res"] == 16
    assert [row["res"] for row in plain["resolutions"]] == [4, 8, 16]
    assert 0 < plain["total_sec"] < 3600
    assert not run.exists()
    assert "kimg in about 0:" in CliRunner().invoke(main, call[:-1]).output


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "needs --data"),
        (["--out", "x", "--resume", "y"], 2, "--resume names the folder"),
        (["--out", "x", "--data", "missing.h5"], 1, "no such file"),
        (["--out", "x", "--data", "DATA", "--lr", "fast"], 2, "expected a number"),
        (["--out", "x", "--data", "DATA", "--device", "cuda"], 2, "no usable CUDA"),
        (["--resume", "nowhere"], 1, "not the directory of a run"),
    ],
)
def test_bad_options_are_one_line(data: Path, tmp_path: Path, options: list[str], code: int, words: str) -> None:
    import torch

    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    chosen = [str(data) if option == "DATA" else option for option in options]
    chosen = [str(tmp_path / option) if option in ("x", "y", "nowhere", "missing.h5") else option for option in chosen]
    done = CliRunner().invoke(main, ["fit", "-q", *chosen])
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_save_and_a_kill_can_be_resumed(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    options = ["--total-kimg", "500", *FAST, "--snapshot-ticks", "1", "-q"]
    command = [sys.executable, "-c", "from pgan.cli import main; main()", "fit", "--data", str(data), "--out", str(run)]
    process = subprocess.Popen([*command, *options])
    deadline = time.monotonic() + 120
    while not list((run / "checkpoints").glob("*.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(60) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    stopped = json.loads(CliRunner().invoke(main, ["status", str(run), "--json"]).stdout)
    assert stopped["state"] == ("SIGTERM" if number == signal.SIGTERM else "running or killed")
    newest = int(sorted((run / "checkpoints").glob("*.safetensors"))[-1].stem)
    total = str((newest + 40) / 1000)
    assert CliRunner().invoke(main, ["fit", "--resume", str(run), "--total-kimg", total, "-q"]).exit_code == 0


def test_presets_are_listed() -> None:
    listed = CliRunner().invoke(main, ["presets"])
    assert "celebahq-1024" in listed.output
    assert "cifar10" in listed.output


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from pgan.cli import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        "print([m for m in ('torch', 'h5py', 'cv2', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
