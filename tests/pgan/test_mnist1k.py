"""The discrete mode test: digits, classifier, count of modes."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from celebahq_tools.store import IndexRow, PyramidReader, SlotWriter, create_pyramid, verify_pyramid
from celebahq_tools.store.schema import PyramidMeta
from pgan.draws import WEIGHTS, torch_generator
from pgan.errors import CheckpointError, DataError
from pgan.generate import read_generator, write_generator
from pgan.mnist1k import (
    ClassifierTraining,
    DigitClassifier,
    accuracy_of,
    count_modes,
    read_classifier,
    score_modes,
    split_digits,
    train_classifier,
    triples_of,
    write_classifier,
)
from pgan.mnist_data import Digits, padded, read_digits, stack_numbers, write_stacked
from pgan.networks.build import build_generator
from pgan.presets import preset


@pytest.fixture(scope="module")
def digits() -> Digits:
    """scikit-learn's 1,797 scanned digits of 8x8, enlarged to 24x24 and padded: a stand-in for MNIST."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")
    images, labels = datasets.load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    large = pixels.repeat(3, axis=1).repeat(3, axis=2)
    return Digits(images=padded(large, Path("load_digits")), labels=labels.astype(np.int64))


@pytest.fixture(scope="module")
def trained(digits: Digits) -> tuple[DigitClassifier, float]:
    train, test = split_digits(digits, 0)
    network = train_classifier(train, ClassifierTraining(epochs=4, batch=64))
    return network, accuracy_of(network, test)


def write_idx(path: Path, array: NDArray[np.uint8], *, zipped: bool = False) -> None:
    head = (0x800 + array.ndim).to_bytes(4, "big") + b"".join(size.to_bytes(4, "big") for size in array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if zipped else content)


def write_folder(folder: Path, count: int, *, zipped: bool = False) -> NDArray[np.uint8]:
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    suffix = ".gz" if zipped else ""
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images, zipped=zipped)
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels, zipped=zipped)
    return images


def pyramid(path: Path, images: NDArray[np.uint8], labels: list[int | None]) -> Path:
    rows = [IndexRow(key=str(slot), file="x", label=label) for slot, label in enumerate(labels)]
    create_pyramid(path, res=images.shape[-1], rows=rows, meta=PyramidMeta())
    with SlotWriter(path) as writer:
        for slot, image in enumerate(images):
            writer.write(slot, image)
    return path


def test_all_modes_equally_often() -> None:
    triples = np.stack(np.meshgrid(*[np.arange(10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    modes, kl = count_modes(np.tile(triples, (3, 1)))
    assert modes == 1000
    assert kl == pytest.approx(0.0, abs=1e-12)


def test_one_mode_is_furthest_from_uniform() -> None:
    assert count_modes(np.full((50, 3), 7)) == (1, pytest.approx(math.log(1000)))


def test_count_of_a_known_distribution() -> None:
    triples = np.array([[0, 0, 0]] * 3 + [[9, 9, 9]] + [[0, 0, 1]] * 4)
    expected = 3 / 8 * math.log(375) + 1 / 8 * math.log(125) + 1 / 2 * math.log(500)
    assert count_modes(triples) == (3, pytest.approx(expected))


def test_the_order_of_channels_matters() -> None:
    assert count_modes(np.array([[1, 2, 3], [3, 2, 1], [2, 1, 3]]))[0] == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=300))
def test_count_modes_properties(drawn: list[tuple[int, int, int]]) -> None:
    modes, kl = count_modes(np.array(drawn))
    assert modes == len(set(drawn))
    # at least as far as the uniform distribution on as many modes, at most as far as a single mode
    assert math.log(1000 / modes) - 1e-9 <= kl <= math.log(1000) + 1e-9
    assert count_modes(np.array(drawn[::-1])) == (modes, pytest.approx(kl))


@pytest.mark.parametrize("wrong", [np.zeros((0, 3), int), np.zeros((4, 2), int), np.array([[1, 2, 10]])])
def test_wrong_triples(wrong: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="triples"):
        count_modes(wrong)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(tmp_path: Path, zipped: bool) -> None:
    images = write_folder(tmp_path / "mnist", 12, zipped=zipped)
    train, test = read_digits(tmp_path / "mnist")
    assert test is not None
    assert train.images.shape == (12, 32, 32)
    assert np.array_equal(train.images[:, 2:-2, 2:-2], images)
    assert train.images.sum() == images.sum()
    assert train.labels.tolist() == [*range(10), 0, 1]


def test_broken_idx_files(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    with pytest.raises(DataError, match="mnist: no such file"):
        read_digits(folder)
    write_folder(folder, 12)
    file = folder / "train-images-idx3-ubyte"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"9,419 bytes, expected 9,424 for \(12, 28, 28\)"):
        read_digits(folder)
    file.write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(DataError, match="not an idx file of 3 dimensions"):
        read_digits(folder)
    file.unlink()
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte"):
        read_digits(folder)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_digits(folder)


def test_labels_must_be_digits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels from 0 to 10, expected digits 0 to 9"):
        Digits(images=np.zeros((2, 32, 32), np.uint8), labels=np.array([0, 10]))
    with pytest.raises(DataError, match="3 labels for digits of shape"):
        Digits(images=np.zeros((2, 32, 32), np.uint8), labels=np.array([0, 1, 2]))
    with pytest.raises(DataError, match="expected some of at most 32x32"):
        padded(np.zeros((1, 33, 28), np.uint8), tmp_path)


def test_pyramids_of_single_digits(tmp_path: Path, digits: Digits) -> None:
    grey = digits.images[:8, None].repeat(3, axis=1)
    labels = [int(label) for label in digits.labels[:8]]
    train, test = read_digits(pyramid(tmp_path / "digits.h5", grey, list(labels)))
    assert test is None
    assert np.array_equal(train.images, digits.images[:8])
    assert train.labels.tolist() == labels
    with pytest.raises(DataError, match="no labels"):
        read_digits(pyramid(tmp_path / "none.h5", grey, [None] * 8))
    coloured = digits.images[np.arange(24).reshape(8, 3)]
    with pytest.raises(DataError, match="coloured images"):
        read_digits(pyramid(tmp_path / "coloured.h5", coloured, list(labels)))
    with pytest.raises(DataError, match="no level 32x32; it has 16, 8, 4"):
        read_digits(pyramid(tmp_path / "small.h5", grey[..., ::2, ::2].copy(), list(labels)))


def test_stacked_training_set(tmp_path: Path, digits: Digits) -> None:
    path, calls = tmp_path / "mnist1k.h5", []
    write_stacked(path, digits, count=40, seed=5, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (40, 40)
    assert verify_pyramid(path).ok
    numbers = stack_numbers(len(digits), 40, 5)
    with PyramidReader(path) as reader:
        assert reader.levels == (32, 16, 8, 4)
        assert np.array_equal(reader.read(range(40)), digits.images[numbers])
        assert reader.labels is not None
        modes = [int("".join(str(digits.labels[one]) for one in row)) for row in numbers]
        assert reader.labels.tolist() == modes
    with pytest.raises(DataError, match="exists already"):
        write_stacked(path, digits, count=4, seed=5)
    write_stacked(tmp_path / "same.h5", digits, count=40, seed=5)
    assert (tmp_path / "same.h5").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mnist1k.h5", "same.h5"]


def test_the_classifier_learns(trained: tuple[DigitClassifier, float]) -> None:
    assert trained[1] > 0.95


def test_training_is_repeatable(digits: Digits) -> None:
    few = digits.take(np.arange(200))
    networks = [train_classifier(few, ClassifierTraining(seed=seed, epochs=1)) for seed in (3, 3, 4)]
    states = [network.state_dict() for network in networks]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert not states[0]["dense1.weight"].equal(states[2]["dense1.weight"])


def test_classifier_file(tmp_path: Path, trained: tuple[DigitClassifier, float], digits: Digits) -> None:
    network, accuracy = trained
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, network, accuracy=accuracy)
    stored, known = read_classifier(path)
    assert known == accuracy
    assert np.array_equal(stored.digits(digits.images[:50]), network.digits(digits.images[:50]))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        read_classifier(path)
    config = preset("mnist1k")
    write_generator(tmp_path / "g.safetensors", config, build_generator(config, 0), lod=0.0, nimg=0)
    with pytest.raises(CheckpointError, match="of kind 'network', expected 'digit-classifier'"):
        read_classifier(tmp_path / "g.safetensors")


def test_digits_do_not_depend_on_the_batch(trained: tuple[DigitClassifier, float], digits: Digits) -> None:
    network = trained[0]
    assert np.array_equal(network.digits(digits.images[:64], batch=7), network.digits(digits.images[:64]))


def test_score_of_real_stacks(trained: tuple[DigitClassifier, float], digits: Digits) -> None:
    """Stacks of real digits, read by the classifier, score like their own labels."""
    network, calls = trained[0], []

    def sampler(seed: int, numbers: list[int]) -> NDArray[np.uint8]:
        return digits.images[stack_numbers(len(digits), 500, seed)[numbers]]

    score = score_modes(
        sampler, network, samples=500, evaluations=3, seed=1, progress=lambda done, total: calls.append((done, total))
    )
    truth = [count_modes(digits.labels[stack_numbers(len(digits), 500, seed)]) for seed in (1, 2, 3)]
    assert calls[-1] == (1500, 1500)
    assert score.modes == pytest.approx([modes for modes, _ in truth], abs=15)
    assert score.kl == pytest.approx([kl for _, kl in truth], abs=0.05)
    assert score.modes_mean == np.mean(score.modes)
    assert score.modes_std == pytest.approx(np.std(score.modes, ddof=1))
    assert score.kl_std > 0
    collapsed = score_modes(lambda _seed, numbers: sampler(1, [0] * len(numbers)), network, samples=100, evaluations=1)
    assert collapsed.modes == (1,)
    assert (collapsed.kl_mean, collapsed.modes_std) == (pytest.approx(math.log(1000)), 0.0)


def test_score_of_a_stored_generator(tmp_path: Path) -> None:
    config = preset("mnist1k")
    write_generator(tmp_path / "g.safetensors", config, build_generator(config, 0), lod=0.0, nimg=64_000)
    stored = read_generator(tmp_path / "g.safetensors")
    network = DigitClassifier(torch_generator(0, WEIGHTS, 2))
    first = score_modes(stored.samples, network, samples=40, evaluations=2, batch=16)
    again = score_modes(stored.samples, network, samples=40, evaluations=2, batch=40)
    assert first == again
    assert all(1 <= modes <= 40 for modes in first.modes)


def test_images_of_another_size(trained: tuple[DigitClassifier, float]) -> None:
    with pytest.raises(DataError, match=r"images of shape \(3, 64, 64\), expected \(3, 32, 32\)"):
        triples_of(trained[0], np.zeros((2, 3, 64, 64), np.uint8))


def test_wrong_settings_and_too_few_digits(digits: Digits) -> None:
    with pytest.raises(DataError, match="epochs >= 1"):
        ClassifierTraining(epochs=0)
    with pytest.raises(DataError, match="at least 6"):
        split_digits(digits.take(np.arange(5)), 0)
