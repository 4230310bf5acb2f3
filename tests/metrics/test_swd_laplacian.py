"""Pyramid, patches and draws against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from metrics.errors import UsageError
from metrics.sliced.acceleration import have_native
from metrics.sliced.config import SwdConfig, level_sizes
from metrics.sliced.draws import keyed_corners, keyed_directions, keyed_generator
from metrics.sliced.laplacian import laplacian_pyramid, mirror_index, up_patches
from metrics.sliced.patches import PatchExtractor, images_at_once

needs_native = pytest.mark.skipif(not have_native(), reason="the loops in C were not built")
LINE = np.array([1, 4, 6, 4, 1]) / 16
BINOMIAL = np.outer(LINE, LINE)


def defined_down(plane: np.ndarray) -> np.ndarray:
    return ndimage.convolve(plane, BINOMIAL, mode="mirror")[::2, ::2]


def defined_up(plane: np.ndarray) -> np.ndarray:
    stuffed = np.zeros((2 * plane.shape[0], 2 * plane.shape[1]))
    stuffed[::2, ::2] = plane
    return ndimage.convolve(stuffed, 4 * BINOMIAL, mode="mirror")


def defined_pyramid(image: np.ndarray) -> list[np.ndarray]:
    low = [image.astype(np.float64)]
    while low[-1].shape[-1] > 16:
        low.append(np.stack([defined_down(plane) for plane in low[-1]]))
    ups = [np.stack([defined_up(plane) for plane in coarse]) for coarse in low[1:]]
    return [fine - up for fine, up in zip(low, ups, strict=False)] + [low[-1]]


def extractor_of(res: int, patches: int, *, transposed: bool, native: bool) -> PatchExtractor:
    if not native:
        return PatchExtractor(res, patches, transposed=transposed)
    from metrics.sliced.native_patches import NativePatchExtractor

    return NativePatchExtractor(res, patches, transposed=transposed)


def noise(res: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, res, res), dtype=np.uint8)


@pytest.mark.parametrize("res", [16, 32, 128])
def test_levels_are_the_definition(res: int) -> None:
    image = noise(res)
    found, defined = laplacian_pyramid(image), defined_pyramid(image)
    assert [level.shape[-1] for level in found] == list(level_sizes(res))
    np.testing.assert_allclose(found[0], defined[0], atol=0 if res > 16 else 1e-12)
    for one, other in zip(found, defined, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("res", [16, 32, 64, 256, 512, 1024])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("native", [False, pytest.param(True, marks=needs_native)])
def test_descriptors_are_patches_of_the_levels(res: int, transposed: bool, native: bool) -> None:
    config = SwdConfig(patches=40)
    sizes = level_sizes(res)
    extractor = extractor_of(res, 40, transposed=transposed, native=native)
    # Fewer images than go at once, after as many as go at once: what those left behind must not show.
    for count in (images_at_once(res), max(1, images_at_once(res) - 3)):
        images = np.stack([noise(res, seed) for seed in range(count)])
        corners = keyed_corners(config, "real", sizes, range(count))
        for size, level in zip(sizes, corners, strict=True):
            # The four extreme positions, where borders matter.
            last = size - 7
            level[:, :4] = [0, last, last * size, last * size + last]
        found = [np.full((count, 147, 40), np.nan, np.float32) for _ in sizes]
        extractor.extract(images, corners, found)
        for number, image in enumerate(images):
            for size, level, places, patches in zip(sizes, laplacian_pyramid(image), corners, found, strict=True):
                for flat, patch in zip(places[number], patches[number].T, strict=True):
                    y, x = divmod(int(flat), size)
                    expected = level[:, y : y + 7, x : x + 7]
                    shown = patch.reshape(3, 7, 7)
                    np.testing.assert_allclose(shown.swapaxes(1, 2) if transposed else shown, expected, atol=4e-5)


@needs_native
@pytest.mark.parametrize("res", [16, 32, 64, 256, 512, 1024])
@pytest.mark.parametrize("transposed", [False, True])
def test_loops_in_c_give_the_same_bits(res: int, transposed: bool) -> None:
    sizes, count, rng = level_sizes(res), images_at_once(res), np.random.default_rng(res)
    images = np.stack([noise(res, seed) for seed in range(count)])
    corners = [rng.integers(0, size - 6, (2, count, 60)) for size in sizes]
    for (y, x), size in zip(corners, sizes, strict=True):
        # Every border and corner of the image.
        y[:, :9], x[:, :9] = np.repeat([0, size // 2, size - 7], 3), np.tile([0, size // 2, size - 7], 3)
    flat = [y * size + x for (y, x), size in zip(corners, sizes, strict=True)]
    found = []
    for native in (False, True):
        out = [np.full((count, 147, 60), np.nan, np.float32) for _ in sizes]
        extractor_of(res, 60, transposed=transposed, native=native).extract(images, flat, out)
        found.append(out)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_up_under_a_patch_is_up_of_the_plane(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([8, 16, 32]))
    coarse = np.random.default_rng(size).normal(size=(3, size, size)).astype(np.float32)
    y, x = data.draw(st.integers(0, 2 * size - 7)), data.draw(st.integers(0, 2 * size - 7))
    one = np.array([y]), np.array([x])
    found = up_patches(coarse.ravel(), np.zeros(1, np.int64), size * size, size, *one, mirror_index(size))[0]
    whole = np.stack([defined_up(plane) for plane in coarse])
    np.testing.assert_allclose(found, whole[:, y : y + 7, x : x + 7], atol=1e-5)


def test_centres_are_uniform_over_all_that_fit() -> None:
    config = SwdConfig(patches=4000)
    corners = keyed_corners(config, "real", (16,), range(10))[0].ravel()
    y, x = np.divmod(corners, 16)
    counts = np.histogram2d(y, x, bins=(np.arange(11), np.arange(11)))[0]
    assert counts.sum() == 40_000
    chi_square = ((counts - 400) ** 2 / 400).sum()
    assert chi_square < 149  # 99 degrees of freedom, p = 0.001


def test_draws_are_keyed_by_seed_set_and_image_and_not_by_finer_levels() -> None:
    config = SwdConfig()
    base = keyed_corners(config, "real", (64, 32, 16), [7])
    with_finer = keyed_corners(config, "real", (128, 64, 32, 16), [7])
    for one, other in zip(base, with_finer[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(base[1], keyed_corners(config, "fake", (64, 32, 16), [7])[1])
    assert not np.array_equal(base[1], keyed_corners(config, "real", (64, 32, 16), [8])[1])
    assert not np.array_equal(base[1], keyed_corners(SwdConfig(seed=1), "real", (64, 32, 16), [7])[1])
    assert not np.array_equal(base[0] % 64, base[1] % 32)


def test_positions_are_32_random_bits_of_the_image_s_own_generator() -> None:
    config, sizes, images = SwdConfig(patches=20, seed=5), (64, 32, 16), [3, 1 << 40]
    found = keyed_corners(config, "fake", sizes, images)
    for row, image in enumerate(images):
        bits = keyed_generator(5, "fake", image).integers(0, 1 << 32, (3, 2, 20), np.uint32).astype(np.int64)
        for size, level, (x, y) in zip(sizes, found, bits[::-1], strict=True):
            np.testing.assert_array_equal(level[row], (y * (size - 6) >> 32) * size + (x * (size - 6) >> 32))


def test_directions_have_unit_length_and_no_preferred_axis() -> None:
    directions = keyed_directions(SwdConfig(), 64)
    assert directions.shape == (512, 147)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    assert abs(directions.mean()) < 5 / np.sqrt(directions.size * 147)
    assert not np.array_equal(directions, keyed_directions(SwdConfig(), 32))


@pytest.mark.parametrize("res", [8, 15, 17, 48, 100])
def test_other_sizes_are_refused(res: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        level_sizes(res)
