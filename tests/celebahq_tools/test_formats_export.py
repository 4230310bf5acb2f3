"""Out and in again gives the same pixels and labels, in every lossless format."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import UsageError
from celebahq_tools.formats.arrays import open_numpy
from celebahq_tools.formats.authors import open_hdf5, open_tfrecords
from celebahq_tools.formats.collection import Collection
from celebahq_tools.formats.job import collection_job
from celebahq_tools.formats.parquet import open_parquet
from celebahq_tools.formats.pictures import open_pictures
from celebahq_tools.formats.stylegan import open_stylegan
from celebahq_tools.formats.writers import SetFormat, export_set
from celebahq_tools.pipeline.build import build_pyramid
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid
from celebahq_tools.store.export import export_images

RES = 16
KINDS = ("png", "webp", "png-zip", "stylegan", "tfrecords", "npy", "parquet", "hdf5")


def pyramid(path: Path, images: np.ndarray, labels: list[int] | None, vectors: np.ndarray | None) -> PyramidReader:
    rows = [
        IndexRow(
            key=f"{k:05d}",
            file="x",
            label=None if labels is None else labels[k],
            vector=None if vectors is None else tuple(float(value) for value in vectors[k]),
        )
        for k in range(len(images))
    ]
    names = () if vectors is None else tuple(f"v{k}" for k in range(vectors.shape[1]))
    classes = () if labels is None else ("a", "b", "c")
    path.unlink(missing_ok=True)
    create_pyramid(path, res=RES, rows=rows, meta=PyramidMeta(), label_names=classes, vector_names=names)
    with SlotWriter(path) as writer:
        writer.write_run(0, images)
    return PyramidReader(path)


def round_trip(reader: PyramidReader, kind: str, folder: Path) -> Collection:
    """Export with two threads, and open what was written."""
    if kind in ("png", "webp"):
        export_images(reader, to=folder / kind, jobs=2, picture=kind)  # type: ignore[arg-type]
        return open_pictures(folder / kind)
    if kind == "png-zip":
        export_images(reader, to=folder / "p.zip", jobs=2)
        return open_pictures(folder / "p.zip")
    if kind == "hdf5":
        return open_hdf5(reader.path)
    to = folder / {"stylegan": "s.zip", "tfrecords": "t", "npy": "a.npy", "parquet": "a.parquet"}[kind]
    export_set(reader, kind, to=to, jobs=2)  # type: ignore[arg-type]
    if kind == "npy":
        labels = to.with_name("a-labels.npy")
        return open_numpy(to, labels if labels.exists() else None)
    if kind == "tfrecords":
        return open_tfrecords(to, unshuffle=True)
    return open_stylegan(to) if kind == "stylegan" else open_parquet(to)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pixels_and_classes_come_back(kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("trip")
    count = data.draw(st.integers(1, 5))
    images = data.draw(hnp.arrays(np.uint8, (count, 3, RES, RES), elements=st.integers(0, 255)))
    labels = data.draw(st.none() | st.lists(st.integers(0, 2), min_size=count, max_size=count))
    with pyramid(folder / "o.h5", images, labels, None) as reader:
        collection = round_trip(reader, kind, folder)
        back = np.stack([collection.image(number) for number in range(count)])
        np.testing.assert_array_equal(back.transpose(0, 3, 1, 2), images)
        if kind not in ("png", "webp", "png-zip"):
            found = collection.columns.labels
            assert (None if labels is None else labels) == (None if found is None else found.tolist()) or (
                labels is None and found is not None and (found == -1).all()
            )


@pytest.mark.parametrize("kind", ["stylegan", "tfrecords", "npy", "parquet", "hdf5"])
def test_continuous_labels_come_back(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 3, RES, RES), dtype=np.uint8)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    collection = round_trip(pyramid(tmp_path / "o.h5", images, None, vectors), kind, tmp_path)
    np.testing.assert_array_equal(collection.columns.vectors, vectors)


def test_tfrecords_have_every_level_in_the_authors_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 3, RES, RES), dtype=np.uint8)
    reader = pyramid(tmp_path / "o.h5", images, [k % 3 for k in range(9)], None)
    export_set(reader, "tfrecords", to=tmp_path / "set")
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "set-r02.tfrecords",
        "set-r03.tfrecords",
        "set-r04.tfrecords",
        "set-rxx.labels",
    ]
    order = np.arange(9)
    np.random.RandomState(123).shuffle(order)
    for res in (4, 8, 16):
        level = open_tfrecords(tmp_path / "set", res)
        for place, number in enumerate(order):
            np.testing.assert_array_equal(level.image(place).transpose(2, 0, 1), reader.read(int(number), res))
    with (tmp_path / "set" / "set-rxx.labels").open("rb") as file:
        labels = np.load(file, allow_pickle=False)
    np.testing.assert_array_equal(labels, np.eye(3, dtype=np.float32)[order % 3])
    assert labels.dtype == np.float32


def test_the_stylegan_zip_is_laid_out_as_stylegan_has_it(tmp_path: Path) -> None:
    import zipfile

    reader = pyramid(tmp_path / "o.h5", np.zeros((2, 3, RES, RES), np.uint8), [2, 0], None)
    export_set(reader, "stylegan", to=tmp_path / "s.zip")
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.namelist() == ["00000/img00000000.png", "00000/img00000001.png", "dataset.json"]
        labels = json.loads(archive.read("dataset.json"))["labels"]
    assert labels == [["00000/img00000000.png", 2], ["00000/img00000001.png", 0]]


@pytest.mark.parametrize("kind", ["stylegan", "npy", "parquet"])
def test_a_wrong_ending_is_named_and_nothing_is_left(kind: SetFormat, tmp_path: Path) -> None:
    reader = pyramid(tmp_path / "o.h5", np.zeros((2, 3, RES, RES), np.uint8), None, None)
    with pytest.raises(UsageError, match=r"x\.bin"):
        export_set(reader, kind, to=tmp_path / "x.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["o.h5"]


@pytest.mark.parametrize("kind", ["stylegan", "tfrecords", "npy", "parquet"])
def test_an_interrupted_export_leaves_nothing_that_looks_whole(kind: SetFormat, tmp_path: Path) -> None:
    reader = pyramid(tmp_path / "o.h5", np.zeros((3, 3, RES, RES), np.uint8), None, None)
    names = {"stylegan": "s.zip", "tfrecords": "t", "npy": "a.npy", "parquet": "a.parquet"}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_set(reader, kind, to=tmp_path / names[kind], progress=stop)
    left = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {".h5", ".partial", ".journal"}


def test_a_copy_of_a_pyramid_keeps_its_index(
    make_store: Callable[..., tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    path, _ = make_store(count=6, res=32)
    collection = open_hdf5(path)
    config = BuildConfig(recipe="images", res=32)
    build_pyramid(collection_job(collection, config), RunOptions(), tmp_path / "b.h5", lambda *_: None)
    with PyramidReader(path) as one, PyramidReader(tmp_path / "b.h5") as two:
        assert one.fingerprint() == two.fingerprint()
        for name in ("key", "file", "quad", "landmarks", "quality", "identity", "attributes", "partition", "label"):
            np.testing.assert_array_equal(getattr(one.index, name), getattr(two.index, name))
