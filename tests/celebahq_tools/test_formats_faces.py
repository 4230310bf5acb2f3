"""Damaged and hostile FFHQ folders and aligned CelebA: one clear line each, never a crash, nothing outside is read."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import CelebAHQError, PictureError, SourceError
from celebahq_tools.formats.collection import Collection
from celebahq_tools.formats.faces import open_celeba_aligned, open_ffhq
from celebahq_tools.formats.job import collection_job
from celebahq_tools.pipeline.build import build_pyramid

COUNT, SIDE = 4, 32
ATTRIBUTES, IDENTITIES, PARTITION = "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"


def encoded(size: tuple[int, int], seed: int, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def png_bomb(side: int = 30_000) -> bytes:
    """A valid header of 900 million pixels in a file of some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


@pytest.fixture
def ffhq(tmp_path: Path) -> Path:
    for k in range(COUNT):
        folder = tmp_path / "images1024x1024" / f"{k // 2 * 1000:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k:05d}.png").write_bytes(encoded((SIDE, SIDE), k))
    return tmp_path / "images1024x1024"


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    root = tmp_path / "CelebA"
    pictures = root / "Img" / "img_align_celeba"
    pictures.mkdir(parents=True)
    (root / "Anno").mkdir()
    names = [f"{k:06d}.jpg" for k in range(1, COUNT + 1)]
    for k, name in enumerate(names):
        (pictures / name).write_bytes(encoded((178, 218), k, "JPEG"))
    rows = "".join(f"{name} 1 -1\n" for name in names)
    (root / "Anno" / ATTRIBUTES).write_text(f"{COUNT}\nMale Young\n{rows}")
    (root / "Anno" / IDENTITIES).write_text("".join(f"{name} {k + 1}\n" for k, name in enumerate(names)))
    (root / "Anno" / PARTITION).write_text("".join(f"{name} {k % 3}\n" for k, name in enumerate(names)))
    return root


def celeba_zip(root: Path) -> Path:
    path = root / "Img" / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for item in sorted((root / "Img" / "img_align_celeba").iterdir()):
            archive.write(item, f"img_align_celeba/{item.name}")
            item.unlink()
    (root / "Img" / "img_align_celeba").rmdir()
    return path


def read_all(opened: Callable[[], Collection]) -> str | None:
    """The message of the error, None if all is read."""
    try:
        for _ in opened().images():
            pass
    except CelebAHQError as error:
        return str(error)
    return None


def damaged(good: bytes, rng: np.random.Generator, trial: int) -> bytes:
    """Cut short, some bytes changed, lines lost or repeated, or rubbish."""
    data = bytearray(good)
    at = int(rng.integers(0, len(good)))
    if trial % 5 == 0:
        return bytes(data[:at])
    if trial % 5 == 1:
        data[at : at + 8] = rng.bytes(8)
    elif trial % 5 == 2:
        data[at : at + 3] = b"\x00\n9"
    elif trial % 5 == 3:
        data[at:at] = data[: int(rng.integers(0, 60))]
    else:
        return rng.bytes(500)
    return bytes(data)


def check_corpus(path: Path, opened: Callable[[], Collection], trials: int, least: int) -> None:
    good, rng = path.read_bytes(), np.random.default_rng(7)
    messages = []
    for trial in range(trials):
        path.write_bytes(damaged(good, rng, trial))
        messages.append(read_all(opened))
    found = [message for message in messages if message is not None]
    assert len(found) >= least
    assert all(message.isprintable() for message in found)
    path.write_bytes(good)
    assert read_all(opened) is None


def test_damaged_ffhq_pictures(ffhq: Path) -> None:
    check_corpus(ffhq / "01000" / "00003.png", lambda: open_ffhq(ffhq), 40, 40)


def test_damaged_aligned_pictures(celeba: Path) -> None:
    check_corpus(celeba / "Img" / "img_align_celeba" / "000002.jpg", lambda: open_celeba_aligned(celeba), 40, 16)


@pytest.mark.parametrize("name", [ATTRIBUTES, IDENTITIES, PARTITION])
def test_damaged_annotations(name: str, celeba: Path) -> None:
    check_corpus(celeba / "Anno" / name, lambda: open_celeba_aligned(celeba), 100, 50)


def test_damaged_zips(celeba: Path) -> None:
    check_corpus(celeba_zip(celeba), lambda: open_celeba_aligned(celeba), 60, 24)


@pytest.mark.parametrize("open_it", [open_ffhq, open_celeba_aligned])
@pytest.mark.parametrize("name", ["../outside.png", "/etc/outside.png", "a/../../outside.png", "C:/outside.png"])
def test_zips_that_escape(open_it: Callable[[Path], Collection], name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("good.png", encoded((178, 218), 0))
        archive.writestr(name, encoded((178, 218), 1))
    with pytest.raises(SourceError, match=r"absolute names and '\.\.' are not accepted"):
        open_it(tmp_path / "p.zip")


@pytest.mark.parametrize("open_it", [open_ffhq, open_celeba_aligned])
def test_zips_that_expand(open_it: Callable[[Path], Collection], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(40 << 20))
    with pytest.raises(SourceError, match="zip bomb"):
        open_it(tmp_path / "p.zip")


def test_bombs_and_other_content_are_rejected_picture_by_picture(ffhq: Path, tmp_path: Path) -> None:
    (ffhq / "00000" / "00001.png").write_bytes(png_bomb())
    (ffhq / "01000" / "00002.png").write_bytes(b"<!DOCTYPE html><html><title>Quota exceeded</title></html>")
    collection = open_ffhq(ffhq)
    for number, reason in ((1, "too-many-pixels"), (2, "html")):
        with pytest.raises(PictureError) as caught:
            collection.image(number)
        assert caught.value.reason == reason
    job = collection_job(collection, BuildConfig(recipe="images", res=SIDE))
    summary = build_pyramid(job, RunOptions(), tmp_path / "o.h5", lambda *_: None)
    assert (summary.num_images, len(summary.rejects)) == (COUNT - 2, 2)


@pytest.mark.parametrize("size", [(177, 218), (178, 217), (218, 178), (128, 128)])
def test_pictures_that_are_not_aligned_are_named(size: tuple[int, int], celeba: Path) -> None:
    (celeba / "Img" / "img_align_celeba" / "000003.jpg").write_bytes(encoded(size, 0, "JPEG"))
    with pytest.raises(PictureError, match=rf"000003\.jpg: expected 178x218 pixels, found {size[0]}x{size[1]}"):
        list(open_celeba_aligned(celeba).images())


def test_ffhq_of_other_shapes_is_refused(ffhq: Path) -> None:
    (ffhq / "00000" / "00000.png").write_bytes(encoded((SIDE, SIDE // 2), 0))
    with pytest.raises(SourceError, match="expected square pictures of one size; give images1024x1024"):
        open_ffhq(ffhq)


@pytest.mark.parametrize("open_it", [open_ffhq, open_celeba_aligned])
def test_nothing_there(open_it: Callable[[Path], Collection], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(SourceError) as caught:
            open_it(path)
        assert str(path) in str(caught.value)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(SourceError, match="expected a folder or a zip archive"):
        open_it(tmp_path / "text.zip")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (ATTRIBUTES, "", "expected a line with the number of pictures"),
        (ATTRIBUTES, "4\nMale Young\n", "expected at least one row, found none"),
        (ATTRIBUTES, "99999999999999999999\nMale Young\n000001.jpg 1 1\n", "pictures"),
        (ATTRIBUTES, "1\nMale Young\n000001.jpg 1 -1\n", "3 of 4 pictures"),
        (ATTRIBUTES, "1\nMale Young\n000001.jpg 1 7\n", "expected -1 or 1 for '000001.jpg', column Young"),
        (PARTITION, "000001.jpg 0\n000002.jpg 5\n", r"0 \(train\), 1 \(validation\) or 2 \(test\)"),
        (PARTITION, "000001.jpg 0 1\n", "line 1"),
        (PARTITION, "", PARTITION),
        (IDENTITIES, "000001.jpg x\n", "line 1"),
        (IDENTITIES, "", IDENTITIES),
    ],
)
def test_annotations_that_do_not_fit(name: str, text: str, words: str, celeba: Path) -> None:
    (celeba / "Anno" / name).write_text(text)
    with pytest.raises(SourceError, match=words) as caught:
        open_celeba_aligned(celeba)
    assert name in str(caught.value)
    assert str(caught.value).isprintable()
