"""Generators as sets of images, found by entry point."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from metrics.errors import ImageSetError
from metrics.sources.generators import GROUP, is_generator, open_by_entry_point
from pgan.drawn import DrawnSet, drawn
from pgan.generate import read_generator
from pgan.image_set import NOMINAL_IMAGES, PYRAMID, GeneratorSet, open_generator
from pgan.mirrored import MirroredSet
from pgan.sampling import inputs_of, numbered_samples

ENTRY = EntryPoint("safetensors", "pgan.image_set:open_generator", GROUP)


def test_the_entry_point_of_this_package_opens_a_network(tiny_run: Path) -> None:
    for path in (tiny_run / "networks" / "000020.safetensors", tiny_run):
        assert is_generator(path)
        with open_by_entry_point(path, res=None, resizer=None, entry_points=[ENTRY]) as images:
            assert (images.kind, images.n, images.res, images.threads) == ("checkpoint", NOMINAL_IMAGES, 16, False)
            batch = images.read([5, 0, 40_000])
            assert batch.shape == (3, 3, 16, 16)
            assert batch.dtype == np.uint8


def test_pyproject_declares_that_entry_point() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'[project.entry-points."{GROUP}"]\n{ENTRY.name} = "{ENTRY.value}"\n' in text


def test_samples_depend_on_their_number_alone(tiny_run: Path) -> None:
    images = open_generator(tiny_run)
    many = images.read(range(20))
    np.testing.assert_allclose(images.read([19, 3]).astype(int), many[[19, 3]].astype(int), atol=1)
    assert len({image.tobytes() for image in many}) == 20


def test_the_fingerprint_names_weights_lod_and_seed(make_generator: Callable[..., Path], tmp_path: Path) -> None:
    first = read_generator(make_generator(tmp_path / "a.safetensors"))
    other = read_generator(make_generator(tmp_path / "b.safetensors", seed=1))
    growing = read_generator(make_generator(tmp_path / "c.safetensors", lod=0.5))
    again = read_generator(make_generator(tmp_path / "d.safetensors", nimg=5))
    prints = [GeneratorSet(one).fingerprint for one in (first, other, growing, again)]
    assert prints[0] == prints[3]
    assert len({*prints, GeneratorSet(first, seed=1).fingerprint}) == 4


def test_a_growing_network_hands_out_full_size(make_generator: Callable[..., Path], tmp_path: Path) -> None:
    images = open_generator(make_generator(tmp_path / "a.safetensors", lod=1.0)).read([0])
    np.testing.assert_array_equal(images[..., ::2, ::2], images[..., 1::2, 1::2])


def test_another_size_needs_a_named_resizer(tiny_run: Path) -> None:
    with pytest.raises(ImageSetError, match="asked for 8; name a filter with --resizer"):
        open_generator(tiny_run, 8)
    small = open_generator(tiny_run, 8, "box")
    assert small.resizer == "pillow-box"
    full = open_generator(tiny_run).read([2])[0].astype(float)
    means = full.reshape(3, 8, 2, 8, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(small.read([2])[0], means, atol=1.01)
    level = GeneratorSet(read_generator(tiny_run), res=8, resizer=PYRAMID)
    assert level.resizer == "pyramid-level"
    np.testing.assert_array_equal(level.read([2])[0], means.round())


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x10\0\0\0\0\0\0\0{}"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ImageSetError, match=r"bad\.safetensors"):
        open_generator(path)


def test_a_truncated_network_is_refused(tiny_run: Path) -> None:
    path = tiny_run / "networks" / "000020.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImageSetError, match="cut short or damaged"):
        open_generator(tiny_run)


def test_without_an_opener_the_message_says_what_to_do(tiny_run: Path) -> None:
    with pytest.raises(ImageSetError, match="no installed package opens it"):
        open_by_entry_point(tiny_run, res=None, resizer=None, entry_points=[])
    broken = EntryPoint("safetensors", "pgan.nothing:opener", GROUP)
    with pytest.raises(ImageSetError, match="cannot be imported"):
        open_by_entry_point(tiny_run, res=None, resizer=None, entry_points=[broken])


def test_only_run_directories_count_as_generators(tiny_run: Path, tmp_path: Path) -> None:
    (tiny_run / "config.json").write_text("{}")
    assert not is_generator(tiny_run)
    (tiny_run / "config.json").write_text("no json")
    assert not is_generator(tiny_run)
    assert not is_generator(tmp_path)
    assert is_generator(tmp_path / "x.safetensors")


def test_mirroring_flips_about_half_and_says_so(tiny_run: Path) -> None:
    plain = open_generator(tiny_run)
    mirrored = MirroredSet(plain)
    numbers = np.arange(400)
    flipped = mirrored.flipped(numbers)
    assert 150 < flipped.sum() < 250
    few = numbers[:30]
    before, after = plain.read(few), mirrored.read(few)
    for k in few:
        np.testing.assert_array_equal(after[k], before[k][..., ::-1] if flipped[k] else before[k])
    np.testing.assert_array_equal(mirrored.read(few[::-1]), after[::-1])
    assert mirrored.fingerprint != plain.fingerprint
    assert "mirrored" in mirrored.stamp().label


def test_drawn_samples_are_the_set_itself(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = GeneratorSet(read_generator(tiny_run), n=70)
    seen: list[tuple[int, int]] = []
    with drawn(source, lambda done, total: seen.append((done, total))) as images:
        in_memory = images.read(range(70))
        assert isinstance(images, DrawnSet)
        assert images.fingerprint == source.fingerprint
    assert seen == [(64, 70), (70, 70)]
    monkeypatch.setattr("pgan.drawn.MEMORY_BYTES", 100)
    with drawn(source) as images:
        np.testing.assert_array_equal(images.read(range(70)), in_memory)


def test_a_conditional_generator_makes_what_is_asked_for(make_generator: Callable[..., Path], tmp_path: Path) -> None:
    path = make_generator(tmp_path / "a.safetensors", label_size=3)
    with (
        open_by_entry_point(path, res=None, resizer=None, label="class=2", entry_points=[ENTRY]) as twos,
        open_generator(path) as drawn_ones,
    ):
        z, labels = inputs_of(read_generator(path), list(numbered_samples(0, 4)), 2)
        np.testing.assert_array_equal(twos.read(range(4)), read_generator(path).images(z, labels))
        assert (twos.where, twos.label) == ("class=2", f"{path}::class=2")
        assert twos.fingerprint != drawn_ones.fingerprint
        assert (twos.read(range(8)) != drawn_ones.read(range(8))).any()
    with pytest.raises(ImageSetError, match=r"has classes 0\.\.2, asked for 3"):
        open_generator(path, label="class=3")
    with pytest.raises(ImageSetError, match="is not conditional"):
        open_generator(make_generator(tmp_path / "b.safetensors"), label="class=1")
