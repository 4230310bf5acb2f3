"""JPEG files decoded as IJG's libjpeg 8d does it.

From version 7 on the IJG library enlarges chroma inside the inverse DCT (16x16, 16x8 and 8x16 blocks);
libjpeg-turbo, and with it Pillow, OpenCV and most browsers, smooths it afterwards, which changes 17 to 19 % of
the samples of a 4:2:0 file. The package `jpeglib` carries the IJG sources and lets one choose the version.
"""

import re
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import MissingDependencyError, PictureError
from celebahq_tools.names import printable

LIBJPEG_VERSION = "8d"
"""7, 8, 8a to 8d and 9 give the same pixels; 9a and later do not."""

CHANNELS = 3
MAX_PIXELS = 1 << 27
"""Largest picture accepted; the largest of CelebA has 60 million pixels."""

_SOI, _EOI, _SOS = b"\xff\xd8", 0xD9, 0xDA
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_KEPT_APP = frozenset({0xE0, 0xEE})
"""JFIF and Adobe: they say how the colours are coded."""
_COM = 0xFE
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""The end of a scan's data, in which 0xFF 0x00 and the restart markers may appear."""

_version_lock = threading.Lock()
"""jpeglib keeps one chosen version per process."""


def decode_jpeg8d(data: bytes, *, name: str) -> NDArray[np.uint8]:
    """Decode a whole JPEG file to (H, W, 3) uint8 RGB, not turned by EXIF (the official recipe does not).

    Raises PictureError('not-jpeg', 'truncated', 'not-rgb', 'too-large' or 'undecodable'), and
    MissingDependencyError without the package `jpeglib`.
    """
    lean = strip_metadata(data, name=name)
    jpeglib = _import_jpeglib()
    with tempfile.TemporaryDirectory(prefix="celebahq-") as folder:
        path = Path(folder, "picture.jpg")
        path.write_bytes(lean)
        with _chosen_version(jpeglib):
            try:
                picture = jpeglib.read_spatial(str(path), out_color_space=jpeglib.Colorspace.JCS_RGB)
                pixels: NDArray[np.uint8] = picture.load()
            except OSError as error:
                raise PictureError("undecodable", f"{printable(name)}: libjpeg cannot decode it: {error}") from None
    return np.ascontiguousarray(pixels)


def strip_metadata(data: bytes, *, name: str) -> bytes:
    """Check that the file is a whole JPEG of three colours and drop the segments that do not touch its pixels.

    libjpeg decodes a file that is cut short without a word, and jpeglib refuses 50 or more APP and COM
    segments; APP0 (JFIF) and APP14 (Adobe) are kept.

    Raises PictureError('not-jpeg', 'truncated', 'not-rgb' or 'too-large').
    """
    shown = printable(name)
    if not data.startswith(_SOI):
        raise PictureError("not-jpeg", f"{shown}: expected a JPEG file, found {data[:8]!r}; get the file again")
    kept = [_SOI]
    frames = 0
    at = len(_SOI)
    while True:
        marker, start, end = _next_segment(data, at, shown)
        if marker == _EOI:
            break
        if marker in _FRAME_MARKERS:
            _check_frame(data[start:end], shown)
            frames += 1
        if marker == _SOS:
            found = _NEXT_MARKER.search(data, end)
            if found is None:
                raise _truncated(data, shown)
            end = found.start()
        if marker != _COM and (not 0xE0 <= marker <= 0xEF or marker in _KEPT_APP):
            kept.append(data[at:end])
        at = end
    if frames == 0:
        raise PictureError("not-jpeg", f"{shown}: the file holds no picture; get the file again")
    return b"".join([*kept, data[at:]])


def _next_segment(data: bytes, at: int, shown: str) -> tuple[int, int, int]:
    """Marker, start of its contents and end of the segment that begins at `at`."""
    start = at
    while data[start : start + 1] == b"\xff":
        start += 1
    if start >= len(data):
        raise _truncated(data, shown)
    if start == at:
        raise PictureError(
            "undecodable", f"{shown}: expected a JPEG marker at byte {at}, found 0x{data[at]:02x}; get the file again"
        )
    marker = data[start]
    start += 1
    if marker == _EOI or marker == 0x01 or 0xD0 <= marker <= 0xD8:
        return marker, start, start
    if start + 2 > len(data):
        raise _truncated(data, shown)
    (length,) = struct.unpack_from(">H", data, start)
    if length < 2 or start + length > len(data):
        raise _truncated(data, shown)
    return marker, start + 2, start + length


def _truncated(data: bytes, shown: str) -> PictureError:
    return PictureError(
        "truncated", f"{shown}: the JPEG file ends at byte {len(data):,}, before its end marker; get the file again"
    )


def _check_frame(header: bytes, shown: str) -> None:
    if len(header) < 6:
        raise PictureError("undecodable", f"{shown}: the frame header is cut short; get the file again")
    _, height, width, components = struct.unpack_from(">BHHB", header)
    if components != CHANNELS:
        raise PictureError("not-rgb", f"{shown}: expected {CHANNELS} colour components, found {components}")
    if height * width > MAX_PIXELS or not height * width:
        raise PictureError("too-large", f"{shown}: {width}x{height} pixels, expected 1 to {MAX_PIXELS:,}")


def _import_jpeglib() -> ModuleType:
    try:
        import jpeglib
    except ImportError as error:
        raise MissingDependencyError(
            f"the official recipe decodes JPEG with the package jpeglib ({error}):"
            " pip install 'celebahq-tools[official]' (no wheels for Linux on ARM and for musl)"
        ) from None
    module: ModuleType = jpeglib
    return module


@contextmanager
def _chosen_version(jpeglib: ModuleType) -> Iterator[None]:
    """Have jpeglib use libjpeg 8d within the block, one thread at a time."""
    with _version_lock:
        before = jpeglib.version.get()
        try:
            jpeglib.version.set(LIBJPEG_VERSION)
        except RuntimeError as error:
            raise MissingDependencyError(
                f"this jpeglib lacks libjpeg {LIBJPEG_VERSION} ({error}): pip install --upgrade jpeglib"
            ) from None
        try:
            yield
        finally:
            # None before the first use, which jpeglib does not accept back.
            if before not in (None, LIBJPEG_VERSION):
                jpeglib.version.set(before)
