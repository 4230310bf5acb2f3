"""Samples as files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebahq_tools.store import PyramidReader, verify_pyramid
from metrics.sources import open_image_set
from pgan.errors import ConfigError, DiskSpaceError, RunError
from pgan.generate import StoredGenerator, read_generator
from pgan.image_set import GeneratorSet
from pgan.sampling import (
    SampleConfig,
    numbered_samples,
    parse_grid,
    parse_seeds,
    seeded_samples,
    write_sample_grid,
    write_samples,
)


@pytest.fixture
def generator(tiny_run: Path) -> StoredGenerator:
    return read_generator(tiny_run)


@pytest.fixture
def conditional(make_generator: Callable[..., Path], tmp_path: Path) -> StoredGenerator:
    return read_generator(make_generator(tmp_path / "classes.safetensors", label_size=3))


def config_of(n: int, seed: int = 0, batch: int = 4, label: int | None = None) -> SampleConfig:
    return SampleConfig(samples=numbered_samples(seed, n), batch=batch, label=label)


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).transpose(2, 0, 1)


def test_folder_array_and_pyramid_hold_the_same_images(generator: StoredGenerator, tmp_path: Path) -> None:
    config, seen = config_of(6), []
    for name in ("folder", "array.npy", "pyramid.h5"):
        report = write_samples(generator, config, tmp_path / name, lambda done, total: seen.append((done, total)))
        assert (report["n"], report["written"], report["res"]) == (6, 6, 16)
    assert seen == [(4, 6), (6, 6)] * 3
    array = np.load(tmp_path / "array.npy")
    assert (array.shape, array.dtype) == ((6, 3, 16, 16), np.uint8)
    np.testing.assert_allclose(array.astype(int), generator.samples(0, list(range(6))).astype(int), atol=1)
    for number, image in enumerate(array):
        np.testing.assert_array_equal(read_png(tmp_path / "folder" / f"{number:06d}.png"), image)
    with PyramidReader(tmp_path / "pyramid.h5") as reader:
        np.testing.assert_array_equal(reader.read(np.arange(6), 16), array)
    assert verify_pyramid(tmp_path / "pyramid.h5").ok
    assert not list(tmp_path.rglob("*.partial"))


def test_an_interrupted_folder_is_completed_and_others_are_refused(generator: StoredGenerator, tmp_path: Path) -> None:
    out = tmp_path / "folder"
    write_samples(generator, config_of(5), out)
    before = read_png(out / "000003.png")
    (out / "000003.png").unlink()
    assert write_samples(generator, config_of(5), out)["written"] == 1
    np.testing.assert_allclose(read_png(out / "000003.png").astype(int), before.astype(int), atol=1)
    with pytest.raises(ConfigError, match="not of this command"):
        write_samples(generator, config_of(5, seed=1), out)
    (out / "samples.json").write_text("{cut")
    with pytest.raises(ConfigError, match="not of this command"):
        write_samples(generator, config_of(5), out)


def test_metrics_read_what_they_would_sample_themselves(generator: StoredGenerator, tmp_path: Path) -> None:
    write_samples(generator, config_of(4), tmp_path / "array.npy")
    write_samples(generator, config_of(4), tmp_path / "folder")
    images = GeneratorSet(generator, n=4).read(range(4)).astype(int)
    for name in ("array.npy", "folder"):
        with open_image_set(tmp_path / name) as opened:
            assert opened.n == 4
            np.testing.assert_allclose(opened.read(range(4)).astype(int), images, atol=1)


def test_seeds_give_one_image_each(generator: StoredGenerator, tmp_path: Path) -> None:
    config = SampleConfig(samples=seeded_samples(parse_seeds("0,7-8")))
    write_samples(generator, config, tmp_path / "seeds")
    names = sorted(path.name for path in (tmp_path / "seeds").glob("*.png"))
    assert names == ["seed000000.png", "seed000007.png", "seed000008.png"]
    expected = generator.samples(7, [0])[0]
    np.testing.assert_allclose(read_png(tmp_path / "seeds" / names[1]).astype(int), expected.astype(int), atol=1)


def test_a_label_is_that_of_all(conditional: StoredGenerator, tmp_path: Path) -> None:
    write_samples(conditional, config_of(5, label=2), tmp_path / "two.h5")
    write_samples(conditional, config_of(5), tmp_path / "drawn.h5")
    with PyramidReader(tmp_path / "two.h5") as two, PyramidReader(tmp_path / "drawn.h5") as drawn:
        assert two.index.label.tolist() == [2] * 5
        own = drawn.index.label
        same = [np.array_equal(two.read(k), drawn.read(k)) for k in range(5)]
    assert same == (own == 2).tolist()
    assert set(own.tolist()) <= {0, 1, 2}


def test_a_grid_shows_the_first_samples(generator: StoredGenerator, tmp_path: Path) -> None:
    assert write_sample_grid(generator, config_of(8), (3, 2), tmp_path / "grid.png") == 6
    grid = read_png(tmp_path / "grid.png")
    assert grid.shape == (3, 32, 48)
    np.testing.assert_allclose(grid[:, 16:, 16:32].astype(int), generator.samples(0, [4])[0].astype(int), atol=1)
    assert write_sample_grid(generator, config_of(5), None, tmp_path / "square.png") == 5
    assert read_png(tmp_path / "square.png").shape == (3, 32, 48)
    with pytest.raises(ConfigError, match=r"shows 9 samples, 8 are asked for"):
        write_sample_grid(generator, config_of(8), (3, 3), tmp_path / "more.png")
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        write_sample_grid(generator, config_of(8), None, tmp_path / "more.jpg")


def test_truncation_and_wrong_labels_are_refused(
    generator: StoredGenerator, conditional: StoredGenerator, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="truncation is not defined for progressive GANs"):
        SampleConfig(samples=numbered_samples(0, 1), truncation=0.7)
    with pytest.raises(ConfigError, match="not conditional"):
        write_samples(generator, config_of(2, label=0), tmp_path / "x")
    for label in (-1, 3):
        with pytest.raises(ConfigError, match=rf"classes 0\.\.2, asked for {label}"):
            write_samples(conditional, config_of(2, label=label), tmp_path / "x")
    with pytest.raises(ConfigError, match="no samples"):
        SampleConfig(samples=())
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "5-3", "1,,2", "1.5"])
def test_bad_seeds(text: str) -> None:
    with pytest.raises(ConfigError, match="seeds are"):
        parse_seeds(text)


def test_good_seeds() -> None:
    assert parse_seeds("0-3, 20") == [0, 1, 2, 3, 20]
    with pytest.raises(ConfigError, match="named twice"):
        seeded_samples(parse_seeds("1-3,2"))


@pytest.mark.parametrize("text", ["", "8", "8x", "x8", "0x3", "8x8x8", "axb"])
def test_bad_grids(text: str) -> None:
    assert parse_grid("8X4") == (8, 4)
    with pytest.raises(ConfigError, match="grid is"):
        parse_grid(text)


def test_places_that_are_taken_or_full(
    generator: StoredGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("there.npy", "there.h5", "there"):
        (tmp_path / name).write_text("precious")
        with pytest.raises(ConfigError):
            write_samples(generator, config_of(2), tmp_path / name)
        assert (tmp_path / name).read_text() == "precious"
    with pytest.raises(ConfigError, match="samples go to a folder"):
        write_samples(generator, config_of(2), tmp_path / "x.npz")
    with pytest.raises(ConfigError, match="does not exist; create it first"):
        write_samples(generator, config_of(2), tmp_path / "none" / "x.npy")
    with pytest.raises(RunError, match="cannot write"):
        write_samples(generator, config_of(2), tmp_path / "there" / "x")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DiskSpaceError, match="are free"):
        write_samples(generator, config_of(2), tmp_path / "x.npy")


def test_a_failure_on_the_way_leaves_no_array(
    generator: StoredGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array_header_1_0", full)
    with pytest.raises(DiskSpaceError, match="the disk is full"):
        write_samples(generator, config_of(2), tmp_path / "x.npy")
    assert not list(tmp_path.glob("x.npy*"))


def test_the_record_says_what_the_folder_holds(generator: StoredGenerator, tmp_path: Path) -> None:
    write_samples(generator, config_of(2), tmp_path / "x")
    record = json.loads((tmp_path / "x" / "samples.json").read_text())
    assert (record["n"], record["lod"], record["label"]) == (2, 0.0, None)
    assert len(record["weights_sha256"]) == 64
