"""Repacking, exporting and describing pyramid files."""

import csv
import errno
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from celebahq_tools.errors import DiskSpaceError, FormatError, UsageError
from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import PyramidReader, verify_pyramid
from celebahq_tools.store.export import encode_png, export_images, picture_name
from celebahq_tools.store.info import describe
from celebahq_tools.store.repack import chunk_images, repack_pyramid

MakeStore = Callable[..., tuple[Path, np.ndarray]]


def same_content(first: Path, second: Path) -> None:
    with PyramidReader(first) as a, PyramidReader(second) as b:
        assert a.levels == b.levels
        assert a.fingerprint() == b.fingerprint()
        assert dict(a.layout.attributes) == dict(b.layout.attributes)
        for res in a.levels:
            np.testing.assert_array_equal(a.read(slice(None), res), b.read(slice(None), res))
        for column in a.layout.columns:
            np.testing.assert_array_equal(getattr(a.index, column), getattr(b.index, column))


@pytest.mark.parametrize(("compression", "jobs"), [("gzip", 1), ("gzip", 3), ("lzf", 2)])
def test_repacking_there_and_back_keeps_everything(make_store: MakeStore, compression: str, jobs: int) -> None:
    path, images = make_store(count=23, res=128)
    packed, again = path.with_name("packed.h5"), path.with_name("again.h5")
    calls: list[tuple[int, int]] = []
    repack_pyramid(
        path,
        packed,
        compression=compression,  # type: ignore[arg-type]
        jobs=jobs,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(k, 46) for k in range(1, 47)]
    same_content(path, packed)
    assert packed.stat().st_size < path.stat().st_size
    with h5py.File(packed) as file:
        assert file["data128x128"].compression == compression
        assert file["data128x128"].chunks == (1, 3, 128, 128)
        assert file["data32x32"].chunks == (16, 3, 32, 32)
        np.testing.assert_array_equal(file["data128x128"][20], images[20])
    repack_pyramid(packed, again, compression="none", jobs=jobs)
    same_content(path, again)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(item.name for item in path.parent.iterdir()) == ["a.h5", "again.h5", "packed.h5"]


def test_repacking_is_reproducible(make_store: MakeStore) -> None:
    path, _ = make_store()
    for name in ("b.h5", "c.h5"):
        repack_pyramid(path, path.with_name(name), compression="gzip", jobs=2)
    assert path.with_name("b.h5").read_bytes() == path.with_name("c.h5").read_bytes()


def test_chunks_hold_about_64_kib() -> None:
    assert [chunk_images(res, 30_000) for res in (1024, 256, 128, 64, 32, 4)] == [1, 1, 1, 4, 16, 1024]
    assert chunk_images(4, 10) == 10


def test_the_authors_files_become_ours(make_authors_file: MakeStore) -> None:
    path, images = make_authors_file(labels=np.eye(6, dtype=np.float32)[[3, 1, 4, 1, 5]])
    out = path.with_name("ours.h5")
    repack_pyramid(path, out, compression="none")
    assert verify_pyramid(out).ok
    with PyramidReader(out) as reader:
        assert reader.levels == (16, 8, 4)
        assert reader.layout.contiguous
        np.testing.assert_array_equal(reader.read(slice(None)), images)
        assert reader.labels is not None
        assert reader.labels.tolist() == [3, 1, 4, 1, 5]
        assert reader.index.key.tolist() == ["00000", "00001", "00002", "00003", "00004"]


def test_labels_that_are_not_one_hot_stop_a_repack(make_authors_file: MakeStore) -> None:
    path, _ = make_authors_file(labels=np.ones((5, 3), np.float32))
    with pytest.raises(FormatError, match="not one-hot"):
        repack_pyramid(path, path.with_name("ours.h5"))
    assert not path.with_name("ours.h5.partial").exists()


@pytest.mark.parametrize(("name", "problem"), [("data32x32", "sha256"), ("data8x8", "level 8 does not follow")])
def test_damaged_images_are_not_repacked(make_store: MakeStore, name: str, problem: str) -> None:
    path, _ = make_store()
    with h5py.File(path, "r+") as file:
        file[name][4, 0, 0, 0] ^= 1
    for compression in ("gzip", "none"):
        with pytest.raises(FormatError, match=f"image 4.*{problem}"):
            repack_pyramid(path, path.with_name("b.h5"), compression=compression)  # type: ignore[arg-type]
    assert sorted(item.name for item in path.parent.iterdir()) == ["a.h5"]


def test_repack_refuses(make_store: MakeStore) -> None:
    path, _ = make_store()
    with pytest.raises(UsageError, match="exists already"):
        repack_pyramid(path, path)
    with pytest.raises(UsageError, match=r"outside 0\.\.9"):
        repack_pyramid(path, path.with_name("b.h5"), level=11)


def test_export_to_a_folder_is_bit_exact_and_resumes(make_store: MakeStore, tmp_path: Path) -> None:
    path, images = make_store(count=5, res=32)
    to = tmp_path / "new" / "out"
    calls: list[tuple[int, int]] = []
    with PyramidReader(path) as reader:
        assert export_images(reader, to=to, res=16, jobs=2, progress=lambda *call: calls.append(call)) == 5
        assert calls == [(k, 5) for k in range(1, 6)]
        names = sorted(item.name for item in to.iterdir())
        assert names == ["00000.png", "00001.png", "00002.png", "00003.png", "00004.png", "index.csv"]
        for number, image in enumerate(build_levels(images)[16]):
            with Image.open(to / f"{number:05d}.png") as picture:
                np.testing.assert_array_equal(np.asarray(picture), image.transpose(1, 2, 0))
        kept = (to / "00001.png").stat()
        whole = (to / "00002.png").read_bytes()
        (to / "00002.png").write_bytes(whole[:100])
        (to / "00003.png").write_bytes((to / "00000.png").read_bytes())
        (to / "00004.png").unlink()
        export_images(reader, to=to, res=16)
    assert (to / "00001.png").stat().st_mtime_ns == kept.st_mtime_ns
    assert (to / "00002.png").read_bytes() == whole
    with Image.open(to / "00003.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), build_levels(images)[16][3].transpose(1, 2, 0))
    assert sorted(item.name for item in to.iterdir()) == names


def test_export_to_a_zip_is_reproducible(make_store: MakeStore, tmp_path: Path) -> None:
    path, images = make_store(count=5, res=32)
    with PyramidReader(path) as reader:
        export_images(reader, to=tmp_path / "a.zip", ids=[3, 0], jobs=1)
        export_images(reader, to=tmp_path / "b.zip", ids=[3, 0], jobs=3)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["00003.png", "00000.png", "index.csv"]
        assert archive.testzip() is None
        assert all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
        picture = np.asarray(Image.open(io.BytesIO(archive.read("00003.png"))))
        np.testing.assert_array_equal(picture, images[3].transpose(1, 2, 0))
        rows = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))
    with PyramidReader(path) as reader:
        known = reader.index.row(0)
        assert rows[0]["key"] == "plain 3"
        assert rows[0]["quality"] == rows[0]["quad0_x"] == rows[0]["Male"] == ""
        assert (rows[1]["number"], rows[1]["picture"], rows[1]["file"]) == ("0", "00000.png", "Ordner/é0.jpg")
        assert known.quad is not None
        assert float(rows[1]["quad2_y"]) == known.quad[2, 1]
        assert (rows[1]["Male"], rows[1]["Young"], rows[1]["sha256"]) == ("-1", "1", known.sha256)


def test_export_of_the_authors_files(make_authors_file: MakeStore, tmp_path: Path) -> None:
    path, _ = make_authors_file()
    with PyramidReader(path) as reader:
        export_images(reader, to=tmp_path / "out", res=4)
    assert (tmp_path / "out" / "index.csv").read_text().splitlines()[:2] == ["number,picture", "0,00000.png"]


def test_export_refuses(make_store: MakeStore, tmp_path: Path) -> None:
    path, _ = make_store(count=3)
    (tmp_path / "file").write_text("x")
    with PyramidReader(path) as reader:
        for options, message in [
            ({"res": 64}, "no level 64; it has 32, 16, 8, 4"),
            ({"ids": [3]}, r"no image 3; it has 0\.\.2"),
            ({"ids": [-1]}, "no image -1"),
            ({"ids": [1, 1]}, "twice"),
            ({"ids": []}, "no images"),
            ({"to": tmp_path / "file"}, "is no folder"),
        ]:
            with pytest.raises(UsageError, match=message):
                export_images(reader, **{"to": tmp_path / "out", **options})  # type: ignore[arg-type]


def test_a_full_disk_during_export(make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make_store(count=3)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with PyramidReader(path) as reader, pytest.raises(DiskSpaceError):
        export_images(reader, to=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_zip_that_cannot_be_finished_is_finished_later(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make_store(count=3)
    (tmp_path / "a.zip").write_text("an older one")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with PyramidReader(path) as reader:
        with monkeypatch.context() as patched:
            patched.setattr(zipfile.ZipFile, "writestr", full)
            with pytest.raises(DiskSpaceError):
                export_images(reader, to=tmp_path / "a.zip")
        assert (tmp_path / "a.zip").read_text() == "an older one"
        calls: list[int] = []
        export_images(reader, to=tmp_path / "a.zip", progress=lambda done, total: calls.append(done))
        assert calls == [3]
        export_images(reader, to=tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir() if "a.zip" in item.name) == ["a.zip"]


def test_picture_names_and_bytes() -> None:
    assert picture_name(7, 10) == "00007.png"
    assert picture_name(7, 202_599) == "000007.png"
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(image))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (8, 8))


def test_describe(make_store: MakeStore) -> None:
    path, _ = make_store(count=6)
    facts = describe(path)
    assert facts["format"] == "celebahq-pyramid"
    assert (facts["num_images"], facts["resolution"], facts["layout"]) == (6, 32, "contiguous")
    assert facts["file_bytes"] == path.stat().st_size
    assert facts["levels"][0] == {"res": 32, "bytes": 6 * 3 * 32 * 32, "layout": "contiguous"}
    assert facts["columns"]["quad"] == "float64[4x2]"
    assert facts["columns"]["key"] == "text of up to 16 bytes"
    assert facts["counts"]["known"] == {
        "quad": 3,
        "landmarks": 3,
        "quality": 3,
        "identity": 3,
        "attributes": 3,
        "partition": 3,
        "label": 3,
        "sha256": 6,
    }
    assert facts["counts"]["partitions"] == {"train": 1, "validation": 1, "test": 1}
    assert facts["counts"]["identities"] == 3
    assert facts["fingerprint"] == PyramidReader(path).fingerprint()
    assert facts["library_versions"] == {"numpy": "2.0", "h5py": "3.0"}


def test_describe_the_authors_files(make_authors_file: MakeStore) -> None:
    facts = describe(make_authors_file()[0])
    assert facts["format"] == "plain pyramid"
    assert facts["levels"][-1]["layout"] == "chunks of 43, gzip"
    assert facts["fingerprint"] is None
    assert facts["columns"] == facts["counts"] == {}
