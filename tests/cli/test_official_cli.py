"""`celebahq doctor` and `celebahq identify`."""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from celebahq_tools.cli.doctor_cmd import doctor_cmd
from celebahq_tools.cli.identify_cmd import identify_cmd
from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid

SAMPLE = Path(__file__).resolve().parents[2] / "celebahq_tools" / "sample" / "celeba"


def run(command, *args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def findings(result) -> dict[str, dict]:
    return {finding["part"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_doctor_finds_nothing_wrong_with_the_miniature(official_root):
    root, _ = official_root
    result = run(doctor_cmd, "--src", root / "celeba", "--deltas", root / "deltas", "--deep", "--quiet")
    assert result.exit_code == 0, result.output
    assert "no problems" in result.output
    parts = findings(
        run(doctor_cmd, "--src", root / "celeba", "--deltas", root / "deltas", "--deep", "--quiet", "--json")
    )
    assert parts["delta zips"]["found"] == "2 of 2 are whole"
    assert parts["pictures"]["state"] == "partial"
    assert parts["picture files"]["state"] == "ok"
    assert parts["image_list.txt"]["state"] == "partial"


def test_doctor_names_each_problem_and_what_to_do(official_root, tmp_path):
    root, _ = official_root
    shutil.copytree(root, tmp_path / "mini")
    root = tmp_path / "mini"
    (root / "deltas" / "deltas01000.zip").write_bytes(b"<!DOCTYPE html><html>quota</html>")
    with zipfile.ZipFile(root / "deltas" / "deltas00000.zip") as old:
        kept = [(name, old.read(name)) for name in old.namelist()[1:]]
    with zipfile.ZipFile(root / "deltas" / "deltas00000.zip", "w") as new:
        for name, data in kept:
            new.writestr(name, data)
    rows = (root / "deltas" / "image_list.txt").read_text().split("\n")[1:]
    gone, cut = rows[0].split()[2], rows[1].split()[2]
    (root / "celeba" / "img_celeba" / gone).unlink()
    path = root / "celeba" / "img_celeba" / cut
    path.write_bytes(path.read_bytes()[:3000])
    result = run(doctor_cmd, "--src", root / "celeba", "--deltas", root / "deltas", "--deep", "-q", "--json")
    assert result.exit_code == 1
    parts = findings(result)
    assert parts["deltas01000.zip"]["state"] == "damaged"
    assert "HTML page" in parts["deltas01000.zip"]["found"]
    assert parts["deltas00000.zip"]["found"] == "lacks 1 of 4 deltas, first 0"
    assert gone in parts["pictures of the index"]["found"]
    assert cut in parts["picture files"]["found"]
    assert all(part["advice"] for part in parts.values() if part["state"] in ("missing", "damaged"))
    assert json.loads(result.stdout)["problems"] == 4


def test_doctor_survives_places_that_are_nothing(tmp_path):
    result = run(doctor_cmd, "--src", tmp_path / "no", "--deltas", tmp_path / "nothing", "-q")
    assert result.exit_code == 1
    assert result.output.count("no such folder") == 2
    assert run(doctor_cmd, "-q").exit_code == 0


def test_doctor_tells_photographs_from_celeba(tmp_path):
    shutil.copy(SAMPLE / "img_celeba" / "000001.jpg", tmp_path / "me.jpg")
    parts = findings(run(doctor_cmd, "--src", tmp_path, "-q", "--json"))
    assert "photographs" in parts["pictures"]["found"]


@pytest.fixture(scope="module")
def reference(official_root, tmp_path_factory) -> Path:
    """A verified build: the miniature's final images."""
    _, finals = official_root
    path = tmp_path_factory.mktemp("reference") / "official.h5"
    rows = [IndexRow(key=str(number), file=str(number)) for number in sorted(finals)]
    create_pyramid(path, res=1024, rows=rows, meta=PyramidMeta())
    with SlotWriter(path) as writer:
        for slot, number in enumerate(sorted(finals)):
            writer.write(slot, finals[number])
    return path


def save(image: np.ndarray, path: Path, **options) -> None:
    Image.fromarray(image.transpose(1, 2, 0)).save(path, **options)


def test_identify_without_a_reference_claims_no_more_than_it_knows(official_root, tmp_path):
    root, finals = official_root
    folder = tmp_path / "supposed"
    folder.mkdir()
    save(finals[7], folder / "00007.png")
    np.save(folder / "imgHQ00001.npy", finals[1][None])
    save(finals[999], folder / "00999.jpg", quality=95)
    save(finals[0][:, ::4, ::4], folder / "small.png")
    save(finals[0] ^ np.uint8(1), folder / "01000.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    result = run(
        identify_cmd, folder, "--index", root / "deltas" / "image_list.txt", "-q", "--json", "--csv", tmp_path / "t.csv"
    )
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    kinds = {row["name"]: (row["kind"], row["idx"], row["claimed"]) for row in told["table"]}
    assert kinds == {
        "00007.png": ("official", [7], 7),
        "imgHQ00001.npy": ("official", [1], 1),
        "00999.jpg": ("unverifiable", [], 999),
        "small.png": ("unverifiable", [], None),
        "01000.png": ("unknown", [], 1000),
        "broken.png": ("unreadable", [], None),
    }
    assert told["distinct_official"] == 2
    with (tmp_path / "t.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(told["table"])
    text = run(identify_cmd, folder, "--index", root / "deltas" / "image_list.txt", "-q").output
    assert "2 distinct of 6 official ones" in text


@pytest.mark.parametrize("change", ["jpeg", "resized", "both"])
def test_identify_finds_copies_with_a_reference(official_root, reference, tmp_path, change):
    root, finals = official_root
    folder = tmp_path / "copies"
    folder.mkdir()
    for number, final in finals.items():
        image = Image.fromarray(final.transpose(1, 2, 0))
        if change != "jpeg":
            image = image.resize((256, 256), Image.Resampling.BICUBIC)
        options = {"quality": 75} if change != "resized" else {}
        image.save(folder / f"copy{number}.{'jpg' if options else 'png'}", **options)
    save(np.roll(finals[0], 300, axis=2), folder / "other.png")
    result = run(
        identify_cmd, folder, "--index", root / "deltas" / "image_list.txt", "--reference", reference, "-q", "--json"
    )
    for row in json.loads(result.stdout)["table"]:
        if row["name"] == "other.png":
            assert row["kind"] == "unknown"
        else:
            number = int(row["name"].removeprefix("copy").partition(".")[0])
            assert (row["kind"], row["idx"]) == ("copy", [number])
            assert row["psnr_db"] >= 30


def test_identify_reads_zips_and_pyramids(official_root, reference, tmp_path):
    root, finals = official_root
    index = root / "deltas" / "image_list.txt"
    result = run(identify_cmd, reference, "--index", index, "-q", "--json")
    assert result.exit_code == 0, result.output
    assert [row["idx"] for row in json.loads(result.stdout)["table"]] == [[number] for number in sorted(finals)]

    save(finals[7], tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "deep/00007.png")
    result = run(identify_cmd, tmp_path / "set.zip", "--index", index, "-q", "--json")
    assert result.exit_code == 0
    assert run(identify_cmd, tmp_path / "a.png", "--index", index, "-q").exit_code == 0


def test_identify_refuses_what_holds_no_pictures(tmp_path):
    for path in (tmp_path, tmp_path / "no"):
        result = run(identify_cmd, path, "-q")
        assert result.exit_code == 1
        assert result.output.startswith("error: ")
    assert run(identify_cmd, tmp_path, "--index", tmp_path / "no.txt").exit_code == 1
