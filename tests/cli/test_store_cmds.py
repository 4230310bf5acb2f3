"""info, verify, sheet, export and repack as commands."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from celebahq_tools.cli.export_cmd import export_cmd, parse_ids
from celebahq_tools.cli.info_cmd import info_cmd
from celebahq_tools.cli.repack_cmd import repack_cmd
from celebahq_tools.cli.sheet_cmd import sheet_cmd
from celebahq_tools.cli.verify_cmd import verify_cmd
from celebahq_tools.errors import UsageError
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid

COUNT = 7


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    path = tmp_path / "faces.h5"
    rows = [
        IndexRow(key=f"face {k}", file=f"{k}.jpg", quality=k / 2, label=k % 2, partition=0, identity=k)
        for k in range(COUNT)
    ]
    meta = PyramidMeta(build_config={"recipe": "plain"}, manifest_sha256="cd" * 32, library_versions={"numpy": "2"})
    create_pyramid(path, res=32, rows=rows, meta=meta, label_names=("cat", "dog"))
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8)
    with SlotWriter(path) as writer:
        for slot, image in enumerate(images):
            writer.write(slot, image)
    return path


def run(command: object, *args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])  # type: ignore[arg-type]


def test_info(pyramid: Path) -> None:
    text = run(info_cmd, pyramid, "--config")
    assert text.exit_code == 0
    for part in ("celebahq-pyramid version 1", "7 of 32x32", "contiguous", "sha256-index:", "classes      2: cat, dog"):
        assert part in text.output
    assert '"recipe": "plain"' in text.output
    facts = json.loads(run(info_cmd, pyramid, "--json").output)
    assert facts["num_images"] == COUNT
    assert facts["counts"]["partitions"] == {"train": COUNT}


def test_verify(pyramid: Path) -> None:
    good = run(verify_cmd, pyramid, "--quiet")
    assert (good.exit_code, good.output) == (0, f"{pyramid}: 7 images, checksums and levels: ok\n")
    with PyramidReader(pyramid) as reader:
        at = reader.layout.levels[32].offset
    assert at is not None
    with pyramid.open("r+b") as file:
        file.seek(at + 3 * 3 * 32 * 32)
        file.write(b"\x00\xff\x00")
    bad = run(verify_cmd, pyramid, "-q", "-j", 2)
    assert bad.exit_code == 1
    assert "image 3 (face 3): pixels do not match their sha256" in bad.output
    report = json.loads(run(verify_cmd, pyramid, "-q", "--json").output)
    assert report["bad"] == [{"slot": 3, "key": "face 3", "problem": "pixels do not match their sha256"}]


def test_sheet(pyramid: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "contact.png"
    result = json.loads(run(sheet_cmd, pyramid, "-o", out, "--limit", 4, "--seed", 1, "--json").output)
    again = json.loads(run(sheet_cmd, pyramid, "-o", out, "--limit", 4, "--seed", 1, "--json").output)
    assert result == again
    assert len(result["images"]) == 4
    assert result["images"] == sorted(result["images"])
    with Image.open(out) as picture:
        assert picture.size == (result["width"], result["height"])
    assert json.loads(run(sheet_cmd, pyramid, "-o", out, "--json").output)["images"] == list(range(COUNT))
    narrow = json.loads(run(sheet_cmd, pyramid, "-o", out, "--cols", 1, "--res", 4, "--json").output)
    assert narrow["height"] > 4 * narrow["width"]


def test_export(pyramid: Path, tmp_path: Path) -> None:
    result = run(export_cmd, pyramid, "--to", tmp_path / "out", "--res", 8, "--ids", "5,0-2", "--limit", 3, "-q")
    assert result.exit_code == 0
    names = sorted(item.name for item in (tmp_path / "out").iterdir())
    assert names == ["00000.png", "00001.png", "00005.png", "index.csv"]
    zipped = run(export_cmd, pyramid, "--to", tmp_path / "out.zip", "--json", "-q", "-j", 2)
    assert json.loads(zipped.output) == {"to": str(tmp_path / "out.zip"), "images": COUNT, "res": 32}


def test_repack(pyramid: Path, tmp_path: Path) -> None:
    packed, again = tmp_path / "packed.h5", tmp_path / "again.h5"
    assert run(repack_cmd, pyramid, "--out", packed, "--compress", "gzip", "--level", 1, "-q").exit_code == 0
    assert run(repack_cmd, packed, "--out", again, "--compress", "none", "-q").exit_code == 0
    assert again.read_bytes() == pyramid.read_bytes()


@pytest.mark.parametrize(
    ("command", "args", "exit_code", "message"),
    [
        (info_cmd, ["missing.h5"], 1, "no such file"),
        (info_cmd, ["text.h5"], 1, "not an HDF5 file"),
        (verify_cmd, ["text.h5", "-q"], 1, "not an HDF5 file"),
        (sheet_cmd, ["faces.h5", "-o", "x.png", "--res", "64"], 2, "no level 64"),
        (export_cmd, ["faces.h5", "--to", "x", "--ids", "9", "-q"], 2, "9 is outside 0-6"),
        (export_cmd, ["faces.h5", "--to", "x", "--ids", "a", "-q"], 2, "no image number or range"),
        (repack_cmd, ["faces.h5", "--out", "faces.h5", "-q"], 2, "exists already"),
        (repack_cmd, ["faces.h5", "--out", "x.h5", "--compress", "zip"], 2, "'zip' is not one of"),
    ],
)
def test_errors_are_one_line(
    pyramid: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: object,
    args: list[str],
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.chdir(pyramid.parent)
    Path("text.h5").write_text("text")
    result = run(command, *args)
    assert result.exit_code == exit_code
    assert message in result.output
    if not result.output.startswith("Usage"):
        assert result.output.startswith("error: ")
        assert result.output.count("\n") == 1


def test_ids() -> None:
    assert parse_ids("0, 5,10-12", 13) == [0, 5, 10, 11, 12]
    for text in ("", "1,", "-1", "1-", "3-2", "x", "²", "13"):
        with pytest.raises(UsageError):
            parse_ids(text, 13)


@pytest.mark.parametrize("command", [info_cmd, verify_cmd, sheet_cmd, export_cmd, repack_cmd])
def test_help_has_an_example(command: object) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example:\n" in result.output


def test_importing_the_commands_is_light() -> None:
    names = ", ".join(f"celebahq_tools.cli.{name}_cmd" for name in ("info", "verify", "sheet", "export", "repack"))
    script = (
        f"import sys, {names}; print(*sorted({{'numpy', 'h5py', 'PIL', 'torch', 'cv2', 'tqdm'}} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
