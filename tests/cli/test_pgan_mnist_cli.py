"""`pgan mnist1k` from end to end, on scikit-learn's digits."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from celebahq_tools.store import IndexRow, PyramidReader, SlotWriter, create_pyramid
from celebahq_tools.store.schema import PyramidMeta
from pgan.cli.mnist_cmd import mnist1k_cmd
from pgan.generate import write_generator
from pgan.networks.build import build_generator
from pgan.presets import preset


def run(*arguments: object) -> Result:
    return CliRunner().invoke(mnist1k_cmd, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramid of 300 single digits with labels."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")
    images, labels = datasets.load_digits(return_X_y=True)
    pixels = (images[:300].reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    large = np.pad(pixels.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (4, 4), (4, 4)))
    path = tmp_path_factory.mktemp("digits") / "digits.h5"
    rows = [IndexRow(key=str(slot), file="digits", label=int(label)) for slot, label in enumerate(labels[:300])]
    create_pyramid(path, res=32, rows=rows, meta=PyramidMeta())
    with SlotWriter(path) as writer:
        for slot, image in enumerate(large):
            writer.write(slot, np.stack([image] * 3))
    return path


@pytest.fixture(scope="module")
def classifier(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifier") / "classifier.safetensors"
    result = run("train-classifier", "--data", digits, "--out", out, "--epochs", 2, "--json", "-q")
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert (plain["train"], plain["test"], plain["epochs"]) == (250, 50, 2)
    assert 0.0 <= plain["accuracy"] <= 1.0
    return out


def test_dry_run_trains_nothing(digits: Path, tmp_path: Path) -> None:
    result = run("train-classifier", "--data", digits, "--out", tmp_path / "c.safetensors", "--dry-run")
    assert result.exit_code == 0
    assert "250 digits to train, 50 to test" in result.stdout
    assert not list(tmp_path.iterdir())


def test_stack(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "mnist1k.h5"
    result = run("stack", "--data", digits, "--out", out, "--count", 20, "--json", "-q")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 20
    with PyramidReader(out) as reader:
        assert (len(reader), reader.resolution) == (20, 32)
    again = run("stack", "--data", digits, "--out", out, "-q")
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_score(classifier: Path, tmp_path: Path) -> None:
    config = preset("mnist1k")
    generator = tmp_path / "networks" / "network-000064.safetensors"
    write_generator(generator, config, build_generator(config, 0), lod=0.0, nimg=64_000)
    options = ("--classifier", classifier, "--samples", 30, "--evaluations", 2, "-q")
    result = run("score", generator, *options, "--json")
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert plain["nimg"] == 64_000
    assert len(plain["modes"]) == len(plain["kl"]) == 2
    assert plain["modes_mean"] == np.mean(plain["modes"])
    text = run("score", tmp_path, *options)
    assert text.exit_code == 0, text.output
    assert f"{plain['modes_mean']:.1f} ± {plain['modes_std']:.1f} of 1000 modes" in text.stdout


def test_errors_are_one_line(digits: Path, classifier: Path, tmp_path: Path) -> None:
    for arguments in (
        ("score", tmp_path, "--classifier", classifier),
        ("score", digits, "--classifier", classifier),
        ("score", tmp_path, "--classifier", digits),
        ("train-classifier", "--data", tmp_path, "--out", tmp_path / "c"),
        ("train-classifier", "--data", classifier, "--out", tmp_path / "c"),
        ("stack", "--data", tmp_path / "none", "--out", tmp_path / "c"),
    ):
        result = run(*arguments, "-q")
        assert result.exit_code in (1, 2), (arguments, result.output)
        assert result.stderr.startswith("error: "), result.output
        assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["train-classifier", "stack", "score"])
def test_help_has_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"pgan mnist1k {name}" in result.output
