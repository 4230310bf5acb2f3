"""Every format is read back bit for bit, with its labels; what is damaged or hostile is refused in one line."""

import gzip
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from celebahq_tools.cli import main
from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import CelebAHQError, SourceError
from celebahq_tools.formats.arrays import open_numpy
from celebahq_tools.formats.authors import open_hdf5, open_tfrecords
from celebahq_tools.formats.cifar import load_batch, open_cifar
from celebahq_tools.formats.collection import Collection
from celebahq_tools.formats.job import collection_job
from celebahq_tools.formats.mnist import open_mnist, open_mnist_rgb
from celebahq_tools.formats.tfrecord import example_of, framed, parse_example
from celebahq_tools.pipeline.build import build_pyramid
from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import PyramidReader

COUNT = 7


def made(collection: Collection, out: Path, res: int | None = None, jobs: int = 1) -> PyramidReader:
    config = BuildConfig(recipe="images", res=res or collection.natural_res or 0)
    build_pyramid(collection_job(collection, config), RunOptions(jobs=jobs), out, lambda stage, done, total: None)
    return PyramidReader(out)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("jobs", [1, 2])
def test_npy_with_labels(tmp_path: Path, pixels: np.ndarray, jobs: int) -> None:
    np.save(tmp_path / "a.npy", pixels.transpose(0, 2, 3, 1))
    np.save(tmp_path / "l.npy", np.arange(COUNT))
    reader = made(open_numpy(tmp_path / "a.npy", tmp_path / "l.npy"), tmp_path / "o.h5", jobs=jobs)
    np.testing.assert_array_equal(reader.read(slice(None)), pixels)
    assert reader.labels is not None
    assert reader.labels.tolist() == list(range(COUNT))


def test_npz_with_continuous_labels(tmp_path: Path, pixels: np.ndarray) -> None:
    vectors = np.random.default_rng(0).normal(size=(COUNT, 5)).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=pixels, labels=vectors)
    reader = made(open_numpy(tmp_path / "a.npz"), tmp_path / "o.h5", jobs=2)
    np.testing.assert_array_equal(reader.read(slice(None)), pixels)
    np.testing.assert_array_equal(reader.vectors, vectors)
    assert reader.labels is None
    assert reader.vector_names == tuple(f"label{k}" for k in range(5))
    assert reader.index.row(2).vector == tuple(float(value) for value in vectors[2])


def cifar_folder(folder: Path, pixels: np.ndarray, classes: int, binary: bool) -> Path:
    folder.mkdir()
    names = [f"data_batch_{k}" for k in range(1, 6)] if classes == 10 else ["train"]
    labels = np.arange(COUNT) % classes
    for name in names:
        if binary:
            heads = labels[:, None] if classes == 10 else np.stack([labels % 20, labels], axis=1)
            rows = np.concatenate([heads.astype(np.uint8), pixels.reshape(COUNT, -1)], axis=1)
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            batch: dict[bytes, object] = {b"data": pixels.reshape(COUNT, -1)}
            if classes == 10:
                batch[b"labels"] = labels.tolist()
            else:
                batch |= {b"fine_labels": labels.tolist(), b"coarse_labels": (labels % 20).tolist()}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(tmp_path: Path, pixels: np.ndarray, classes: int, binary: bool) -> None:
    collection = open_cifar(cifar_folder(tmp_path / "c", pixels, classes, binary), classes)
    parts = 5 if classes == 10 else 1
    assert len(collection) == parts * COUNT
    reader = made(collection, tmp_path / "o.h5", jobs=2)
    np.testing.assert_array_equal(reader.read(slice(None)), np.concatenate([pixels] * parts))
    assert reader.labels is not None
    assert reader.labels[:COUNT].tolist() == list(range(COUNT))
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "c", "cifar")
    packed = open_cifar(tmp_path / "c.tar.gz", classes)
    np.testing.assert_array_equal(packed.image(3), collection.image(3))


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        import os

        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "hostile",
    [
        pickle.dumps(Bomb()),
        b"cbuiltins\neval\n(S'1+1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"",
        b"]",
        pickle.dumps([1, 2]),
    ],
)
def test_pickles_can_do_nothing_but_hold_arrays(
    hostile: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        load_batch(hostile, "batch")
    assert str(caught.value).startswith("batch: ")
    assert not list(tmp_path.iterdir())


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_folder(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    folder.mkdir()
    digits = np.random.default_rng(1).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    labels = (np.arange(20) % 10).astype(np.uint8)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(digits)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder, digits, labels


def test_mnist_is_padded(tmp_path: Path) -> None:
    folder, digits, labels = mnist_folder(tmp_path / "m")
    reader = made(open_mnist(folder), tmp_path / "o.h5", jobs=2)
    images = reader.read(slice(None))
    for channel in range(3):
        np.testing.assert_array_equal(images[:, channel, 2:30, 2:30], digits)
    assert images[:, :, :2].max() == images[:, :, :, 30:].max() == 0
    assert reader.labels is not None
    assert reader.labels.tolist() == labels.tolist()


def test_mnist_rgb_has_a_class_for_three_digits(tmp_path: Path) -> None:
    folder, digits, labels = mnist_folder(tmp_path / "m")
    collection = open_mnist_rgb(folder, 30, 5)
    reader = made(collection, tmp_path / "o.h5", jobs=2)
    assert reader.label_names[123] == "123"
    assert len(reader.label_names) == 1000
    assert reader.labels is not None
    for number in range(30):
        image = reader.read(number)[:, 2:30, 2:30]
        found = [int(labels[np.flatnonzero((digits == channel).all(axis=(1, 2)))[0]]) for channel in image]
        assert reader.labels[number] == 100 * found[0] + 10 * found[1] + found[2]
    again = open_mnist_rgb(folder, 30, 5)
    assert again.digest == collection.digest
    assert open_mnist_rgb(folder, 30, 6).digest != collection.digest


def test_the_authors_hdf5(make_authors_file: Callable[..., tuple[Path, np.ndarray]], tmp_path: Path) -> None:
    path, images = make_authors_file(count=5, res=16, labels=np.eye(5, 8, dtype=np.float32))
    reader = made(open_hdf5(path), tmp_path / "o.h5", jobs=2)
    with PyramidReader(path) as source:
        for res in reader.levels:
            np.testing.assert_array_equal(reader.read(slice(None), res), source.read(slice(None), res))
    np.testing.assert_array_equal(reader.read(slice(None)), images)
    assert reader.labels is not None
    assert reader.labels.tolist() == [0, 1, 2, 3, 4]
    assert len(reader.label_names) == 8


def test_an_example_in_any_order(pixels: np.ndarray) -> None:
    payload = example_of((3, 32, 32), pixels[0].tobytes())
    assert parse_example(payload, "x") == {"shape": [3, 32, 32], "data": [pixels[0].tobytes()]}


def test_the_authors_tfrecords(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    order = np.arange(COUNT)
    np.random.RandomState(123).shuffle(order)
    records = b"".join(framed(example_of((3, 32, 32), pixels[number].tobytes())) for number in order)
    (folder / "set-r05.tfrecords").write_bytes(records)
    with (folder / "set-rxx.labels").open("wb") as file:
        np.save(file, np.eye(COUNT, dtype=np.float32)[order])
    shuffled = made(open_tfrecords(folder), tmp_path / "a.h5", jobs=2)
    np.testing.assert_array_equal(shuffled.read(slice(None)), pixels[order])
    straight = made(open_tfrecords(folder, unshuffle=True), tmp_path / "b.h5")
    np.testing.assert_array_equal(straight.read(slice(None)), pixels)
    assert straight.labels is not None
    assert straight.labels.tolist() == list(range(COUNT))
    assert shuffled.labels is not None
    assert shuffled.labels.tolist() == order.tolist()


def test_coarser_levels_that_are_not_derived_are_told(
    make_authors_file: Callable[..., tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    path, images = make_authors_file(count=20, res=16)
    assert open_hdf5(path).notes == ()
    with h5py.File(path, "r+") as file:
        file["data8x8"][0, 0, 0, 0] ^= 4
        file["data8x8"][19] = 255 - file["data8x8"][19]
    (note,) = open_hdf5(path).notes
    assert note.startswith("its level 8x8 is not what its finest level gives (in 2 of 16 images looked at, by up to ")
    assert note.endswith("of 255): the pyramid has the derived one; --res 8 takes the stored one as the finest")
    assert open_hdf5(path, 8).notes == ()
    reader = made(open_hdf5(path), tmp_path / "o.h5")
    np.testing.assert_array_equal(reader.read(slice(None), 8), build_levels(images)[8])


def test_coarser_tfrecords_that_are_not_derived_are_told(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = tmp_path / "set"
    folder.mkdir()

    def store(res: int, images: np.ndarray) -> None:
        records = b"".join(framed(example_of((3, res, res), image.tobytes())) for image in images)
        (folder / f"set-r{res.bit_length() - 1:02d}.tfrecords").write_bytes(records)

    levels = build_levels(pixels)
    for res, images in levels.items():
        store(res, images)
    assert open_tfrecords(folder).notes == open_tfrecords(folder, unshuffle=True).notes == ()
    store(16, levels[16][::-1])
    store(8, levels[8][:-1])
    store(4, np.zeros_like(levels[8]))
    notes = open_tfrecords(folder).notes
    assert len(notes) == 3
    told = " ".join(notes)
    assert "set-r03.tfrecords has 6 images, set-r05.tfrecords 7: it is derived anew" in told
    assert "its level 16x16 is not what its finest level gives (in 6 of 7 images looked at" in told
    assert "its level 4x4 cannot be read and is derived anew: " in told
    (folder / "set-r02.tfrecords").write_bytes(b"rubbish")
    assert any(note.startswith("its level 4x4 is derived anew: ") for note in open_tfrecords(folder).notes)
    reader = made(open_tfrecords(folder), tmp_path / "o.h5")
    np.testing.assert_array_equal(reader.read(slice(None), 4), levels[4])


def test_an_import_on_a_cluster_is_the_same(tmp_path: Path, pixels: np.ndarray) -> None:
    pytest.importorskip("distributed")
    from distributed import LocalCluster

    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "p").mkdir()
    for k in range(COUNT):
        Image.fromarray(pixels[k].transpose(1, 2, 0)).save(tmp_path / "p" / f"{k}.png")
    (tmp_path / "p" / "3.png").write_bytes(b"<html>not found</html>")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0", local_directory=str(tmp_path / "d")
    ) as cluster:
        for kind, source in (("numpy", "a.npy"), ("images", "p")):
            command = ["import", kind, str(tmp_path / source), "-q", "--out"]
            far = CliRunner().invoke(
                main, [*command, str(tmp_path / f"{kind}-far.h5"), "--dask", cluster.scheduler_address]
            )
            near = CliRunner().invoke(main, [*command, str(tmp_path / f"{kind}-near.h5")])
            assert (near.exit_code, far.exit_code) == (0, 0), far.output
            assert (tmp_path / f"{kind}-far.h5").read_bytes() == (tmp_path / f"{kind}-near.h5").read_bytes()
    rejects = [(tmp_path / f"images-{name}.rejects.jsonl").read_text() for name in ("far", "near")]
    assert rejects[0] == rejects[1]
    assert '"key": "3.png"' in rejects[0]
    assert not list(tmp_path.glob("*.shards"))


def openers(folder: Path, pixels: np.ndarray) -> dict[str, tuple[Path, Callable[[], Collection]]]:
    """For each format: a file of it, and what opens it."""
    np.save(folder / "a.npy", pixels)
    np.savez(folder / "a.npz", images=pixels, labels=np.arange(COUNT))
    binary = cifar_folder(folder / "cb", pixels, 10, True)
    batches = cifar_folder(folder / "cp", pixels, 10, False)
    mnist, _, _ = mnist_folder(folder / "m")
    records = folder / "r"
    records.mkdir()
    (records / "r-r05.tfrecords").write_bytes(framed(example_of((3, 32, 32), pixels[0].tobytes())) * 3)
    return {
        "npy": (folder / "a.npy", lambda: open_numpy(folder / "a.npy")),
        "npz": (folder / "a.npz", lambda: open_numpy(folder / "a.npz")),
        "cifar-binary": (binary / "data_batch_2.bin", lambda: open_cifar(binary, 10)),
        "cifar-python": (batches / "data_batch_2", lambda: open_cifar(batches, 10)),
        "mnist": (mnist / "train-images-idx3-ubyte.gz", lambda: open_mnist(mnist)),
        "tfrecords": (records / "r-r05.tfrecords", lambda: open_tfrecords(records)),
    }


KINDS = ("npy", "npz", "cifar-binary", "cifar-python", "mnist", "tfrecords")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_read_but_never_a_crash(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    path, opened = openers(tmp_path, pixels)[kind]
    good = path.read_bytes()
    rng = np.random.default_rng(11)
    messages: list[str] = []
    for trial in range(60):
        data = bytearray(good)
        if trial < 20:
            data = data[: int(rng.integers(0, len(good)))]
        elif trial < 50:
            for at in rng.integers(0, min(len(good), 400 if trial % 2 else len(good)), 4):
                data[at] = int(rng.integers(0, 256))
        else:
            data = bytearray(rng.bytes(int(rng.integers(0, 3000))))
        path.write_bytes(data)
        try:
            for _ in opened().images():
                pass
        except CelebAHQError as error:
            messages.append(str(error))
    assert len(messages) >= 20
    assert not any("\n" in message for message in messages)


def test_empty_and_missing_sources_are_named(tmp_path: Path) -> None:
    for opened in (open_numpy, lambda p: open_cifar(p, 10), open_mnist, open_tfrecords, open_hdf5):
        with pytest.raises(CelebAHQError, match="nowhere"):
            opened(tmp_path / "nowhere.npy")
