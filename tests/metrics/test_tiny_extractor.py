import hashlib

import numpy as np
import pytest

from metrics.errors import BatchError, UsageError
from metrics.extractors import CallableExtractor, open_extractor
from metrics.extractors.base import check_layers
from metrics.extractors.tiny import TinyExtractor, area_means, ternary

WEIGHTS_SHA256 = "1288a76fcc2537f153d893c0b2ff4197328af60abde69e6845331f0889430c73"
FEATURES_SHA256 = "67437064174cc4da7b83d9f5c213c40a5fa4b5190ff56330517291af8e5ff447"


def run(images: np.ndarray) -> dict[str, np.ndarray]:
    tiny = TinyExtractor()
    return tiny.run(tiny.prepare(images), frozenset(tiny.layers))


def formula_images(n: int, res: int) -> np.ndarray:
    """Images by an integer formula, so that no generator's version can change them."""
    index = np.arange(n * 3 * res * res, dtype=np.uint64)
    return ((index * np.uint64(2654435761) >> np.uint64(7)) % np.uint64(256)).astype(np.uint8).reshape(n, 3, res, res)


def test_weights_and_features_are_these_on_every_platform() -> None:
    digest = hashlib.sha256()
    for res in (32, 50, 128, 8):
        for rows in run(formula_images(5, res)).values():
            assert rows.dtype == np.float32
            digest.update(rows.astype("<f4").tobytes())
    assert (TinyExtractor().stamp.weights_sha256, digest.hexdigest()) == (WEIGHTS_SHA256, FEATURES_SHA256)


def test_batch_and_order_change_no_bit() -> None:
    images = formula_images(9, 40)
    together = run(images)
    for index in (8, 0, 4):
        alone = run(images[index : index + 1])
        for name, rows in together.items():
            np.testing.assert_array_equal(alone[name][0], rows[index])


def test_area_means_of_a_power_of_two_are_block_means() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 128, 128), dtype=np.uint8)
    blocks = images.reshape(2, 3, 32, 4, 32, 4).astype(int).sum((3, 5)) // 16
    np.testing.assert_array_equal(area_means(images, 32), blocks)


@pytest.mark.parametrize("res", [1, 5, 31, 33, 100])
def test_area_means_of_a_flat_image_are_flat(res: int) -> None:
    flat = np.full((1, 3, res, res), 201, np.uint8)
    np.testing.assert_array_equal(area_means(flat, 32), np.full((1, 3, 32, 32), 201))


def test_features_tell_images_apart_and_logits_have_classes() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (64, 3, 4, 4), dtype=np.uint8)
    found = run(colours.repeat(8, axis=2).repeat(8, axis=3))
    assert (found["pool"].std(0) > 0).all()
    assert len(np.unique(found["logits_unbiased"].argmax(1))) > 1
    assert not np.array_equal(found["logits"], found["logits_unbiased"])


def test_ternary_weights_are_balanced() -> None:
    values, counts = np.unique(ternary((3000, 10), 1), return_counts=True)
    assert values.tolist() == [-1, 0, 1]
    assert counts.min() > 9500


def test_extractors_are_opened_by_name() -> None:
    assert open_extractor("tiny").stamp.name == "tiny"
    for name, options, message in (
        ("resnet", {}, "choose inception-2015, tiny or onnx:PATH"),
        ("tiny", {"resize": "clean"}, "its own exact resize"),
        ("tiny", {"precision": "bf16"}, "--precision is for inception-2015"),
        ("inception-2015", {"resize": "nearest"}, "resize 'nearest' is unknown"),
        ("inception-2015", {"input_range": "0:1"}, "input range is for onnx:PATH"),
    ):
        with pytest.raises(UsageError, match=message):
            open_extractor(name, **options)


def test_any_callable_is_an_extractor() -> None:
    means = CallableExtractor(lambda images: images.mean((2, 3)), name="channel-means", width=3)
    images = formula_images(4, 16)
    found = means.run(means.prepare(images), frozenset({"features"}))["features"]
    np.testing.assert_allclose(found, images.mean((2, 3)), rtol=1e-6)
    assert found.dtype == np.float32
    assert not means.stamp.standard
    wrong = CallableExtractor(lambda images: images.mean((1, 2, 3)), name="wrong", width=3)
    with pytest.raises(BatchError, match=r"wrong gave shape \(4,\) for 4 images, expected \(4, 3\)"):
        wrong.run(images, frozenset({"features"}))


def test_unknown_layers_are_refused_with_a_list() -> None:
    with pytest.raises(UsageError, match="no layer 2048; it has pool, logits_unbiased, logits"):
        check_layers(TinyExtractor(), frozenset({"2048"}))
