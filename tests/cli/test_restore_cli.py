"""`celebahq restore`, `celebahq train-restorer`, and the drift guard of `celebahq build`."""

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from celebahq_tools.cli import main
from celebahq_tools.restore.modelfile import Model, encode_model
from celebahq_tools.restore.networks import NetworkConfig, RestoreNetwork

NETWORK = NetworkConfig(scale=4, fold=1, channels=(8,), blocks=(1,))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights that train-restorer could have made, hardly trained: they change little."""
    torch.manual_seed(0)
    state = RestoreNetwork(NETWORK).state_dict()
    path = tmp_path / "joint.safetensors"
    path.write_bytes(encode_model(Model(task="joint", version="test", network=NETWORK, state=state, card={})))
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def picture(path: Path, seed: int = 0, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, (side + 8, side), interpolation=cv2.INTER_CUBIC))
    return path


def test_folders_are_restored_and_resumed(tmp_path: Path, weights: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    picture(tmp_path / "in/deep/b.png")
    (tmp_path / "in/c.jpg").write_bytes(b"\xff\xd8\xff broken")
    out = tmp_path / "out"
    planned = invoke("restore", tmp_path / "in", "--out", out, "--dry-run", "--json")
    assert len(json.loads(planned.stdout)["plan"]) == 3
    assert not out.exists()
    result = invoke("restore", tmp_path / "in", "--out", out, "--restorer", weights, "--json", "--quiet")
    assert result.exit_code == 1
    values = json.loads(result.stdout)
    assert [Path(row["out"]).relative_to(out).as_posix() for row in values["done"]] == ["a.png", "deep/b.png"]
    assert values["restorer"]["name"] == "ours"
    assert all(0 <= row["drift"] < 20 for row in values["done"])
    assert "c.jpg" in values["failed"][0][1]
    restored = cv2.imread(str(out / "a.png"))
    assert restored is not None
    assert restored.shape == (160, 192, 3)
    again = invoke("restore", tmp_path / "in/a.jpg", "--out", out, "--restorer", weights)
    assert again.exit_code == 0
    assert "0 restored with ours joint-test, 1 there already" in again.stdout


def test_none_copies_the_pixels(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    assert invoke("restore", source, "--out", tmp_path / "out", "--restorer", "none", "-q").exit_code == 0
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out/a.png")), cv2.imread(str(source)))


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["absent.jpg"], [], "no such file or folder"),
        (["empty"], [], "no pictures in this folder"),
        (["a.jpg", "a.png"], [], "would both become"),
        (["a.png"], ["--restorer", "waifu"], "expected ours, realesrgan, none, or a file of weights"),
    ],
)
def test_wrong_orders(tmp_path: Path, names: list[str], options: list[str], message: str) -> None:
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    result = invoke("restore", *(tmp_path / name for name in names), "--out", tmp_path / "out", *options)
    assert (result.exit_code, result.stderr.startswith("error: ")) == (2, True)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_source_is_never_overwritten(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    before = source.read_bytes()
    result = invoke("restore", source, "--out", tmp_path, "--overwrite")
    assert result.exit_code == 2
    assert "would be overwritten by its own result" in result.stderr
    assert source.read_bytes() == before


def test_training_from_the_command_line(tmp_path: Path) -> None:
    for number in range(11):
        picture(tmp_path / f"photos/{number:02d}.png", number, 120)
    out = tmp_path / "net.safetensors"
    options = ["--photos", tmp_path / "photos", "--out", out, "--patch", "32", "--shrink", "1", "--batch", "2"]
    options += ["--steps", "2", "--precision", "fp32", "--version", "test", "--quiet"]
    planned = invoke("train-restorer", "jpeg", *options, "--dry-run", "--json")
    values = json.loads(planned.stdout)
    assert (values["photos"], values["held_out"], values["config"]["batch"]) == (10, 1, 2)
    assert not out.exists()
    log = tmp_path / "log"
    result = invoke("train-restorer", "jpeg", *options, "--tensorboard", log, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["step"] == 2
    assert list(log.glob("events.*"))
    restored = invoke("restore", tmp_path / "photos/00.png", "--out", tmp_path / "o", "--restorer", out)
    assert "ours jpeg-test" in restored.stdout
    wrong = invoke("train-restorer", "jpeg", "--photos", tmp_path / "photos", "--out", tmp_path / "n.pth")
    assert "expected a name ending in .safetensors" in wrong.stderr
    (tmp_path / "net.safetensors.train").unlink()
    wrong = invoke("train-restorer", "jpeg", *options)
    assert "exists, and net.safetensors.train to go on from does not" in wrong.stderr
    if not torch.cuda.is_available():
        wrong = invoke("train-restorer", "jpeg", *options, "--overwrite", "--device", "cuda")
        assert (wrong.exit_code, "torch sees no CUDA device" in wrong.stderr) == (2, True)
    wrong = invoke("train-restorer", "sr4", *options, "--overwrite", "--init", out)
    assert "another network (jpeg)" in wrong.stderr


def test_build_reports_and_limits_drift(tmp_path: Path, weights: Path) -> None:
    options = ["--recipe", "paper", "--restorer", weights, "--res", "64", "--limit", "2", "-q"]
    out = tmp_path / "a.h5"
    result = invoke("build", "--out", out, *options, "--json")
    assert result.exit_code == 0, result.output
    mean, largest = json.loads(result.stdout)["drift"]
    lines = [json.loads(line) for line in (tmp_path / "a.drift.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["000001.jpg", "000002.jpg"]
    drifts = sorted(line["drift"] for line in lines)
    assert 0 < drifts[0] <= mean <= drifts[1] == largest < 20
    with h5py.File(out) as file:
        assert "joint-test" in json.dumps(dict(file.attrs), default=str)
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.stem[0] == "a" and path.suffix != ".lock") == [
        ".h5",
        ".jsonl",
    ]

    limit = sum(drifts) / 2
    text = invoke("build", "--out", tmp_path / "b.h5", *options, "--max-drift", limit)
    assert text.exit_code == 0, text.output
    assert "Restoring moved coarse detail by" in text.stdout
    assert "[drift]" in text.stdout
    assert "(--max-drift)" in text.stdout
    rejects = [json.loads(line) for line in (tmp_path / "b.rejects.jsonl").read_text().splitlines()]
    assert [reject["reason"] for reject in rejects] == ["drift"]
    assert len((tmp_path / "b.drift.jsonl").read_text().splitlines()) == 1
    for extra, message in ((["--max-drift", "0"], "above 0"), (["--recipe", "plain", "--max-drift", "3"], "goes with")):
        wrong = invoke("build", "--out", tmp_path / "c.h5", *options, *extra)
        assert (wrong.exit_code, message in wrong.stderr) == (2, True)
