"""JPEG files decoded as IJG's libjpeg 8d does it.

From version 7 on the IJG library enlarges chroma inside the inverse DCT (16x16, 16x8 and 8x16 blocks);
libjpeg-turbo, and with it Pillow, OpenCV and most browsers, smooths it afterwards, which changes 17 to 19 % of
the samples of a 4:2:0 file. The package `jpeglib` carries the IJG sources and lets one choose the version.
"""

import contextlib
import os
import struct
import tempfile
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import MissingDependencyError, PictureError
from celebahq_tools.names import printable

LIBJPEG_VERSION = "8d"
"""7, 8, 8a to 8d and 9 give the same pixels; 9a and later do not."""

CHANNELS = 3
MAX_PIXELS = 1 << 27
"""Largest picture accepted; the largest of CelebA has 60 million pixels."""

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
_STANDALONE = frozenset([0x01, *range(0xD0, 0xD8)])
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_version_lock = threading.Lock()
"""jpeglib keeps one chosen version per process."""


def decode_jpeg8d(data: bytes, *, name: str) -> NDArray[np.uint8]:
    """Decode a whole JPEG file to (H, W, 3) uint8 RGB, not turned by EXIF (the official recipe does not).

    Raises PictureError('not-jpeg', 'truncated', 'not-rgb', 'too-large' or 'undecodable'), and
    MissingDependencyError without the package `jpeglib`.
    """
    lean = strip_metadata(data, name=name)
    jpeglib = _jpeglib()
    with tempfile.TemporaryDirectory(prefix="celebahq-") as folder:
        path = os.path.join(folder, "picture.jpg")  # noqa: PTH118
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(lean)
        with _version_8d(jpeglib):
            try:
                picture = jpeglib.read_spatial(path, out_color_space=jpeglib.Colorspace("JCS_RGB"))
                pixels = np.asarray(picture.load())
            except OSError as error:
                raise PictureError("undecodable", f"{printable(name)}: no readable JPEG picture ({error})") from None
    return np.ascontiguousarray(pixels, dtype=np.uint8)
