"""Walks through latent space and films."""

import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pgan.errors import ConfigError, MissingDependencyError, RunError
from pgan.generate import read_generator
from pgan.video import (
    VideoConfig,
    shares,
    strip_numbers,
    training_frames,
    walk_frames,
    walk_latents,
    write_strip,
    zoomed,
)
from pgan.video_file import write_video

SHORT = VideoConfig(seconds=1.0, fps=8, smoothing_sec=0.5, columns=2, rows=1, zoom=2)


def test_walks_are_smooth_closed_and_of_unit_variance() -> None:
    z = walk_latents(0, 120, 3, 64, 10.0)
    assert (z.shape, z.dtype) == ((120, 3, 64), np.float32)
    assert np.sqrt(np.mean(np.square(z, dtype=np.float64))) == pytest.approx(1.0, abs=1e-6)
    steps = np.linalg.norm(np.diff(z, axis=0, append=z[:1]), axis=-1)
    apart = np.linalg.norm(z[:60] - z[60:], axis=-1)
    # Neighbours of a walk smoothed with sigma s are about 1 / (s * sqrt(2)) of a standard deviation apart.
    assert steps.max() < 0.2 * apart.min()
    assert steps[-1].max() < 1.5 * steps[:-1].max()
    np.testing.assert_array_equal(z, walk_latents(0, 120, 3, 64, 10.0))
    assert not np.array_equal(z, walk_latents(1, 120, 3, 64, 10.0))


def test_smoothing_is_a_wrapped_gaussian() -> None:
    from pgan.draws import numpy_generator

    frames, sigma = 40, 2.0
    noise = numpy_generator(5, "walk", frames).standard_normal((frames, 1, 4), dtype=np.float32)
    distance = np.arange(-20, 21)
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (np.abs(distance) <= round(4 * sigma))
    weights /= weights.sum()
    expected = sum(weight * np.roll(noise, shift, axis=0) for weight, shift in zip(weights, distance, strict=True))
    expected = expected / np.sqrt(np.mean(np.square(expected)))
    np.testing.assert_allclose(walk_latents(5, frames, 1, 4, sigma), expected, atol=1e-5)


def test_a_film_holds_its_frames(tiny_run: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "walk.mp4", []
    frames = list(walk_frames(read_generator(tiny_run), SHORT))
    assert len(frames) == SHORT.frames == 8
    assert frames[0].shape == (32, 64, 3)
    write_video(out, frames, fps=8, total=8, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 64, 32)
        assert float(stream.average_rate) == 8.0
        decoded = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(decoded) == 8
    for made, shown in zip(frames, decoded, strict=True):
        luma = made @ np.array([0.299, 0.587, 0.114])
        assert np.corrcoef(luma.ravel(), shown.ravel())[0, 1] > 0.9
    assert [path.name for path in tmp_path.glob("walk*")] == ["walk.mp4"]


def test_odd_sides_are_made_even(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", [np.full((17, 33, 3), 90, np.uint8)] * 3, fps=5, total=3)
    with av.open(str(tmp_path / "odd.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (34, 18)


def test_a_film_that_lacks_frames_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds 2 frames, expected 3"):
        write_video(tmp_path / "x.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2, fps=5, total=3)
    assert not list(tmp_path.iterdir())


def test_a_strip_shows_the_walk_of_the_first_cell(tiny_run: Path, tmp_path: Path) -> None:
    generator = read_generator(tiny_run)
    write_strip(generator, SHORT, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as image:
        strip = np.asarray(image)
    assert strip.shape == (32, 320, 3)
    frames = list(walk_frames(generator, SHORT))
    assert strip_numbers(SHORT) == [0, 2, 4, 6, 0, 2, 4, 6, 0, 2]
    np.testing.assert_array_equal(strip[:, 32:64], frames[2][:, :32])
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        write_strip(generator, SHORT, tmp_path / "strip.mp4")


def test_training_progress_holds_and_fades(tiny_run: Path) -> None:
    networks = sorted((tiny_run / "networks").iterdir())
    config = VideoConfig(seconds=12, fps=1, columns=2, rows=2)
    frames = list(training_frames(networks, config))
    assert len(frames) == 12
    grids = [read_generator(path).samples(0, [0, 1, 2, 3]) for path in networks]
    for k, grid in enumerate(grids):
        np.testing.assert_array_equal(frames[4 * k][:16, :16], grid[0].transpose(1, 2, 0))
        np.testing.assert_array_equal(frames[4 * k], frames[4 * k + 1])
    third = (2 * frames[0].astype(float) + frames[4]) / 3
    np.testing.assert_allclose(frames[2], third, atol=0.51)
    np.testing.assert_array_equal(frames[11], frames[8])


def test_shares_add_up() -> None:
    assert shares(10, 3) == [3, 3, 4]
    with pytest.raises(ConfigError, match="2 frames are too few for 3 networks"):
        shares(2, 3)


def test_a_walk_of_one_class(make_generator: Callable[..., Path], tmp_path: Path) -> None:
    generator = read_generator(make_generator(tmp_path / "g.safetensors", label_size=3))
    short = VideoConfig(seconds=0.5, fps=4, label=1)
    assert len(list(walk_frames(generator, short))) == 2
    with pytest.raises(ConfigError, match=r"classes 0\.\.2, asked for 7"):
        list(walk_frames(generator, VideoConfig(seconds=0.5, fps=4, label=7)))


def test_zoom() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(zoomed(image, 3)[::3, ::3], image)
    assert zoomed(image, 3).shape == (6, 6, 3)


@pytest.mark.parametrize(
    "settings",
    [{"seconds": 0.0}, {"seconds": float("nan")}, {"fps": 0}, {"smoothing_sec": 0.0}, {"columns": 0}, {"seconds": 1e9}],
)
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        VideoConfig(**settings)  # type: ignore[arg-type]


def test_bad_places_and_a_missing_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.mp4"):
        write_video(tmp_path / "x.avi", [], fps=1, total=0)
    with pytest.raises(ConfigError, match="does not exist"):
        write_video(tmp_path / "none" / "x.mp4", [], fps=1, total=0)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match="PyAV"):
        write_video(tmp_path / "x.mp4", [], fps=1, total=0)
