"""JPEG decoding of the official recipe: the traps of the library, damaged files."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebahq_tools.errors import MissingDependencyError, PictureError
from celebahq_tools.legacy import jpeg8d
from celebahq_tools.legacy.jpeg8d import decode_jpeg8d, strip_metadata

jpeglib = pytest.importorskip("jpeglib", reason="decoding as libjpeg 8d needs jpeglib")

SAMPLE = Path(__file__).resolve().parents[2] / "celebahq_tools" / "sample" / "celeba" / "img_celeba"


def jpeg(mode: str = "RGB", size: tuple[int, int] = (37, 29), **options) -> bytes:
    rng = np.random.default_rng(0)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(out, "JPEG", **options)
    return out.getvalue()


def segments(data: bytes, count: int, marker: int = 0xE2) -> bytes:
    body = b"x" * 40
    return data[:2] + count * (bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body) + data[2:]


def reason(data: bytes) -> str:
    with pytest.raises(PictureError) as error:
        decode_jpeg8d(data, name="a.jpg")
    assert "\n" not in str(error.value)
    assert "a.jpg" in str(error.value)
    return error.value.reason


def test_equals_todays_decoder_without_chroma_subsampling():
    data = jpeg(quality=90, subsampling=0)
    assert np.array_equal(decode_jpeg8d(data, name="a.jpg"), np.asarray(Image.open(io.BytesIO(data))))


def test_differs_from_todays_decoder_with_chroma_subsampling():
    data = jpeg(quality=90, subsampling=2)
    today = np.asarray(Image.open(io.BytesIO(data)))
    assert (decode_jpeg8d(data, name="a.jpg") != today).mean() > 0.02


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 1}])
def test_hundreds_of_segments_change_nothing(options):
    data = jpeg(**options)
    plain = decode_jpeg8d(data, name="a.jpg")
    for marker in (0xE1, 0xE2, 0xED, 0xEF, 0xFE):
        assert np.array_equal(decode_jpeg8d(segments(data, 120, marker), name="a.jpg"), plain)


def test_jfif_and_adobe_segments_are_kept():
    data = jpeg()
    adobe = segments(data, 1, 0xEE)
    assert strip_metadata(adobe, name="a.jpg") == adobe
    assert strip_metadata(segments(data, 3, 0xE1), name="a.jpg") == data


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_cut_anywhere_is_refused(progressive):
    data = jpeg(progressive=progressive)
    for end in [*range(2, len(data), 37), len(data) - 1]:
        assert reason(data[:end]) == "truncated"


def test_bytes_after_the_end_do_no_harm():
    data = jpeg()
    assert np.array_equal(decode_jpeg8d(data + b"trailing", name="a.jpg"), decode_jpeg8d(data, name="a.jpg"))


def test_what_is_no_colour_jpeg_is_refused():
    assert reason(b"") == "not-jpeg"
    assert reason(b"<!DOCTYPE html>") == "not-jpeg"
    assert reason(b"\xff\xd8\xff\xd9") == "not-jpeg"
    assert reason(b"\xff\xd8garbage") == "undecodable"
    assert reason(jpeg("L")) == "not-rgb"
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    assert reason(bytes(data)) == "too-large"


def test_the_chosen_version_of_the_library_is_given_back():
    data = jpeg()
    expected = decode_jpeg8d(data, name="a.jpg")
    jpeglib.version.set("6b")
    try:
        assert np.array_equal(decode_jpeg8d(data, name="a.jpg"), expected)
        assert jpeglib.version.get() == "6b"
    finally:
        jpeglib.version.set("8d")


def test_without_jpeglib_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jpeglib", None)
    with pytest.raises(MissingDependencyError, match=r"celebahq-tools\[official\]"):
        decode_jpeg8d(jpeg(), name="a.jpg")


def test_the_sample_decodes():
    for path in sorted(SAMPLE.glob("*.jpg"))[:4]:
        pixels = decode_jpeg8d(path.read_bytes(), name=path.name)
        with Image.open(path) as image:
            assert pixels.shape == (image.height, image.width, 3)
        assert pixels.flags.c_contiguous
    assert jpeg8d.LIBJPEG_VERSION == "8d"
