"""MS-SSIM of pairs and of sets."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage, signal

import metrics
from metrics.errors import ImageSetError, UsageError
from metrics.msssim.measure import choose_pairs
from metrics.msssim.similarity import WEIGHTS, gaussian_window, ms_ssim_pair


def defined(first: np.ndarray, second: np.ndarray) -> float:
    """Float64, as written down: both images filtered on their own, every scale with its window."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    terms = []
    for _ in WEIGHTS:
        side = x.shape[-1]
        taps = min(11, side)
        line = np.exp(-((np.arange(taps) - (taps - 1) / 2) ** 2) / (2 * (1.5 * taps / 11) ** 2))
        window = np.outer(line, line) / line.sum() ** 2

        def blur(image: np.ndarray, window: np.ndarray = window) -> np.ndarray:
            return np.stack([signal.convolve2d(plane, window, mode="valid") for plane in image])

        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        cs = (2 * cov + 58.5225) / (vx + vy + 58.5225)
        ssim = cs * (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
        terms.append((ssim.mean(), cs.mean()))
        x, y = (ndimage.uniform_filter(a, (1, 2, 2), origin=(0, -1, -1), mode="reflect")[:, ::2, ::2] for a in (x, y))
    chosen = np.maximum([cs for _, cs in terms[:-1]] + [terms[-1][0]], 0)
    return float(np.prod(chosen ** np.array(WEIGHTS)))


@pytest.mark.parametrize("res", [16, 20, 50, 64, 176, 180, 256])
def test_pairs_are_the_definition(res: int, natural_images: Any) -> None:
    first, second = natural_images(2, res)
    mixed = (0.6 * first + 0.4 * second).astype(np.uint8)
    assert ms_ssim_pair(first, mixed) == pytest.approx(defined(first, mixed), abs=3e-6)


def test_equal_images_have_one_and_order_does_not_matter(natural_images: Any) -> None:
    first, second = natural_images(2, 64)
    mixed = (0.5 * first + 0.5 * second).astype(np.uint8)
    assert ms_ssim_pair(first, first) == pytest.approx(1, abs=1e-6)
    assert ms_ssim_pair(first, mixed) == pytest.approx(ms_ssim_pair(mixed, first), abs=1e-6)
    assert 0 < ms_ssim_pair(first, mixed) < 1


def test_negative_terms_are_clipped_before_the_power(natural_images: Any) -> None:
    image = natural_images(1, 64)[0]
    assert ms_ssim_pair(image, 255 - image) == 0.0


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_images(value: int) -> None:
    flat = np.full((3, 64, 64), value, np.uint8)
    assert ms_ssim_pair(flat, flat) == pytest.approx(1, abs=1e-6)
    other = np.full((3, 64, 64), 255 - value, np.uint8)
    assert ms_ssim_pair(flat, other) == pytest.approx(defined(flat, other), abs=1e-6)


def test_window_shrinks_with_its_sigma() -> None:
    assert len(gaussian_window(200)) == 11
    small = gaussian_window(5)
    assert len(small) == 5
    assert small.sum() == pytest.approx(1)
    ratio = small[1] / small[2]
    assert ratio == pytest.approx(np.exp(-1 / (2 * (1.5 * 5 / 11) ** 2)))


def test_less_varied_sets_have_more(natural_images: Any) -> None:
    varied = natural_images(40, 32)
    dull = (varied // 4 + 3 * (varied[:1] // 4)).astype(np.uint8)
    assert metrics.ms_ssim(dull).value > metrics.ms_ssim(varied).value + 0.2


def test_result_is_the_mean_with_its_standard_error(natural_images: Any) -> None:
    images = natural_images(31, 32)
    result = metrics.ms_ssim(images, pairs="adjacent", n=30)
    scores = np.array([ms_ssim_pair(images[2 * k], images[2 * k + 1]) for k in range(15)])
    assert result.value == scores.mean()
    assert result.interval is not None
    assert result.interval.standard_error == pytest.approx(scores.std(ddof=1) / np.sqrt(15))
    assert result.details["pairs"] == 15
    assert metrics.ms_ssim(images).protocol.sets["set"].n == 30


def test_random_pairs_are_disjoint_and_seeded(natural_images: Any) -> None:
    pairs = choose_pairs(101, n=None, pairs="random", seed=0)
    assert pairs.shape == (50, 2)
    assert len(np.unique(pairs)) == 100
    assert not np.array_equal(pairs, choose_pairs(101, n=None, pairs="random", seed=1))
    assert choose_pairs(50_000, n=None, pairs="random", seed=0).shape == (10_000, 2)
    images = natural_images(20, 16)
    results = [metrics.ms_ssim(images, seed=seed, jobs=jobs).value for seed, jobs in ((0, 1), (0, 3), (1, 1))]
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(
    ("n", "pairs", "error", "message"),
    [
        (22, "random", ImageSetError, "has 20 images, asked for 22"),
        (7, "random", UsageError, "even number"),
        (None, "other", UsageError, "random, adjacent"),
    ],
)
def test_wrong_requests(n: int | None, pairs: str, error: Any, message: str, natural_images: Any) -> None:
    with pytest.raises(error, match=message):
        metrics.ms_ssim(natural_images(20, 16), n=n, pairs=pairs)


def test_too_small_and_unlike_images_are_refused() -> None:
    with pytest.raises(ImageSetError, match="at least 16"):
        metrics.ms_ssim(np.zeros((4, 3, 8, 8), np.uint8))
    with pytest.raises(UsageError, match="not compared"):
        ms_ssim_pair(np.zeros((3, 16, 16), np.uint8), np.zeros((3, 32, 32), np.uint8))
    with pytest.raises(ImageSetError, match="a pair needs 2"):
        metrics.ms_ssim(np.zeros((1, 3, 16, 16), np.uint8))
