from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.resize import resize, resize_clean, resize_legacy_on_device, resize_legacy_tensorflow

GOLDEN_CASES = ("face_128", "face_299", "face_512x384", "noise_32")


def legacy_by_definition(image: np.ndarray, size: int) -> np.ndarray:
    """TensorFlow 1's resize_bilinear of one (C, H, W) image, pixel by pixel, in float32."""
    channels, height, width = image.shape
    out = np.empty((channels, size, size), np.float32)
    vertical = np.float32(height) / np.float32(size)
    horizontal = np.float32(width) / np.float32(size)
    for row in range(size):
        y = np.float32(row) * vertical
        top = int(y)
        bottom = min(top + 1, height - 1)
        for column in range(size):
            x = np.float32(column) * horizontal
            left = int(x)
            right = min(left + 1, width - 1)
            part = x - np.float32(left)
            corners = image[:, [top, top, bottom, bottom], [left, right, left, right]].astype(np.float32)
            upper = corners[:, 0] + (corners[:, 1] - corners[:, 0]) * part
            lower = corners[:, 2] + (corners[:, 3] - corners[:, 2]) * part
            out[:, row, column] = upper + (lower - upper) * (y - np.float32(top))
    return out


def keys_cubic(x: float) -> float:
    """Keys 1981 with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def antialiased_weights(length: int, size: int) -> np.ndarray:
    """(size, length): cubic stretched by the reduction factor, half-pixel centres, rows summing to 1."""
    scale = length / size
    stretch = max(scale, 1.0)
    weights = np.zeros((size, length))
    for target in range(size):
        centre = (target + 0.5) * scale
        low = max(int(centre - 2 * stretch + 0.5), 0)
        high = min(int(centre + 2 * stretch + 0.5), length)
        for source in range(low, high):
            weights[target, source] = keys_cubic((source + 0.5 - centre) / stretch)
        weights[target] /= weights[target].sum()
    return weights


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 999))
def test_legacy_equals_its_definition_to_the_bit(height: int, width: int, size: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (1, 3, height, width), dtype=np.uint8)
    expected = legacy_by_definition(image[0], size)
    np.testing.assert_array_equal(resize_legacy_tensorflow(image, size)[0], expected)


@pytest.mark.parametrize("shape", [(300, 299), (64, 64), (1024, 700)])
def test_legacy_on_a_device_equals_legacy_in_numpy(shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, *shape), dtype=np.uint8)
    found = resize_legacy_on_device(torch.from_numpy(images), 299).numpy()
    np.testing.assert_array_equal(found, resize_legacy_tensorflow(images, 299))


@pytest.mark.shared
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_legacy_equals_the_golden_corners_to_the_bit(shared: Path, case: str) -> None:
    folder = shared / "golden" / "inception"
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as outputs:
        found = resize(inputs[case][:1], 299, "legacy-tensorflow")
        head, tail = outputs[f"{case}/resized_0_40"], outputs[f"{case}/resized_tail"]
    np.testing.assert_array_equal(found[:, :, :40, :40], head)
    np.testing.assert_array_equal(found[:, :, -tail.shape[2] :, -tail.shape[3] :], tail)


@pytest.mark.parametrize(("length", "size"), [(64, 20), (100, 99), (20, 45)])
def test_clean_equals_antialiased_bicubic(length: int, size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 3, length, length), dtype=np.uint8)
    weights = antialiased_weights(length, size)
    expected = np.clip(weights @ image[0].astype(float) @ weights.T, 0, 255)
    np.testing.assert_allclose(resize_clean(image, size)[0], expected, atol=1e-4)


def test_clean_stays_in_range_where_bicubic_overshoots() -> None:
    image = np.zeros((1, 1, 40, 40), np.uint8)
    image[..., 20:] = 255
    found = resize_clean(image, 60)
    assert found.min() == 0
    assert found.max() == 255


@pytest.mark.parametrize("mode", ["legacy-tensorflow", "clean"])
def test_same_size_changes_nothing(mode: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 30, 30), dtype=np.uint8)
    np.testing.assert_allclose(resize(image, 30, mode), image, atol=1e-4)
