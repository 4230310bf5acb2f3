"""The quality score: damage lowers it, more damage lowers it more, sizes are comparable."""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from celebahq_tools.align import extract_crop, paper_quad, quad_side
from celebahq_tools.errors import PictureError, UsageError
from celebahq_tools.quality import grid_depth, halved, level_score, luma, peak_ratio, quality_score

REPO = Path(__file__).resolve().parents[2]
SAMPLE = REPO / "celebahq_tools" / "sample" / "celeba"


def load_benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPO / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


degradations = load_benchmark("degradations")
DAMAGE = {damage.kind + " " + damage.strengths[0]: damage for damage in degradations.all_damage()}
MONOTONE = ("Gaussian blur", "enlarged", "colour noise", "gray noise")


def score(pixels: np.ndarray) -> float:
    return quality_score(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def sample_crops() -> dict[str, np.ndarray]:
    """The shipped faces, (R, R, 3), each at the power of two that its own pixels fill."""
    crops = {}
    for line in (SAMPLE / "Anno" / "list_landmarks_celeba.txt").read_text().splitlines()[2:]:
        file, *numbers = line.split()
        quad = paper_quad(np.array(numbers, float).reshape(5, 2))
        res = 2 ** int(np.log2(quad_side(quad)))
        if res >= 128:
            with Image.open(SAMPLE / "img_celeba" / file) as picture:
                crop = extract_crop(np.asarray(picture.convert("RGB")), quad, res)
            crops[file] = np.ascontiguousarray(crop.transpose(1, 2, 0))
    return crops


def shared_photographs(shared: Path) -> dict[str, np.ndarray]:
    """Photographs and portraits, halved so that their own compression does not count, (R, R, 3)."""
    files = [*sorted((shared / "data" / "photos").glob("*.jpg"))[::4]]
    files += [path for path in sorted((shared / "data" / "faces").glob("*")) if "small" not in path.name]
    pictures = {}
    for path in files:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        side = min(half.shape[:2])
        left = (half.shape[1] - side) // 2
        pictures[path.name] = np.ascontiguousarray(half[:side, left : left + side])
    return pictures


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    crops = sample_crops()
    assert len(crops) >= 3
    return crops


@pytest.fixture(scope="module")
def photographs(shared: Path) -> dict[str, np.ndarray]:
    return shared_photographs(shared)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_ranks_below_every_sample_face(sample: dict[str, np.ndarray], kind: str) -> None:
    for file, pixels in sample.items():
        clean = score(pixels)
        for strength, step in zip(DAMAGE[kind].strengths, DAMAGE[kind].steps, strict=True):
            assert score(step(pixels)) < clean, (file, strength)


@pytest.mark.shared
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_ranks_below_photographs(photographs: dict[str, np.ndarray], kind: str) -> None:
    for strength, step in zip(DAMAGE[kind].strengths, DAMAGE[kind].steps, strict=True):
        below = [score(step(pixels)) < score(pixels) for pixels in photographs.values()]
        assert np.mean(below) >= 0.95, strength  # docs/quality.md names the exceptions


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind.startswith(MONOTONE)])
def test_more_damage_scores_lower_on_average(sample: dict[str, np.ndarray], kind: str) -> None:
    means = [np.mean([score(step(pixels)) for pixels in sample.values()]) for step in DAMAGE[kind].steps]
    # Near 0 nothing is left to lose: the strongest blur of a 128² face.
    assert all(later < earlier or abs(earlier) < 0.5 for earlier, later in pairwise(means)), means
    assert means[-1] < means[0] - 1


def test_every_angle_of_motion_blur_counts(sample: dict[str, np.ndarray]) -> None:
    pixels = max(sample.values(), key=len)
    clean = score(pixels)
    for degrees in range(0, 180, 15):
        assert score(degradations.motion(pixels, 7, degrees)) < clean - 1, degrees


def test_noise_alone_never_wins(sample: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    worst = min(score(pixels) for pixels in sample.values())
    for spread in (10, 60, 128):
        noise = rng.normal(128, spread, (3, 256, 256)).clip(0, 255).astype(np.uint8)
        assert quality_score(noise) < worst - 5


def test_blank_pictures_score_nothing() -> None:
    assert abs(quality_score(np.full((3, 256, 256), 77, np.uint8))) < 0.01


def test_mirrored_and_turned_pictures_score_the_same(sample: dict[str, np.ndarray]) -> None:
    for pixels in sample.values():
        for same in (pixels[::-1], pixels[:, ::-1], pixels.transpose(1, 0, 2), np.rot90(pixels)):
            assert score(same) == pytest.approx(score(pixels), abs=0.002)


def test_half_the_resolution_lacks_the_finest_octave_only(sample: dict[str, np.ndarray]) -> None:
    for file, pixels in sample.items():
        image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        if image.shape[1] < 256:
            continue
        small = image.reshape(3, image.shape[1] // 2, 2, image.shape[1] // 2, 2).mean(axis=(2, 4))
        small = np.rint(small).astype(np.uint8)
        finest = level_score(luma(image))
        assert quality_score(small) == pytest.approx(quality_score(image) - finest, abs=0.6), file


def test_enlarging_adds_nothing(sample: dict[str, np.ndarray]) -> None:
    for pixels in sample.values():
        large = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        assert score(large) < score(pixels) + 0.75


def test_ranks_agree_between_resolutions(sample: dict[str, np.ndarray]) -> None:
    pixels = max(sample.values(), key=len)
    for stronger in (1.0, 2.0, 4.0):
        blurred = degradations.blur(pixels, stronger)
        assert quality_score(halve(blurred)) < quality_score(halve(pixels))


def halve(pixels: np.ndarray) -> np.ndarray:
    small = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small.transpose(2, 0, 1))


def test_score_is_repeatable_whatever_the_memory_layout(sample: dict[str, np.ndarray]) -> None:
    pixels = next(iter(sample.values()))
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    assert len({quality_score(image), quality_score(image.copy()), quality_score(pixels.transpose(2, 0, 1))}) == 1


def test_a_grid_is_measured_at_any_pitch() -> None:
    rng = np.random.default_rng(1)
    base = cv2.GaussianBlur(rng.normal(128, 60, (512, 512)), (0, 0), 2).astype(np.float32)
    assert grid_depth(base) < 0.02
    for pitch in (5, 8, 13, 16):
        steps = (np.arange(512) // pitch % 2 * 4).astype(np.float32)
        assert grid_depth(base + steps[None]) > 0.08
        assert grid_depth(base + steps[:, None]) > 0.08


def test_one_frequency_stands_out_as_a_peak() -> None:
    rng = np.random.default_rng(2)
    flat = np.ones(144, np.float32) * 30
    powers = rng.chisquare(2, (400, 144)).astype(np.float32) * 100
    assert peak_ratio(powers, flat) < 1.5
    powers[:, 40] += 100_000
    assert peak_ratio(powers, flat) > 100


def test_luma_and_halving_by_hand() -> None:
    image = np.array([[[255, 0], [0, 10]], [[0, 255], [0, 20]], [[0, 0], [255, 30]]], np.uint8)
    gray = luma(image)
    expected = [[0.299 * 255, 0.587 * 255], [0.114 * 255, 0.299 * 10 + 0.587 * 20 + 0.114 * 30]]
    assert gray == pytest.approx(np.array(expected), rel=1e-6)
    assert halved(gray) == pytest.approx(np.mean(expected), rel=1e-6)
    assert halved(np.zeros((5, 5), np.float32)).shape == (2, 2)


@pytest.mark.parametrize("res", [16, 20, 64, 100, 250, 1000])
def test_any_square_is_scored(res: int) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, res), (3, res, res)).astype(np.uint8)
    assert np.isfinite(quality_score(ramp))


def test_bad_pictures_are_named() -> None:
    for wrong in (np.zeros((64, 64, 3), np.uint8), np.zeros((3, 64, 32), np.uint8), np.zeros((3, 64, 64))):
        with pytest.raises(PictureError, match=r"\(3, R, R\) uint8"):
            quality_score(wrong)
    with pytest.raises(UsageError, match="16x16"):
        quality_score(np.zeros((3, 8, 8), np.uint8))
