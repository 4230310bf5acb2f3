"""Sources: the shapes of a CelebA root, folders and zips of photographs, their order and their digest."""

import dataclasses
import multiprocessing
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from celebahq_tools import celeba
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.manifest import load_celeba_facts
from celebahq_tools.names import printable
from celebahq_tools.sources import Source, open_sample, open_source

MakeCelebA = Callable[..., Path]
PICTURE = b"\xff\xd8\xff not decoded here"


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(path)
    message = str(caught.value)
    assert message.isprintable()
    return message


def zip_folder(folder: Path, target: Path, prefix: str = "", below: str = "") -> Path:
    """Pack the files below folder/below, named from there, behind `prefix`."""
    base = folder / below
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(path for path in base.rglob("*") if path.is_file()):
            archive.write(file, prefix + file.relative_to(base).as_posix())
    return target


def add_optional(root: Path, count: int) -> None:
    names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    rows = "".join(f"{name} {'1 -1' if number % 2 else '-1 1'}\n" for number, name in enumerate(names))
    (root / "Anno" / "list_attr_celeba.txt").write_text(f"{count}\nBald Young\n{rows}")
    identities = "".join(f"{name} {10 + number}\n" for number, name in enumerate(names))
    (root / "Anno" / "identity_CelebA.txt").write_text(identities)
    (root / "Eval").mkdir()
    partition = "".join(f"{name} {number % 3}\n" for number, name in enumerate(names))
    (root / "Eval" / "list_eval_partition.txt").write_text(partition)


def test_sample_has_everything() -> None:
    with open_sample() as source:
        assert source.kind == "celeba"
        assert source.notes == []
        assert len(source.files) == 12
        assert len(source.attribute_names) == 40
        record = source.record("000003.jpg")
        assert record is not None
        assert record.identity == 3
        assert record.partition == 0
        assert record.attributes is not None
        assert len(record.attributes) == 40
        assert record.attributes[source.attribute_names.index("Gray_Hair")] == 1


def test_records_of_a_celeba_root(make_celeba: MakeCelebA) -> None:
    root = make_celeba(3)
    add_optional(root, 3)
    source = open_source(str(root))
    assert source.kind == "celeba"
    assert source.files == ("000001.jpg", "000002.jpg", "000003.jpg")
    assert source.attribute_names == ("Bald", "Young")
    assert source.notes == []
    record = source.record("000002.jpg")
    assert record is not None
    assert record.key == record.file == "000002.jpg"
    assert record.landmarks is not None
    assert record.landmarks.shape == (5, 2)
    assert record.landmarks.dtype == np.float64
    line = (root / "Anno" / "list_landmarks_celeba.txt").read_text().splitlines()[3]
    assert record.landmarks.ravel().tolist() == [float(word) for word in line.split()[1:]]
    assert (record.identity, record.partition, record.attributes) == (11, 1, (1, -1))
    assert source.record("000009.jpg") is None
    assert source.read("000002.jpg") == (root / "img_celeba" / "000002.jpg").read_bytes()


def test_optional_annotations_are_noted_when_absent(make_celeba: MakeCelebA) -> None:
    source = open_source(make_celeba(2))
    assert [note.split(":")[0] for note in source.notes] == [
        "without list_attr_celeba.txt",
        "without identity_CelebA.txt",
        "without list_eval_partition.txt",
    ]
    record = source.record("000001.jpg")
    assert record is not None
    assert (record.identity, record.partition, record.attributes) == (None, None, None)


def shape_folder(root: Path) -> Path:
    return root


def shape_img_folder(root: Path) -> Path:
    (root / "Img").mkdir()
    (root / "img_celeba").rename(root / "Img" / "img_celeba")
    return root


def shape_pictures_themselves(root: Path) -> Path:
    return root / "img_celeba"


def shape_pictures_themselves_in_img(root: Path) -> Path:
    return shape_img_folder(root) / "Img" / "img_celeba"


def shape_img_itself(root: Path) -> Path:
    return shape_img_folder(root) / "Img"


def shape_one_down(root: Path) -> Path:
    outer = root.parent / "download"
    outer.mkdir()
    root.rename(outer / "CelebA")
    return outer


def shape_doubled_folder(root: Path) -> Path:
    (root / "img_celeba").rename(root / "inner")
    (root / "img_celeba").mkdir()
    (root / "inner").rename(root / "img_celeba" / "img_celeba")
    return root


def shape_loose_annotations(root: Path) -> Path:
    for folder in ("Anno", "Eval"):
        for file in (root / folder).iterdir():
            file.rename(root / file.name)
        (root / folder).rmdir()
    return root


def shape_zip_of_pictures(root: Path) -> Path:
    zip_folder(root, root / "img_celeba.zip", below="img_celeba")
    shutil.rmtree(root / "img_celeba")
    return root


def shape_zip_with_folder(root: Path) -> Path:
    zip_folder(root, root / "img_celeba.zip", "img_celeba/", below="img_celeba")
    shutil.rmtree(root / "img_celeba")
    return root


def shape_zip_in_img(root: Path) -> Path:
    shape_zip_with_folder(root)
    (root / "Img").mkdir()
    (root / "img_celeba.zip").rename(root / "Img" / "img_celeba.zip")
    return root


def shape_the_zip_itself(root: Path) -> Path:
    return shape_zip_of_pictures(root) / "img_celeba.zip"


def shape_zip_of_root(root: Path) -> Path:
    return zip_folder(root, root.parent / "all.zip")


def shape_zip_of_root_one_down(root: Path) -> Path:
    return zip_folder(shape_img_folder(root), root.parent / "all.zip", "CelebA/")


SHAPES = [value for name, value in sorted(globals().items()) if name.startswith("shape_")]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_shapes_of_a_celeba_root(make_celeba: MakeCelebA, shape: Callable[[Path], Path]) -> None:
    root = make_celeba(3)
    add_optional(root, 3)
    expected = open_source(root)
    pictures = {file: expected.read(file) for file in expected.files}
    records = [repr(expected.record(file)) for file in expected.files]
    source = open_source(shape(root))
    assert source.kind == "celeba"
    assert source.files == expected.files
    assert source.notes == []
    assert source.manifest_sha256 == expected.manifest_sha256
    assert {file: source.read(file) for file in source.files} == pictures
    assert [repr(source.record(file)) for file in source.files] == records


@pytest.mark.parametrize("name", ["img_celeba.7z", "img_celeba.7z.001", "Img/img_celeba.7z/img_celeba.7z.001"])
def test_seven_zip_in_a_root_is_to_be_unpacked(make_celeba: MakeCelebA, name: str) -> None:
    root = make_celeba(1)
    shutil.rmtree(root / "img_celeba")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"7z\xbc\xaf\x27\x1c")
    message = refused(root)
    assert f"7z x {root / name}" in message
    assert "unpack" in message


def test_seven_zip_beside_the_unpacked_pictures_is_ignored(make_celeba: MakeCelebA) -> None:
    root = make_celeba(2)
    (root / "img_celeba.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    assert len(open_source(root).files) == 2


def test_aligned_pictures_are_not_enough(make_celeba: MakeCelebA) -> None:
    root = make_celeba(2)
    (root / "img_celeba").rename(root / "img_align_celeba")
    for path in (root, root / "img_align_celeba"):
        message = refused(path)
        assert "aligned" in message
        assert "in-the-wild" in message


def test_aligned_landmarks_are_not_enough(make_celeba: MakeCelebA) -> None:
    root = make_celeba(2)
    anno = root / "Anno"
    (anno / "list_landmarks_celeba.txt").rename(anno / "list_landmarks_align_celeba.txt")
    message = refused(root)
    assert "list_landmarks_align_celeba.txt" in message
    assert str(anno / "list_landmarks_celeba.txt") in message


def test_annotations_without_pictures(make_celeba: MakeCelebA) -> None:
    root = make_celeba(1)
    shutil.rmtree(root / "img_celeba")
    message = refused(root)
    assert f"{root / 'img_celeba'}: not found" in message


def test_annotations_unlike_the_published_ones_are_noted(
    make_celeba: MakeCelebA, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_celeba(2)
    assert not any("published" in note for note in open_source(root).notes)
    facts = dataclasses.replace(load_celeba_facts(), pictures=2)
    monkeypatch.setattr(celeba, "load_celeba_facts", lambda: facts)
    assert "list_landmarks_celeba.txt is not the published file (its sha1 differs)" in open_source(root).notes


def test_part_of_celeba_is_noted(make_celeba: MakeCelebA) -> None:
    root = make_celeba(3)
    (root / "img_celeba" / "000002.jpg").unlink()
    source = open_source(root)
    assert source.files == ("000001.jpg", "000003.jpg")
    assert "2 of 3 annotated pictures are there" in source.notes


def test_pictures_without_annotation_are_rejected_one_by_one(make_celeba: MakeCelebA) -> None:
    root = make_celeba(2)
    (root / "img_celeba" / "extra.jpg").write_bytes(PICTURE)
    source = open_source(root)
    assert "1 pictures have no landmarks and will be rejected" in source.notes
    assert source.record("extra.jpg") is None
    with pytest.raises(PictureError, match=r"^extra\.jpg: no row in .*list_landmarks_celeba\.txt$") as caught:
        source.require_record("extra.jpg")
    assert caught.value.reason == "no-landmarks"
    assert source.require_record("000001.jpg").key == "000001.jpg"


def test_optional_annotations_must_cover_every_picture(make_celeba: MakeCelebA) -> None:
    root = make_celeba(2)
    (root / "Anno" / "identity_CelebA.txt").write_text("000001.jpg 1\n")
    message = refused(root)
    assert "identity_CelebA.txt" in message
    assert "000002.jpg" in message


def test_photos_below_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "deep/er/c.webp", ".hidden.jpg", ".cache/x.jpg", "__MACOSX/._b.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PICTURE)
    source = open_source(tmp_path)
    assert source.kind == "photos"
    assert source.files == ("a.png", "b.JPG", "deep/er/c.webp")
    assert source.notes == ["1 files are no pictures by their names (1 .txt)"]
    assert source.record("a.png") is None
    assert source.read("deep/er/c.webp") == PICTURE


def test_folder_and_zip_of_it_are_the_same_source(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "B.jpg", "z/c.jpg", "z.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PICTURE + name.encode())
    packed = open_source(zip_folder(folder, tmp_path / "photos.zip"))
    loose = open_source(folder)
    assert packed.files == loose.files == ("B.jpg", "a.png", "z.jpg", "z/c.jpg")
    assert packed.manifest_sha256 == loose.manifest_sha256
    assert [packed.read(file) for file in packed.files] == [loose.read(file) for file in loose.files]


def test_digest_depends_on_names_sizes_and_annotations(make_celeba: MakeCelebA) -> None:
    root = make_celeba(2)
    first = open_source(root).manifest_sha256
    assert open_source(root).manifest_sha256 == first
    landmarks = root / "Anno" / "list_landmarks_celeba.txt"
    landmarks.write_bytes(landmarks.read_bytes() + b"\n")
    second = open_source(root).manifest_sha256
    (root / "img_celeba" / "000001.jpg").write_bytes(PICTURE)
    third = open_source(root).manifest_sha256
    (root / "img_celeba" / "000001.jpg").rename(root / "img_celeba" / "000007.jpg")
    fourth = open_source(root).manifest_sha256
    assert len({first, second, third, fourth}) == 4


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "real").mkdir(parents=True)
    (photos / "real" / "a.jpg").write_bytes(PICTURE)
    (photos / "real" / "back").symlink_to(photos)
    (photos / "broken.jpg").symlink_to(photos / "nothing.jpg")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.jpg").write_bytes(PICTURE)
    (photos / "more").symlink_to(elsewhere)
    assert open_source(photos).files == ("more/b.jpg", "real/a.jpg")


def test_pipes_are_no_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    assert open_source(tmp_path).files == ("a.jpg",)


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system refuses such names")
def test_names_that_are_no_utf8(make_celeba: MakeCelebA) -> None:
    root = make_celeba(1)
    name = os.fsdecode(b"caf\xe9.jpg")
    (root / "img_celeba" / name).write_bytes(PICTURE)
    landmarks = root / "Anno" / "list_landmarks_celeba.txt"
    lines = landmarks.read_bytes().splitlines()
    extra = lines[2].replace(b"000001.jpg", b"caf\xe9.jpg")
    landmarks.write_bytes(b"\n".join([b"2", *lines[1:], extra]) + b"\n")
    source = open_source(root)
    assert source.files == ("000001.jpg", name)
    assert source.read(name) == PICTURE
    record = source.require_record(name)
    assert record.file == name
    assert record.key == "caf\\xe9.jpg"


def test_printable_names_stay_apart() -> None:
    names = ["a.jpg", "caf\udce9.jpg", "caf\\xe9.jpg", "new\nline.jpg", "new\\nline.jpg", "世界.jpg", "\x1b[31m.jpg"]
    shown = [printable(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(text.isprintable() for text in shown)
    assert shown[0] == "a.jpg"
    assert shown[5] == "世界.jpg"


def read_in_child(source_reader: object, file: str, queue: "multiprocessing.Queue[bytes]") -> None:
    queue.put(source_reader.read(file))  # type: ignore[attr-defined]


@pytest.mark.parametrize("packed", [False, True])
def test_readers_travel_to_other_processes(tmp_path: Path, packed: bool) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.jpg").write_bytes(PICTURE + bytes([number]) * 1000)
    source = open_source(zip_folder(folder, tmp_path / "photos.zip") if packed else folder)
    # An open handle must neither be sent along nor shared.
    first = {file: source.read(file) for file in source.files}
    copy = pickle.loads(pickle.dumps(source.reader))  # noqa: S301
    assert len(pickle.dumps(source.reader)) < 1000
    assert copy.read("7.jpg") == first["7.jpg"]
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[bytes] = context.Queue()
    children = [
        context.Process(target=read_in_child, args=(source.reader, f"{number}.jpg", queue)) for number in range(4)
    ]
    for child in children:
        child.start()
    found = {queue.get(timeout=30) for _ in children}
    for child in children:
        child.join()
    assert found == {first[f"{number}.jpg"] for number in range(4)}
    assert source.read("9.jpg") == first["9.jpg"]


def test_files_that_vanish_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    (tmp_path / "b.jpg").write_bytes(PICTURE)
    source = open_source(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "b.jpg").mkdir()
    for file, reason in (("a.jpg", "missing"), ("b.jpg", "unreadable")):
        with pytest.raises(PictureError, match=f"^{file}: ") as caught:
            source.read(file)
        assert caught.value.reason == reason


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    source: Source = open_source(tmp_path)
    with pytest.raises(PictureError) as caught:
        source.read("huge.jpg")
    assert caught.value.reason == "too-large"


@pytest.mark.shared
def test_shared_celeba_root(shared: Path) -> None:
    source = open_source(shared / "golden" / "celebahq" / "celeba")
    assert len(source.files) == 12
    record = source.require_record("000001.jpg")
    assert record.landmarks is not None
    assert record.landmarks[0].tolist() == [203, 109]


@pytest.mark.shared
def test_a_zip_of_fifty_thousand_pictures(shared: Path) -> None:
    source = open_source(shared / "data" / "cifar10-train.zip")
    assert len(source.files) == 50_000
    assert source.files[0] == "airplane/0000.jpg"
    assert source.read(source.files[-1]).startswith(b"\xff\xd8")
