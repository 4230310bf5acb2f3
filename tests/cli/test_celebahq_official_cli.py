"""`celebahq build --recipe official` on the golden vectors: a CelebA root, delta files and index of twelve pictures."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from celebahq_tools.cli import main
from celebahq_tools.store import PyramidReader

pytestmark = pytest.mark.shared
pytest.importorskip("jpeglib")
pytest.importorskip("cryptography")


def build(golden: Path, out: Path, *options: object) -> Result:
    arguments = ["build", "--recipe", "official", "--src", golden / "celeba", "--deltas", golden / "deltas", "-q"]
    return CliRunner().invoke(main, [str(item) for item in (*arguments, "--out", out, *options)])


@pytest.fixture
def golden(shared: Path, tmp_path: Path) -> Path:
    """A copy of the golden CelebA root and deltas that a test may damage."""
    for name in ("celeba", "deltas"):
        shutil.copytree(shared / "golden" / "celebahq" / name, tmp_path / "golden" / name, copy_function=shutil.copy)
    for folder in (tmp_path / "golden").rglob("*"):
        if folder.is_dir():
            folder.chmod(0o755)
    return tmp_path / "golden"


def final_md5(golden: Path) -> list[str]:
    rows = (golden / "deltas" / "image_list.txt").read_text().split("\n")[1:]
    return [row.split()[4] for row in rows if row.strip()]


def test_every_image_is_bit_exact(golden: Path, tmp_path: Path) -> None:
    result = build(golden, tmp_path / "o.h5", "--jobs", 2, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_images"] == 12
    with PyramidReader(tmp_path / "o.h5") as reader:
        made = [hashlib.md5(reader.read(slot).tobytes()).hexdigest() for slot in range(12)]
        assert made == final_md5(golden)
        assert list(reader.index.key[:2]) == ["00000", "00001"]
        assert list(reader.index.file[:2]) == ["000004.jpg", "000001.jpg"]


def test_a_smaller_resolution_is_the_level_of_the_full_one(golden: Path, tmp_path: Path) -> None:
    assert build(golden, tmp_path / "o.h5", "--ids", "3,7").exit_code == 0
    assert build(golden, tmp_path / "s.h5", "--ids", "3,7", "--res", 256).exit_code == 0
    with PyramidReader(tmp_path / "o.h5") as full, PyramidReader(tmp_path / "s.h5") as small:
        assert small.levels[0] == 256
        np.testing.assert_array_equal(small.read([0, 1]), full.read([0, 1], 256))


def test_a_mismatch_is_rejected_and_the_rest_is_built(golden: Path, tmp_path: Path) -> None:
    pictures = golden / "celeba" / "img_celeba"
    shutil.copy(pictures / "000005.jpg", pictures / "000002.jpg")
    result = build(golden, tmp_path / "o.h5", "--ids", "3,8")
    assert result.exit_code == 1
    rejects = [json.loads(line) for line in (tmp_path / "o.rejects.jsonl").read_text().splitlines()]
    assert [(item["key"], item["reason"]) for item in rejects] == [("00003", "proc-md5")]
    assert "expected md5 d2dd69992b3cf2fd526cbb2c45fb8cca, found " in rejects[0]["message"]
    with PyramidReader(tmp_path / "o.h5") as reader:
        assert list(reader.index.key) == ["00008"]
        assert hashlib.md5(reader.read(0).tobytes()).hexdigest() == final_md5(golden)[8]


def test_missing_pictures_are_noted_and_the_rest_is_built(golden: Path, tmp_path: Path) -> None:
    for number in range(1, 11):
        (golden / "celeba" / "img_celeba" / f"{number:06d}.jpg").unlink()
    result = build(golden, tmp_path / "o.h5", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["num_images"] == 2
    assert any("lacks 10 pictures" in note for note in summary["notes"])
    assert any("partial: 2 of 30,000" in note for note in summary["notes"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep", 3], "--keep goes with the other recipes"),
        (["--res", 2048], "have 1024 pixels a side"),
        (["--ids", "a"], "numbers of the official index"),
        (["--ids", "77"], "the index has no image 77"),
    ],
)
def test_options_that_make_no_sense(golden: Path, tmp_path: Path, options: list[object], words: str) -> None:
    result = build(golden, tmp_path / "o.h5", *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_damaged_deltas_are_named_before_any_work(golden: Path, tmp_path: Path) -> None:
    (golden / "deltas" / "deltas00000.zip").chmod(0o644)
    (golden / "deltas" / "deltas00000.zip").write_bytes(b"<!DOCTYPE html><html>Quota exceeded</html>")
    result = build(golden, tmp_path / "o.h5")
    assert result.exit_code == 1
    assert "deltas00000.zip" in result.stderr
    assert "HTML" in result.stderr
    assert not (tmp_path / "o.plan.jsonl").exists()


def test_deltas_must_be_given(golden: Path, tmp_path: Path) -> None:
    arguments = ["build", "--recipe", "official", "--src", golden / "celeba", "--out", tmp_path / "o.h5"]
    result = CliRunner().invoke(main, [str(item) for item in arguments])
    assert result.exit_code == 2
    assert "--deltas" in result.stderr
