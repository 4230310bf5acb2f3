"""Results as JSON, and comparing them."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metrics
from metrics.compare import compare_results, comparison_table
from metrics.errors import ResultError, UnlikeProtocolsError, UsageError
from metrics.protocol import read_result, write_json
from metrics.sliced.config import SwdConfig


@pytest.fixture
def stored(natural_images: Any, tmp_path: Path) -> dict[str, Any]:
    """A real result as JSON, of 20 reals and fakes."""
    config = SwdConfig(repeats=1, directions=8)
    result = metrics.swd(natural_images(20, 32), natural_images(20, 32, seed=1), config=config)
    write_json(result.to_json(), tmp_path / "a.json")
    return read_result(tmp_path / "a.json")


def change(plain: dict[str, Any], keys: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(plain)
    *path, last = keys.split(".")
    target = changed
    for key in path:
        target = target[key]
    target[last] = value
    return changed


def test_a_result_carries_its_protocol(stored: dict[str, Any]) -> None:
    assert stored["metric"] == "swd"
    assert set(stored["levels"]) == {"32", "16"}
    assert stored["value"] == pytest.approx(np.mean(list(stored["levels"].values())))
    protocol = stored["protocol"]
    assert protocol["settings"]["levels"] == [32, 16]
    assert protocol["sets"]["real"]["n"] == 20
    assert len(protocol["sets"]["fake"]["fingerprint"]) == 64
    assert {"numpy", "python", "opencv-python-headless"} <= set(stored["run"]["versions"])
    assert stored["run"]["seconds"] > 0


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("protocol.sets.fake.fingerprint", "other"),
        ("protocol.sets.fake.label", "other"),
        ("protocol.sets.real.label", "moved"),
        ("protocol.seed", 7),
        ("run.seconds", 9.0),
        ("value", 3.0),
    ],
)
def test_what_may_differ(stored: dict[str, Any], keys: str, value: Any, tmp_path: Path) -> None:
    write_json(change(stored, keys, value), tmp_path / "b.json")
    rows = compare_results([tmp_path / "a.json", tmp_path / "b.json"])
    assert [row["metric"] for row in rows] == ["swd", "swd"]
    table = comparison_table(rows)
    assert len(table.splitlines()) == 3
    assert f"{stored['value']:.5g}" in table


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("protocol.name", "reference"),
        ("protocol.metric", "fid"),
        ("protocol.settings.patches", 64),
        ("protocol.settings.levels", [32]),
        ("protocol.sets.real.n", 10),
        ("protocol.sets.fake.n", 10),
        ("protocol.sets.fake.res", 64),
        ("protocol.sets.fake.resizer", "pillow-lanczos"),
        ("protocol.sets.real.fingerprint", "other"),
        ("protocol.extractor", "tiny"),
        ("protocol.weights_sha256", "00"),
    ],
)
def test_what_must_not_differ(stored: dict[str, Any], keys: str, value: Any, tmp_path: Path) -> None:
    write_json(change(stored, keys, value), tmp_path / "b.json")
    with pytest.raises(UnlikeProtocolsError) as caught:
        compare_results([tmp_path / "a.json", tmp_path / "b.json"])
    assert len(caught.value.differences) == 1
    assert keys.removeprefix("protocol.") in caught.value.differences[0]


def test_all_differences_are_listed(stored: dict[str, Any], tmp_path: Path) -> None:
    write_json(change(change(stored, "protocol.name", "x"), "protocol.sets.real.n", 3), tmp_path / "b.json")
    with pytest.raises(UnlikeProtocolsError, match=r"name: default.*sets\.real\.n: 20"):
        compare_results([tmp_path / "a.json", tmp_path / "b.json"])
    with pytest.raises(UsageError, match="two result files"):
        compare_results([tmp_path / "a.json"])


def test_damaged_files_are_refused(stored: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    for text, message in {
        "{": "not JSON",
        "[]": "not a metrics result",
        json.dumps(change(stored, "schema_version", 99)): "version 99",
        json.dumps(change(stored, "value", "many")): "finite number",
        json.dumps(change(stored, "protocol", None)): "'protocol' is missing",
    }.items():
        file.write_text(text)
        with pytest.raises(ResultError, match=message):
            read_result(file)
    with pytest.raises(ResultError, match="cannot read"):
        read_result(tmp_path / "none.json")


def test_writing_is_all_or_nothing(stored: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    before = file.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json({"value": float("nan")}, file)
    assert file.read_bytes() == before
    with pytest.raises(ResultError, match="cannot write"):
        write_json(stored, tmp_path / "none" / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]
