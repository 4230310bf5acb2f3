"""The commands `metrics swd`, `metrics ms-ssim` and `metrics compare`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from metrics.cli import main


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the user's cache out of the tests."""
    monkeypatch.setenv("METRICS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, str]:
    """Two sets of 70 images of 32 pixels."""
    rng = np.random.default_rng(0)
    paths = []
    for role in ("real", "fake"):
        waves = rng.normal(0, 1, (70, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
        images = np.clip(128 + 40 * waves + rng.normal(0, 5, (70, 3, 32, 32)), 0, 255).astype(np.uint8)
        np.save(tmp_path / f"{role}.npy", images)
        paths.append(str(tmp_path / f"{role}.npy"))
    return paths[0], paths[1]


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result


def test_swd_prints_json_and_stores_it(sets: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "swd.json"
    done = run("swd", *sets, "--json", "--out", str(out), "--seed", "3", "--jobs", "2", "--quiet")
    plain = json.loads(done.stdout)
    assert plain == json.loads(out.read_text())
    assert plain["metric"] == "swd"
    assert list(plain["levels"]) == ["32", "16"]
    assert plain["value"] == pytest.approx(np.mean(list(plain["levels"].values())))
    assert plain["interval"]["low"] < plain["value"] < plain["interval"]["high"]
    assert plain["noise_floor"]["value"] > 0
    assert plain["protocol"]["name"] == "default"
    assert plain["protocol"]["seed"] == 3
    assert done.stderr == ""
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_swd_for_people(sets: tuple[str, str]) -> None:
    done = run("swd", *sets, "--n", "30")
    assert "noise floor" in done.stdout
    assert "n=30" in done.stdout
    assert "warning: n is 30" in done.stderr


def test_swd_of_one_set_is_the_floor(sets: tuple[str, str]) -> None:
    plain = json.loads(run("swd", sets[0], "--json", "--quiet").stdout)
    assert plain["metric"] == "swd-floor"
    assert plain["value"] == plain["noise_floor"]["value"]


def test_swd_uses_its_cache(sets: tuple[str, str], tmp_path: Path) -> None:
    run("swd", *sets, "--no-cache", "--quiet")
    assert not (tmp_path / "cache").exists()
    first = json.loads(run("swd", *sets, "--json", "--quiet").stdout)
    assert len(list((tmp_path / "cache" / "swd").iterdir())) == 1
    assert json.loads(run("swd", *sets, "--json", "--quiet").stdout)["value"] == first["value"]


def test_reference_protocol_and_batch(sets: tuple[str, str]) -> None:
    shared = ("swd", *sets, "--protocol", "reference", "--no-floor", "--json", "--quiet")
    values = [json.loads(run(*shared, "--batch", batch).stdout) for batch in ("10", "35")]
    assert values[0]["value"] != values[1]["value"]
    assert [plain["protocol"]["batch"] for plain in values] == [10, 35]
    assert values[0]["noise_floor"] is None


@pytest.mark.parametrize("command", ["swd", "ms-ssim"])
def test_dry_run_estimates_and_does_nothing(command: str, sets: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "none.json"
    arguments = sets if command == "swd" else sets[:1]
    plain = json.loads(run(command, *arguments, "--dry-run", "--json", "--out", str(out)).stdout)
    assert plain["seconds"] >= 0
    assert 1 << 20 < plain["memory_bytes"] < 3 << 30
    assert plain["disk_bytes"] == 0
    assert not out.exists()
    assert "GiB memory" in run(command, *arguments, "--dry-run").stdout


def test_dry_run_of_the_full_protocol_stays_in_bounds(tmp_path: Path) -> None:
    from metrics.sliced.config import SwdConfig
    from metrics.sliced.estimate import _disk, _memory
    from metrics.sliced.plan import SwdPlan

    numbers = {"real": np.arange(32_768), "fake": np.arange(16_384)}
    for protocol in ("default", "reference"):
        plan = SwdPlan(config=SwdConfig(protocol=protocol), res=1024, n=16_384, numbers=numbers, floor=True)
        assert _memory(plan, 2) < 3 << 30
        assert _disk(plan) == 2 * 16_384 * 128 * 147 * 4 * 7


def test_ms_ssim(sets: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "ms.json"
    plain = json.loads(run("ms-ssim", sets[0], "--json", "--quiet", "--out", str(out)).stdout)
    assert plain == json.loads(out.read_text())
    assert plain["metric"] == "ms-ssim"
    assert plain["details"]["pairs"] == 35
    assert plain["interval"]["standard_error"] == plain["details"]["standard_error"]
    adjacent = json.loads(run("ms-ssim", sets[0], "--pairs", "adjacent", "--n", "20", "--json").stdout)
    assert adjacent["protocol"]["settings"]["pairing"] == "adjacent"
    assert adjacent["details"]["pairs"] == 10


def test_compare(sets: tuple[str, str], tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name}.json") for name in ("a", "b", "c")}
    run("swd", *sets, "--out", files["a"], "--quiet")
    run("swd", *sets, "--seed", "1", "--out", files["b"], "--quiet")
    run("swd", *sets, "--n", "40", "--out", files["c"], "--quiet")
    table = run("compare", files["a"], files["b"]).stdout
    assert len(table.splitlines()) == 3
    rows = json.loads(run("compare", files["a"], files["b"], "--json").stdout)["results"]
    assert [row["seed"] for row in rows] == [0, 1]
    refused = run("compare", files["a"], files["c"], code=1)
    assert refused.stdout == ""
    assert "sets.real.n: 70" in refused.stderr
    assert "sets.fake.n: 70" in refused.stderr
    assert "two result files" in run("compare", files["a"], code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--n", "71"), 1, "has 70 images, asked for 71"),
        (("--res", "16"), 1, "asked for 16; name one with --resizer"),
        (("--res", "24", "--resizer", "box"), 2, "power of two"),
        (("--seed", str(2**63)), 2, "seed is"),
        (("--out", "none/a.json"), 2, "does not exist"),
        (("--protocol", "reference", "--dask", "tcp://127.0.0.1:1"), 2, "one sequence"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], code: int, message: str, sets: tuple[str, str]) -> None:
    done = run("swd", *sets, *arguments, "--quiet", code=code)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["swd", "ms-ssim", "compare"])
def test_help_has_an_example(command: str) -> None:
    assert f"metrics {command}" in run(command, "--help").stdout.split("Example:")[1]


def test_importing_the_command_is_light() -> None:
    script = (
        "import sys, metrics, metrics.cli\n"
        "heavy = {'numpy', 'cv2', 'scipy', 'h5py', 'torch', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
