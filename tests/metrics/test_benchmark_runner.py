"""`python -m benchmarks`: figures, ratios to a baseline, and a run of one small benchmark."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.__main__")  # type: ignore[return-value]


def record(path: Path, command: str, median: float, better: str) -> Path:
    figures = {"f": {"smallest": median, "median": median, "largest": median, "unit": "x", "better": better}}
    plain = {"command": command, "figures": figures, "machine": {"processor": "p"}}
    path.write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize(("better", "shown"), [("higher", "0.50 times"), ("lower", "2.00 times")])
def test_regressions_are_ratios(runner: ModuleType, tmp_path: Path, better: str, shown: str) -> None:
    before = record(tmp_path / "before.json", "c", 4, better)
    (line,) = runner.table(record(tmp_path / "now.json", "c", 2, better), before)
    assert shown in line


def test_records_name_no_folders(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = importlib.import_module("benchmarks.record")
    monkeypatch.setenv(made.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(
        sys, "argv", ["x", "--images", "9", "--cifar", str(tmp_path / "c.zip"), f"--src={tmp_path}/set/", "-q"]
    )
    plain = json.loads(made.write_results("formats", {"images": 9}).read_text())
    assert plain["command"] == "python -m benchmarks.formats --images 9 --cifar c.zip --src=set -q"


def test_other_commands_are_not_compared(runner: ModuleType, tmp_path: Path) -> None:
    before = record(tmp_path / "before.json", "other", 4, "higher")
    lines = runner.table(record(tmp_path / "now.json", "c", 2, "higher"), before)
    assert "times" not in lines[0]
    assert "other" in lines[1]


def test_every_benchmark_is_a_module_with_figures(runner: ModuleType) -> None:
    for name in runner.RUNS:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name
    stored = [json.loads(path.read_text()) for path in (ROOT / "benchmarks" / "results").glob("*.json")]
    assert [plain["benchmark"] for plain in stored if "figures" not in plain] == []


def test_one_command_runs_and_stores(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "ms_ssim", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    plain = json.loads((tmp_path / "ms_ssim.json").read_text())
    assert plain["figures"]["speed over plain, 1 job"]["median"] > 0
    assert plain["command"].startswith("python -m benchmarks.ms_ssim --res 256")
    assert {"machine", "versions", "config"} <= set(plain)
