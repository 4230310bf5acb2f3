"""`pgan benchmark`: what it prints and what it refuses."""

import json

from click.testing import CliRunner

from pgan.cli import main


def test_json_names_every_resolution() -> None:
    arguments = ["benchmark", "--preset", "demo", "--max-res", "8", "--steps", "1", "--precision", "bf16"]
    result = CliRunner().invoke(main, [*arguments, "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["precision"] == "bf16"
    assert [row["res"] for row in found["resolutions"]] == [4, 8]
    assert all(row["sec_per_kimg"] > 0 and row["timed"] for row in found["resolutions"])


def test_the_table_has_a_line_per_resolution() -> None:
    result = CliRunner().invoke(main, ["benchmark", "--preset", "demo", "--max-res", "4", "--steps", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["res", "4"]


def test_an_unknown_preset_is_one_line_and_exit_code_2() -> None:
    result = CliRunner().invoke(main, ["benchmark", "--preset", "none"])
    assert result.exit_code == 2
    assert "preset 'none' is unknown" in result.stderr
