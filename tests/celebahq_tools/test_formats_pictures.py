"""Formats that hold picture files: zips with labels, tars, LMDB, .mat, parquet, CelebA aligned, FFHQ."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import CelebAHQError, SourceError
from celebahq_tools.formats.collection import Collection
from celebahq_tools.formats.faces import open_celeba_aligned, open_ffhq
from celebahq_tools.formats.job import collection_job
from celebahq_tools.formats.lsun import open_lsun
from celebahq_tools.formats.parquet import open_parquet
from celebahq_tools.formats.pictures import open_pictures
from celebahq_tools.formats.stylegan import open_stylegan
from celebahq_tools.formats.svhn import open_svhn
from celebahq_tools.formats.webdataset import open_webdataset
from celebahq_tools.pipeline.build import build_pyramid
from celebahq_tools.store import PyramidReader

COUNT = 6


def made(collection: Collection, out: Path, res: int, fit: str = "refuse") -> PyramidReader:
    config = BuildConfig(recipe="images", res=res, fit=fit)  # type: ignore[arg-type]
    build_pyramid(collection_job(collection, config), RunOptions(jobs=2), out, lambda stage, done, total: None)
    return PyramidReader(out)


def png(image: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)


def same(reader: PyramidReader, pixels: np.ndarray) -> bool:
    return bool(np.array_equal(reader.read(slice(None)), pixels.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("file,label\na.png,cat\nb.png,dog\n", "l.csv", [0, 1, -1]),
        ("file,label\na.png,3\nb.png,1\n", "l.csv", [3, 1, -1]),
        (json.dumps({"a.png": 3, "b.png": 1}), "l.json", [3, 1, -1]),
        (json.dumps({"labels": [["a.png", 1], ["b.png", 0]]}), "l.json", [1, 0, -1]),
    ],
)
def test_class_labels_of_a_file(tmp_path: Path, pixels: np.ndarray, text: str, name: str, found: list[int]) -> None:
    for k, file in enumerate(("a.png", "b.png", "c.png")):
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / file).write_bytes(png(pixels[k]))
    (tmp_path / name).write_text(text)
    labels = open_pictures(tmp_path / "p", tmp_path / name).columns.labels
    assert labels is not None
    assert labels.tolist() == found


def test_attributes_and_continuous_labels_of_a_file(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "p").mkdir()
    for k in range(2):
        (tmp_path / "p" / f"{k}.png").write_bytes(png(pixels[k]))
    (tmp_path / "a.csv").write_text("file,smiling,young\n0.png,1,-1\n1.png,-1,-1\n")
    (tmp_path / "v.csv").write_text("file,age,yaw\n0.png,31.5,0.25\n1.png,7,-3\n")
    reader = made(open_pictures(tmp_path / "p", tmp_path / "a.csv"), tmp_path / "a.h5", 32)
    assert reader.attribute_names == ("smiling", "young")
    assert reader.index.attributes.tolist() == [[1, -1], [-1, -1]]
    reader = made(open_pictures(tmp_path / "p", tmp_path / "v.csv"), tmp_path / "v.h5", 32)
    assert reader.vector_names == ("age", "yaw")
    assert reader.vectors is not None
    assert reader.vectors.tolist() == [[31.5, 0.25], [7, -3]]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("file\n", "l.csv", "line 1"),
        ("file,a\nx.png,1,2\n", "l.csv", "line 2"),
        ("file,a\nx.png,1\nx.png,1\n", "l.csv", "twice"),
        ("file,a\nx.png,1\n", "l.csv", "names none"),
        ("{", "l.json", "no valid JSON"),
        ("3", "l.json", "expected names"),
        ('{"0.png": {}}', "l.json", "no number"),
        ("[" * 100000, "l.json", "no valid JSON"),
        ("file,a,b\n0.png,1,x\n", "l.csv", "expected numbers"),
    ],
)
def test_label_files_that_make_no_sense(tmp_path: Path, pixels: np.ndarray, text: str, name: str, message: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "0.png").write_bytes(png(pixels[0]))
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        open_pictures(tmp_path / "p", tmp_path / name)


def stylegan_zip(path: Path, pixels: np.ndarray) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        names = [f"00000/img{k:08d}.png" for k in range(COUNT)]
        for name, image in zip(names, pixels, strict=True):
            archive.writestr(name, png(image))
        archive.writestr("dataset.json", json.dumps({"labels": [[name, k % 3] for k, name in enumerate(names)]}))
    return path


def test_stylegan(tmp_path: Path, pixels: np.ndarray) -> None:
    collection = open_stylegan(stylegan_zip(tmp_path / "s.zip", pixels))
    reader = made(collection, tmp_path / "o.h5", collection.natural_res or 0)
    assert same(reader, pixels)
    assert reader.labels is not None
    assert reader.labels.tolist() == [0, 1, 2, 0, 1, 2]


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_webdataset(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "w").mkdir()
    for shard in range(2):
        members: list[tuple[str, bytes]] = []
        for k in range(shard * 3, shard * 3 + 3):
            long = "x" * 150 if k == 4 else ""
            members += [(f"{k:04d}{long}.png", png(pixels[k])), (f"{k:04d}{long}.cls", str(k % 2).encode())]
        tar_of(tmp_path / "w" / f"set-{shard:06d}.tar", members)
    reader = made(open_webdataset(tmp_path / "w"), tmp_path / "o.h5", 32)
    assert same(reader, pixels)
    assert reader.labels is not None
    assert reader.labels.tolist() == [0, 1, 0, 1, 0, 1]
    tar = tar_of(tmp_path / "v.tar", [("a.png", png(pixels[0])), ("a.json", b'{"label": [0.5, 2]}')])
    vectors = open_webdataset(tar).columns.vectors
    assert vectors is not None
    assert vectors.tolist() == [[0.5, 2]]


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png"])
def test_tars_that_escape_are_refused(tmp_path: Path, pixels: np.ndarray, name: str) -> None:
    with pytest.raises(SourceError, match="not accepted"):
        open_webdataset(tar_of(tmp_path / "e.tar", [(name, png(pixels[0]))]))


def test_links_in_tars_are_passed_over(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tar_of(tmp_path / "e.tar", [("a.png", png(pixels[0]))])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert list(open_webdataset(path).keys) == ["e.tar/a"]


@pytest.mark.parametrize(
    ("mode", "ending", "program"),
    [("w:gz", ".tar.gz", "gzip"), ("w:gz", ".tgz", "gzip"), ("w:bz2", ".tar.bz2", "bzip2"), ("w:xz", ".tar.xz", "xz")],
)
def test_compressed_tars_are_refused_with_what_to_do(
    tmp_path: Path, pixels: np.ndarray, mode: str, ending: str, program: str
) -> None:
    plain = tar_of(tmp_path / "a.tar", [("a.png", png(pixels[0]))])
    (tmp_path / "set").mkdir()
    packed = tmp_path / "set" / f"b{ending}"
    with tarfile.open(packed, mode) as archive:  # type: ignore[call-overload]
        archive.add(plain, "a.png")
    disguised = tmp_path / "c.tar"
    disguised.write_bytes(packed.read_bytes())
    plain.rename(tmp_path / "set" / "a.tar")
    for path, named in ((packed, packed), (tmp_path / "set", packed), (disguised, disguised)):
        with pytest.raises(SourceError, match=f"unpack it with `{program} -d -k {named}` and give the .tar"):
            open_webdataset(path)


def test_svhn(tmp_path: Path, pixels: np.ndarray) -> None:
    from scipy.io import savemat

    labels = np.array([[1], [10], [3], [9], [10], [2]], np.uint8)
    savemat(tmp_path / "s.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": labels}, do_compression=True)
    reader = made(open_svhn(tmp_path / "s.mat"), tmp_path / "o.h5", 32)
    assert same(reader, pixels)
    assert reader.labels is not None
    assert reader.labels.tolist() == [1, 0, 3, 9, 0, 2]


def lmdb_of(path: Path, pictures: dict[bytes, bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb", reason="needs the extra formats")
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for key, data in pictures.items():
            transaction.put(key, data)
    return path


def test_lsun_is_cropped_at_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 255
    pictures = {b"b": png(wide), b"\xff\x00": png(wide, "WEBP", lossless=True), b"a": png(wide[:, 32:96])}
    reader = made(open_lsun(lmdb_of(tmp_path / "l", pictures)), tmp_path / "o.h5", 64, "crop")
    assert [str(key) for key in reader.index.key] == ["a", "b", "0xff00"]
    assert reader.read(slice(None)).min() == 255


def parquet_of(path: Path, pixels: np.ndarray) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra formats")
    import pyarrow.parquet as parquet

    rows = [{"bytes": png(image), "path": f"{k}.png"} for k, image in enumerate(pixels)]
    parquet.write_table(arrow.table({"image": rows, "label": [k % 2 for k in range(COUNT)]}), path, row_group_size=2)
    return path


def test_parquet(tmp_path: Path, pixels: np.ndarray) -> None:
    reader = made(open_parquet(parquet_of(tmp_path / "a.parquet", pixels)), tmp_path / "o.h5", 32)
    assert same(reader, pixels)
    assert reader.labels is not None
    assert reader.labels.tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(SourceError, match="no column picture"):
        open_parquet(tmp_path / "a.parquet", "picture")


def test_celeba_aligned_takes_the_authors_crop(tmp_path: Path) -> None:
    root = tmp_path / "CelebA"
    (root / "Img" / "img_align_celeba").mkdir(parents=True)
    (root / "Anno").mkdir()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 218, 178, 3), dtype=np.uint8)
    for k, picture in enumerate(pictures, start=1):
        (root / "Img" / "img_align_celeba" / f"{k:06d}.png").write_bytes(png(picture))
    rows = "".join(f"{k:06d}.jpg {1 if k % 2 else -1} -1\n" for k in (1, 2, 3))
    (root / "Anno" / "list_attr_celeba.txt").write_text(f"3\nMale Young\n{rows}")
    (root / "Anno" / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    reader = made(open_celeba_aligned(root), tmp_path / "o.h5", 128)
    expected = pictures[:, 57:185, 25:153].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(reader.read(slice(None)), expected)
    assert reader.attribute_names == ("Male", "Young")
    assert reader.index.attributes.tolist() == [[1, -1], [-1, -1], [1, -1]]
    assert reader.index.partition.tolist() == [0, 1, 2]


def test_ffhq_has_no_classes(tmp_path: Path, pixels: np.ndarray) -> None:
    for k in range(COUNT):
        folder = tmp_path / "thumbnails128x128" / f"{k // 3 * 1000:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k:05d}.png").write_bytes(png(pixels[k]))
    collection = open_ffhq(tmp_path / "thumbnails128x128")
    assert collection.columns.labels is None
    assert same(made(collection, tmp_path / "o.h5", collection.natural_res or 0), pixels)


def samples(folder: Path, pixels: np.ndarray) -> dict[str, tuple[Path, Callable[[], Collection]]]:
    from scipy.io import savemat

    savemat(folder / "s.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": np.ones((COUNT, 1))})
    tar = tar_of(folder / "t.tar", [(f"{k}.png", png(image)) for k, image in enumerate(pixels)])
    parquet = parquet_of(folder / "p.parquet", pixels)
    zipped = stylegan_zip(folder / "s.zip", pixels)
    return {
        "svhn": (folder / "s.mat", lambda: open_svhn(folder / "s.mat")),
        "webdataset": (tar, lambda: open_webdataset(tar)),
        "parquet": (parquet, lambda: open_parquet(parquet)),
        "stylegan": (zipped, lambda: open_stylegan(zipped)),
    }


@pytest.mark.parametrize("kind", ["svhn", "webdataset", "parquet", "stylegan"])
def test_damage_is_an_error_of_ours(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    path, opened = samples(tmp_path, pixels)[kind]
    good = path.read_bytes()
    rng = np.random.default_rng(5)
    messages: list[str] = []
    for trial in range(45):
        data = bytearray(good)
        if trial < 15:
            data = data[: int(rng.integers(0, len(good)))]
        elif trial < 40:
            at = int(rng.integers(0, len(good)))
            data[at : at + 8] = rng.bytes(8)
        else:
            data = bytearray(rng.bytes(2000))
        path.write_bytes(data)
        try:
            for _ in opened().images():
                pass
        except CelebAHQError as error:
            messages.append(str(error))
    assert len(messages) >= 15
    assert not any("\n" in message for message in messages)


def test_damaged_lmdbs_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    path = lmdb_of(tmp_path / "l", {b"a": png(pixels[0])})
    data = path / "data.mdb"
    good = data.read_bytes()
    for bad in (b"", good[:3000], b"x" * 10000):
        data.write_bytes(bad)
        with pytest.raises(SourceError):
            list(open_lsun(path).images())
