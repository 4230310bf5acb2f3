import numpy as np
import pytest
from scipy import special, stats

from metrics.errors import BatchError
from metrics.inception_score import inception_score


def test_equals_scipys_entropies() -> None:
    logits = np.random.default_rng(0).standard_normal((503, 11)).astype(np.float32) * 3
    p = special.softmax(logits.astype(float), axis=1)
    expected = []
    for split in range(10):
        part = p[split * 503 // 10 : (split + 1) * 503 // 10]
        expected.append(np.exp(stats.entropy(part, part.mean(0, keepdims=True), axis=1).mean()))
    found = inception_score(logits)
    np.testing.assert_allclose(found.splits, expected, rtol=1e-12)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.std == pytest.approx(np.std(expected))


def test_one_for_images_alike_and_c_for_c_sure_classes() -> None:
    alike = np.tile(np.array([[1.0, 2.0, -3.0]]), (40, 1))
    assert inception_score(alike, splits=4).mean == pytest.approx(1, rel=1e-12)
    sure = np.eye(7)[np.arange(70) % 7] * 1000
    assert inception_score(sure, splits=10).mean == pytest.approx(7, rel=1e-12)


def test_any_constant_added_to_an_images_logits_cancels() -> None:
    logits = np.random.default_rng(1).standard_normal((100, 5))
    shifted = logits + np.linspace(-800, 800, 100)[:, None]
    assert inception_score(shifted).mean == pytest.approx(inception_score(logits).mean, rel=1e-9)


def test_dropping_classes_lowers_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 1000)
    noise = rng.standard_normal((1000, 10))
    all_classes = inception_score(np.eye(10)[labels] * 6 + noise).mean
    few_classes = inception_score(np.eye(10)[labels % 3] * 6 + noise).mean
    blurred = inception_score(np.eye(10)[labels] * 2 + noise).mean
    assert few_classes < all_classes
    assert blurred < all_classes


def test_shuffling_makes_it_independent_of_a_sorted_order() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 100)
    logits = np.eye(10)[labels] * 5 + rng.standard_normal((1000, 10))
    assert inception_score(logits).mean < 1.5
    shuffled = inception_score(logits, rng=np.random.default_rng(0))
    assert shuffled.mean > 5
    np.testing.assert_array_equal(shuffled.splits, inception_score(logits, rng=np.random.default_rng(0)).splits)


@pytest.mark.parametrize(
    ("logits", "splits", "message"),
    [
        (np.zeros((5, 3)), 10, "at least 10 images, found 5"),
        (np.zeros(5), 1, "must be"),
        (np.zeros((5, 3)), 0, "at least one split"),
        (np.array([[0, 1.0], [np.inf, 0]]), 1, "image 1 hold NaN or infinity"),
    ],
)
def test_bad_input_is_refused(logits: np.ndarray, splits: int, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        inception_score(logits, splits=splits)
