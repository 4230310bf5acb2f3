import io
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics.errors import ImageSetError, UsageError
from metrics.extractors import CallableExtractor, open_extractor
from metrics.features import extract_features, is_feature_file, load_features, save_features
from metrics.sources import as_image_set


def images(n: int = 21, res: int = 32, seed: int = 0) -> np.ndarray:
    colours = np.random.default_rng(seed).integers(0, 256, (n, 3, 4, 4), dtype=np.uint8)
    return colours.repeat(res // 4, axis=2).repeat(res // 4, axis=3)


TINY = open_extractor("tiny")


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (4, 3), (7, 1), (100, 2)])
def test_batch_and_workers_change_no_bit(batch: int, workers: int) -> None:
    pixels = images()
    expected = TINY.run(TINY.prepare(pixels), frozenset(TINY.layers))
    found = extract_features(as_image_set(pixels), TINY, list(TINY.layers), batch=batch, workers=workers)
    assert list(found.layers) == list(TINY.layers)
    for name, rows in found.layers.items():
        np.testing.assert_array_equal(rows, expected[name])


def test_order_of_reading_moves_no_row() -> None:
    pixels, seen = images(), []
    order = np.random.default_rng(1).permutation(21)
    plain = extract_features(as_image_set(pixels), TINY)
    found = extract_features(
        as_image_set(pixels),
        TINY,
        batch=5,
        reading=order,
        observers=[lambda numbers, batch: seen.append((numbers, batch))],
    )
    np.testing.assert_array_equal(found.layer("pool"), plain.layer("pool"))
    np.testing.assert_array_equal(np.concatenate([numbers for numbers, _ in seen]), order)
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in seen]), pixels[order])


def test_images_outside_the_selection_are_for_observers_alone() -> None:
    pixels, seen, passed = images(), [], []

    def network(batch: np.ndarray) -> np.ndarray:
        passed.append(len(batch))
        return batch.mean((2, 3))

    means = CallableExtractor(network, name="means", width=3)
    rows = np.array([4, 17, 2])
    found = extract_features(
        as_image_set(pixels),
        means,
        indices=rows,
        selection="some",
        reading=np.arange(20)[::-1],
        batch=3,
        observers=[lambda numbers, _: seen.extend(numbers.tolist())],
    )
    assert sum(passed) == 3
    assert seen == list(range(19, -1, -1))
    np.testing.assert_allclose(found.layer("features"), pixels[rows].mean((2, 3)), rtol=1e-6)


def test_a_selection_is_taken_and_named() -> None:
    pixels = images()
    rows = np.array([20, 3, 5])
    found = extract_features(as_image_set(pixels), TINY, indices=rows, selection="some")
    whole = extract_features(as_image_set(pixels), TINY)
    np.testing.assert_array_equal(found.layer("pool"), whole.layer("pool")[rows])
    assert (found.n, found.images.n, found.images.available, found.images.selection) == (3, 3, 21, "some")
    part = whole.subset(rows, "some")
    np.testing.assert_array_equal(part.layer("pool"), found.layer("pool"))
    assert part.images == found.images


def test_every_image_is_read_once_and_timing_and_progress_tell() -> None:
    source = as_image_set(images())
    read: list[int] = []
    whole_read, lock = source.read, threading.Lock()

    def counting(indices: Any) -> np.ndarray:
        with lock:
            read.extend(int(i) for i in indices)
        return whole_read(indices)

    source.read = counting  # type: ignore[method-assign]
    steps: list[tuple[int, int]] = []
    found = extract_features(source, TINY, batch=4, progress=lambda done, total: steps.append((done, total)))
    assert sorted(read) == list(range(21))
    assert steps == [(4, 21), (8, 21), (12, 21), (16, 21), (20, 21), (21, 21)]
    assert found.timing is not None
    assert 0 < found.timing.network_sec < found.timing.total_sec
    assert (found.timing.nimg, found.timing.device) == (21, "cpu")


def test_reading_stays_a_few_batches_ahead_of_the_network() -> None:
    started, finished, most = 0, 0, 0
    lock = threading.Lock()

    def network(batch: np.ndarray) -> np.ndarray:
        nonlocal finished
        with lock:
            finished += 1
        return np.zeros((len(batch), 1))

    extractor = CallableExtractor(network, name="slow", width=1)
    source = as_image_set(images(60))
    whole_read = source.read

    def counting(indices: Any) -> np.ndarray:
        nonlocal started, most
        with lock:
            started += 1
            most = max(most, started - finished)
        return whole_read(indices)

    source.read = counting  # type: ignore[method-assign]
    extract_features(source, extractor, batch=1, workers=2)
    assert most <= 2 + 2


def test_an_unreadable_image_stops_the_pass_with_its_error() -> None:
    source = as_image_set(images())

    def broken(indices: Any) -> np.ndarray:
        if 13 in indices:
            raise ImageSetError("set: image 13 is broken")
        return images()[indices]

    source.read = broken  # type: ignore[method-assign]
    with pytest.raises(ImageSetError, match="image 13 is broken"):
        extract_features(source, TINY, batch=3, workers=3)
    assert not [t for t in threading.enumerate() if t.name.startswith("features")]


def test_misuse_is_refused() -> None:
    source = as_image_set(images())
    with pytest.raises(UsageError, match="no layer nose"):
        extract_features(source, TINY, ["nose"])
    for bad in ([], [0, 0], [21], [-1]):
        with pytest.raises(ImageSetError, match="some of its 21 images, each once"):
            extract_features(source, TINY, indices=np.array(bad, int))
    with pytest.raises(ImageSetError, match="leaves out images"):
        extract_features(source, TINY, reading=np.arange(20))
    with pytest.raises(ImageSetError, match="at least 1"):
        extract_features(source, TINY, batch=0)


def test_a_file_gives_back_what_was_stored(tmp_path: Path) -> None:
    found = extract_features(as_image_set(images()), TINY, ["logits", "pool"])
    path = tmp_path / "f.npz"
    save_features(found, path)
    assert is_feature_file(path)
    assert [file.name for file in tmp_path.iterdir()] == ["f.npz"]
    loaded = load_features(path)
    assert (loaded.extractor, loaded.images) == (found.extractor, found.images)
    assert (loaded.feature_layer, loaded.logit_layer) == ("pool", "logits_unbiased")
    for name in ("logits", "pool"):
        np.testing.assert_array_equal(loaded.layer(name), found.layer(name))
    with np.load(path) as stored:
        np.testing.assert_array_equal(stored["pool"], found.layer("pool"))
    with pytest.raises(ImageSetError, match="no features of layer logits_unbiased, only logits, pool"):
        loaded.layer("logits_unbiased")


def test_layers_of_any_name_can_be_stored(tmp_path: Path) -> None:
    found = extract_features(as_image_set(images(3)), TINY, ["pool"])
    odd = replace(found, layers={"file": found.layer("pool"), "a/b:0": found.layer("pool")})
    save_features(odd, tmp_path / "f.npz")
    assert list(load_features(tmp_path / "f.npz").layers) == ["file", "a/b:0"]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "f.npz"
    save_features(extract_features(as_image_set(images(4)), TINY, ["pool"]), path)
    return path


def rewrite(path: Path, change: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in {**members, **change}.items():
            archive.writestr(name, data)


def test_damaged_files_are_refused(stored: Path) -> None:
    whole = stored.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"pool.npy") + 300] ^= 255
    stored.write_bytes(flipped)
    with pytest.raises(ImageSetError, match="is damaged"):
        load_features(stored)
    stored.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageSetError, match="not a features file"):
        load_features(stored)


def test_unknown_versions_and_other_files_are_refused(stored: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(stored) as archive:
        meta = archive.read("__meta__.npy")
    old, new = (f'"version": {number}'.encode("utf-32-le") for number in (1, 9))
    assert old in meta
    rewrite(stored, {"__meta__.npy": meta.replace(old, new)})
    with pytest.raises(ImageSetError, match="features version 9, this program reads 1"):
        load_features(stored)
    np.savez(tmp_path / "images.npz", a=np.zeros((2, 3, 4, 4), np.uint8))
    assert not is_feature_file(tmp_path / "images.npz")
    assert not is_feature_file(tmp_path / "missing.npz")


def test_compressed_and_object_members_are_refused(stored: Path) -> None:
    rewrite(stored, {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ImageSetError, match="not a features file"):
        load_features(stored)


def test_rows_that_do_not_fit_are_refused(stored: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 64), np.float32))
    rewrite(stored, {"pool.npy": buffer.getvalue()})
    with pytest.raises(ImageSetError, match=r"layer pool is float32 \(3, 64\), expected float32 \(4, D\)"):
        load_features(stored)


def test_a_header_that_promises_too_much_is_refused(stored: Path) -> None:
    for shape in ((4, 10**15), (4, 10**9)):
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
        rewrite(stored, {"pool.npy": buffer.getvalue()})
        with pytest.raises(ImageSetError, match="is damaged"):
            load_features(stored)


def test_a_full_disk_or_missing_folder_is_one_line(tmp_path: Path) -> None:
    found = extract_features(as_image_set(images(3)), TINY, ["pool"])
    with pytest.raises(ImageSetError, match="cannot write"):
        save_features(found, tmp_path / "nowhere" / "f.npz")
