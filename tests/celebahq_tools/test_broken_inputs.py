"""A corpus of broken inputs, made on the spot: each gives one clear line and a stable reason."""

import io
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from celebahq_tools import archives
from celebahq_tools.decode import decode_picture, probe_picture
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.sources import open_source

BOMB_SIDE = 30_000


def jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    rng = np.random.default_rng(3)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def png(size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (9, 99, 199)).save(file, "PNG")
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb() -> bytes:
    """A valid header of 900 million pixels, 2.7 GB once decoded, in a file of some kilobytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(1 << 22), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_bomb() -> bytes:
    data = jpeg()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", BOMB_SIDE, BOMB_SIDE) + data[at + 4 :]


def gif_bomb() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "GIF")
    data = bytearray(file.getvalue())
    data[6:10] = struct.pack("<HH", BOMB_SIDE, BOMB_SIDE)
    return bytes(data)


HTML = b"""<!DOCTYPE html>
<html><head><title>Quota exceeded</title></head><body>Too many users have viewed this file.</body></html>
"""

BROKEN_PICTURES: dict[str, tuple[bytes, str, tuple[str, ...]]] = {
    "truncated.jpg": (jpeg()[:700], "truncated", ("ends before the picture does", "get it again")),
    "reserved.jpg": (jpeg()[:700] + bytes(4000), "truncated", ("zeros",)),
    "truncated.png": (png()[:60], "truncated", ("ends before the picture does",)),
    "header-only.jpg": (jpeg()[:100], "truncated", ("ends before the picture does",)),
    "soi-only.jpg": (b"\xff\xd8\xff\xe0", "corrupt", ("header makes no sense",)),
    "bad-checksum.png": (png()[:20] + b"\x99" + png()[21:], "corrupt", ("damaged",)),
    "page.jpg": (HTML, "html", ("HTML page", "failed download")),
    "page-with-bom.jpg": (b"\xef\xbb\xbf\n  <html><body>", "html", ("HTML page",)),
    "empty.jpg": (b"", "empty", ("zero bytes",)),
    "dot.png": (png((1, 1)), "too-small", ("1x1", "at least")),
    "line.png": (png((500, 2)), "too-small", ("500x2",)),
    "bomb.png": (png_bomb(), "too-many-pixels", ("30000x30000", "900,000,000")),
    "bomb.jpg": (jpeg_bomb(), "too-many-pixels", ("30000x30000", "900,000,000")),
    "bomb.gif": (gif_bomb(), "too-many-pixels", ("30000x30000",)),
    "text.jpg": (b"This is not a picture.", "not-a-picture", ("no picture format", "54 68 69 73")),
    "zeros.jpg": (bytes(1000), "not-a-picture", ("00 00 00",)),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported-format", ("HEIC", "convert")),
    "photo.avif": (b"\0\0\0\x1cftypavif\0\0\0\0", "unsupported-format", ("AVIF", "convert")),
    "film.jpg": (b"\0\0\0\x18ftypisom\0\0\0\0", "unsupported-format", ("video",)),
    "archive.jpg": (b"7z\xbc\xaf\x27\x1c\0\4", "unsupported-format", ("7z",)),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported-format", ("SVG",)),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid", "unsupported-format", ("LFS",)),
    "paper.jpg": (b"%PDF-1.7\n", "unsupported-format", ("PDF",)),
}


@pytest.mark.parametrize("name", BROKEN_PICTURES)
def test_broken_pictures_are_rejected_by_name(tmp_path: Path, name: str) -> None:
    data, reason, words = BROKEN_PICTURES[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.jpg").write_bytes(jpeg())
    source = open_source(tmp_path)
    if name not in source.files:
        # Endings that are no pictures' are passed over; their content is still told from the bytes.
        assert Path(name).suffix in source.notes[0]
        read = data
    else:
        read = source.read(name)
    with pytest.raises(PictureError) as caught:
        decode_picture(read, name=name)
    message = str(caught.value)
    assert caught.value.reason == reason
    assert message.isprintable()
    assert message.startswith(f"{name}: ")
    for word in words:
        assert word in message


def test_messages_differ_from_reason_to_reason() -> None:
    messages = set()
    for data, _, _ in BROKEN_PICTURES.values():
        with pytest.raises(PictureError) as caught:
            decode_picture(data, name="x")
        messages.add(str(caught.value))
    # Two bombs of one size, and files cut at different places, may share theirs.
    assert len(messages) >= len(BROKEN_PICTURES) - 5


@pytest.mark.parametrize("name", ["bomb.png", "bomb.jpg", "bomb.gif"])
def test_bombs_are_refused_before_anything_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(image: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", explode)
    for look in (decode_picture, probe_picture):
        with pytest.raises(PictureError, match="30000x30000"):
            look(BROKEN_PICTURES[name][0], name=name)
    with pytest.raises(AssertionError, match="decoded"):
        decode_picture(jpeg(), name="the trap works")


def test_png_called_jpg_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "really.jpg").write_bytes(png())
    pixels = decode_picture(open_source(tmp_path).read("really.jpg"), name="really.jpg")
    assert pixels[0, 0].tolist() == [9, 99, 199]


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(path)
    message = str(caught.value)
    assert message.isprintable()
    return message


def test_missing_landmarks(make_celeba: Callable[..., Path]) -> None:
    root = make_celeba(2)
    (root / "Anno" / "list_landmarks_celeba.txt").unlink()
    message = refused(root)
    assert f"{root / 'Anno' / 'list_landmarks_celeba.txt'}: not found" in message
    assert "Anno folder" in message


def test_wrong_count_in_the_header(make_celeba: Callable[..., Path]) -> None:
    root = make_celeba(3)
    path = root / "Anno" / "list_landmarks_celeba.txt"
    path.write_text(path.read_text().replace("3\n", "202599\n", 1))
    message = refused(root)
    for words in (str(path), "line 1", "202,599 pictures", "3 rows"):
        assert words in message


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system refuses such names")
def test_names_that_are_no_utf8_appear_escaped(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"dossier\xe9")
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9\n.jpg")
    (folder / name).write_bytes(b"")
    source = open_source(folder)
    assert source.files == (name,)
    with pytest.raises(PictureError) as caught:
        decode_picture(source.read(name), name=name)
    assert str(caught.value).startswith("caf\\xe9\\n.jpg: the file has zero bytes")
    (folder / name).unlink()
    assert "dossier\\xe9: expected pictures" in refused(folder)


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def patch_members(path: Path, change: Callable[[zipfile.ZipInfo], None]) -> Path:
    """Rewrite the directory of a zip with changed entries, as another program might have written it."""
    with zipfile.ZipFile(path, "a") as archive:
        for info in archive.infolist():
            change(info)
        archive._didModify = True  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize(
    "name",
    ["../outside.jpg", "a/../../outside.jpg", "/etc/outside.jpg", "C:/outside.jpg", "..\\outside.jpg", "\\outside.jpg"],
)
def test_zip_slip(tmp_path: Path, name: str) -> None:
    message = refused(write_zip(tmp_path / "photos.zip", {"good.jpg": jpeg(), name: jpeg()}))
    assert "absolute names and '..'" in message
    assert "outside.jpg" in message


def test_harmless_dots_in_a_zip(tmp_path: Path) -> None:
    source = open_source(write_zip(tmp_path / "photos.zip", {"a..b.jpg": jpeg(), "..c/d.jpg": jpeg()}))
    assert source.files == ("a..b.jpg",)


def test_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a.jpg": jpeg()})

    def encrypt(info: zipfile.ZipInfo) -> None:
        info.flag_bits |= archives.ENCRYPTED_FLAG

    message = refused(patch_members(path, encrypt))
    assert "a.jpg" in message
    assert "encrypted" in message
    assert "password" in message


def test_zip_bomb(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a.jpg": bytes(40 << 20)})
    assert path.stat().st_size < 100_000
    message = refused(path)
    assert "zip bomb" in message
    assert "a.jpg" in message


def test_zip_member_that_declares_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    assert "zip bomb" in refused(write_zip(tmp_path / "photos.zip", {"a.jpg": jpeg((200, 200))}))


def test_zip_that_declares_too_much_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 3 * len(jpeg()) - 1)
    members = {f"{number}.jpg": jpeg() for number in range(3)}
    assert "zip bomb" in refused(write_zip(tmp_path / "photos.zip", members))


def test_zip_member_larger_than_it_declares(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a.jpg": bytes(1 << 20)})

    def understate(info: zipfile.ZipInfo) -> None:
        info.file_size = 100

    source = open_source(patch_members(path, understate))
    with pytest.raises(PictureError, match=r"^a\.jpg: damaged in .*photos\.zip") as caught:
        source.read("a.jpg")
    assert caught.value.reason == "unreadable"


def test_zip_with_a_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", jpeg())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.jpg", jpeg())
    assert "a.jpg occurs twice" in refused(path)


def test_zip_with_a_link_in_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"good.jpg": jpeg(), "link.jpg": b"/etc/passwd"})

    def link(info: zipfile.ZipInfo) -> None:
        if info.filename == "link.jpg":
            info.external_attr = 0o120777 << 16

    assert open_source(patch_members(path, link)).files == ("good.jpg",)


def test_zip_packed_by_an_unknown_method(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a.jpg": jpeg()})

    def deflate64(info: zipfile.ZipInfo) -> None:
        info.compress_type = 9

    assert "compression method 9" in refused(patch_members(path, deflate64))


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.99])
def test_zip_cut_short(tmp_path: Path, cut: float) -> None:
    path = write_zip(tmp_path / "photos.zip", {f"{number}.jpg": jpeg() for number in range(5)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    message = refused(path)
    assert "directory is damaged or cut off" in message
    assert str(path) in message


def test_zip_with_a_damaged_directory(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {f"{number}.jpg": jpeg() for number in range(5)})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02", b"XX\x01\x02"))
    assert "directory is damaged" in refused(path)


def test_zip_with_a_damaged_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a.jpg": jpeg(), "b.jpg": jpeg()})
    data = bytearray(path.read_bytes())
    data[100:110] = bytes(10)
    path.write_bytes(data)
    source = open_source(path)
    with pytest.raises(PictureError, match=r"^a\.jpg: damaged in ") as caught:
        source.read("a.jpg")
    assert caught.value.reason == "unreadable"
    assert source.read("b.jpg") == jpeg()


def test_html_called_zip(tmp_path: Path) -> None:
    path = tmp_path / "celeba.zip"
    path.write_bytes(HTML)
    message = refused(path)
    assert "zip archive, found an HTML page" in message


def test_picture_given_as_the_source(tmp_path: Path) -> None:
    path = tmp_path / "portrait.jpg"
    path.write_bytes(jpeg())
    message = refused(path)
    assert "expected a folder or a zip archive, found a single picture (JPEG)" in message


def test_empty_file_given_as_the_source(tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(b"")
    assert "zero bytes" in refused(path)


def test_seven_zip(tmp_path: Path) -> None:
    path = tmp_path / "img_celeba.7z"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100))
    message = refused(path)
    assert f"7z x {path} -o{tmp_path}" in message
    assert "unpack it first" in message


def test_zip_in_a_zip(tmp_path: Path, make_celeba: Callable[..., Path]) -> None:
    root = make_celeba(1)
    members = {
        "img_celeba.zip": write_zip(tmp_path / "inner.zip", {"000001.jpg": jpeg()}).read_bytes(),
        "Anno/list_landmarks_celeba.txt": (root / "Anno" / "list_landmarks_celeba.txt").read_bytes(),
    }
    message = refused(write_zip(tmp_path / "outer.zip", members))
    assert "zip inside a zip" in message
    assert "unpack the outer one" in message


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    message = refused(tmp_path)
    for words in (str(tmp_path), "expected pictures", ".jpg", "1 .heic", "1 .txt"):
        assert words in message


def test_empty_folder_and_empty_zip(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "found nothing" in refused(tmp_path / "empty")
    assert "found nothing" in refused(write_zip(tmp_path / "empty.zip", {}))


def test_no_such_source(tmp_path: Path) -> None:
    assert "no such folder or zip file" in refused(tmp_path / "typo")


def test_celeba_root_without_pictures(make_celeba: Callable[..., Path]) -> None:
    root = make_celeba(1)
    (root / "img_celeba" / "000001.jpg").rename(root / "img_celeba" / "000001.txt")
    message = refused(root)
    assert str(root / "img_celeba") in message
    assert "expected CelebA's pictures" in message
