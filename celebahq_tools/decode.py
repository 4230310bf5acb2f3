"""Bytes of a picture file to an RGB array, or a `PictureError` that says in one line why not.

The content decides the format, never the file name. What Pillow can open beyond the formats listed here
(vector formats, scripts, archives of pictures) stays out on purpose.

Pictures become 8-bit RGB: 16-bit samples keep their high byte, CMYK and YCCK are converted without a
profile (JPEG: Adobe's inverted convention), transparency is laid over white, embedded ICC profiles are
ignored, and of several frames or pages the first is taken.
"""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from celebahq_tools.errors import PictureError
from celebahq_tools.names import one_line, printable
from celebahq_tools.png_chunks import damaged_chunk
from celebahq_tools.sniff import describe_content, sniff_format

MAX_PIXELS = 120_000_000
"""Largest accepted picture; CelebA's largest is 6732x8984 = 60 million. Decoded it takes 3 bytes a pixel."""

MIN_SIDE = 4
"""Smallest accepted side: the coarsest level of a pyramid."""

ORIENTATION_TAG = 0x0112
IMAGE_WIDTH_TAG, IMAGE_LENGTH_TAG = 0x0100, 0x0101
UPRIGHT = 1
QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

ZERO_TAIL = 64
"""A JPEG with no end marker whose last bytes are this many zeros is a download that stopped: disk space
was reserved and never filled. Decoders take the zeros for picture data without complaint."""

STRIP_ROWS = 256

_PLUGINS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
    "PPM": PpmImageFile,
}

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)
"""What Pillow's plugins raise on damaged input."""

_warnings_lock = threading.Lock()


class PictureInfo(NamedTuple):
    """What the header says: size in pixels as `decode_picture` would return it, format, Pillow's mode."""

    width: int
    height: int
    format: str
    mode: str


def probe_picture(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, apply_orientation: bool = True
) -> PictureInfo:
    """Read the header of a picture file without decoding it.

    Applies every check of `decode_picture` that needs no pixels and raises the same `PictureError`s.
    """
    with _opened(data, name, max_pixels) as (image, orientation):
        width, height = image.size
        turns = apply_orientation
        if isinstance(image, TiffImageFile):
            # Whether Pillow has exchanged the sides of a turned TIFF by now depends on its version.
            width, height = int(image.tag_v2[IMAGE_WIDTH_TAG]), int(image.tag_v2[IMAGE_LENGTH_TAG])
            turns = True
        if turns and orientation in QUARTER_TURNS:
            width, height = height, width
        return PictureInfo(width, height, str(image.format), image.mode)


def decode_picture(
    data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, apply_orientation: bool = True
) -> NDArray[np.uint8]:
    """Decode a picture file to (H, W, 3) uint8 RGB, C-contiguous and writable.

    data               the whole file
    name               file name for messages; its ending has no influence
    max_pixels         larger pictures are refused from their header, before anything is decoded
    apply_orientation  turn the picture as its EXIF orientation says; False returns the stored pixels, to
                       which annotations of CelebA refer (TIFF is always turned)

    Raises `PictureError`; its `reason` is one of `empty`, `html`, `not-a-picture`, `unsupported-format`,
    `unsupported-mode`, `too-small`, `too-many-pixels`, `truncated`, `corrupt`. Safe in threads and
    processes; no setting of Pillow is changed or relied on.
    """
    with _opened(data, name, max_pixels) as (image, orientation):
        if isinstance(image, JpegImageFile) and _is_unfilled_jpeg(data):
            raise _error("truncated", name, "the file ends in zeros with no end of picture; get it again")
        chunk = damaged_chunk(data) if isinstance(image, PngImageFile) else None
        if chunk is not None:
            raise _error("corrupt", name, f"damaged: {chunk} does not match its checksum; get it again")
        try:
            _load(image)
            pixels = _to_array(_to_rgb(image, name))
        except PictureError:
            raise
        except (MemoryError, Image.DecompressionBombError):
            raise _error("too-many-pixels", name, "too large to decode") from None
        except _BROKEN as error:
            raise _broken(name, error) from None
        upright = not apply_orientation or isinstance(image, TiffImageFile)
    # Outside, for Pillow's own copy is gone by now.
    return pixels if upright else np.ascontiguousarray(_turned(pixels, orientation))


def _load(image: ImageFile) -> None:
    """Decode the pixels; quietly where the plugin reads more metadata on the way."""
    if isinstance(image, (TiffImageFile, GifImageFile)):
        with _silent_pillow():
            image.load()
    else:
        image.load()


@contextmanager
def _silent_pillow() -> Iterator[None]:
    """Keep Pillow's warnings (odd metadata) from the caller.

    The warning filters are global to the process, so threads take turns; inside run the headers of all formats and
    the pixels of those that are rare.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(data: bytes, name: str, max_pixels: int) -> Iterator[tuple[ImageFile, int]]:
    """Open by content, check the header's size, yield the undecoded image and its EXIF orientation."""
    if not data:
        raise _error("empty", name, "the file has zero bytes; get it again")
    found = sniff_format(data)
    if found not in _PLUGINS:
        raise _unknown(data, name)
    try:
        with _silent_pillow():
            image = _PLUGINS[found](io.BytesIO(data), "")
    except Image.DecompressionBombError as error:
        raise _error("too-many-pixels", name, one_line(error)) from None
    except _BROKEN as error:
        raise _broken(name, error) from None
    with image:
        width, height = image.size
        if min(width, height) < MIN_SIDE:
            raise _error("too-small", name, f"{width}x{height} pixels; expected at least {MIN_SIDE}x{MIN_SIDE}")
        if width * height > max_pixels:
            raise _error(
                "too-many-pixels",
                name,
                f"{width}x{height} = {width * height:,} pixels, more than the limit of {max_pixels:,}; scale it down",
            )
        yield image, _exif_orientation(image)


def _exif_orientation(image: ImageFile) -> int:
    """EXIF orientation 1..8; damaged or absent metadata counts as upright."""
    try:
        with _silent_pillow():
            value = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except _BROKEN:
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Bring (H, W, 3) stored pixels upright; the orientation says where the stored first row and column lie.

    EXIF 2.3, tag 274.
    """
    transposed: NDArray[np.uint8] = pixels.transpose(1, 0, 2)
    views: dict[int, NDArray[np.uint8]] = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: transposed,
        6: transposed[:, ::-1],
        7: transposed[::-1, ::-1],
        8: transposed[::-1],
    }
    return views[orientation]


def _to_rgb(image: ImageFile, name: str) -> Image.Image:
    """Convert a loaded image of any mode to mode RGB."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        return _high_byte(image)
    if mode in ("I", "F", "LAB", "HSV"):
        raise _error(
            "unsupported-mode",
            name,
            f"{image.format} samples of mode {mode} have no fixed range; save it as 8-bit RGB",
        )
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_white(image.convert("RGBA"))
    return image.convert("RGB")


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Mode RGB to (H, W, 3), strip by strip: at once, Pillow would make two more copies of the picture."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _high_byte(image: ImageFile) -> Image.Image:
    """16-bit gray to RGB by the high byte, as Pillow itself does for 16-bit RGB."""
    samples = np.asarray(image)
    if samples.dtype.itemsize > 2:
        samples = samples.clip(0, 0xFFFF)
    return Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """Lay RGBA over a white ground: what viewers and browsers show for a transparent portrait."""
    ground = Image.new("RGB", image.size, (255, 255, 255))
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _is_unfilled_jpeg(data: bytes) -> bool:
    """True where a JPEG ends in zeros and no end marker follows its first scan."""
    if data[-ZERO_TAIL:].strip(b"\0"):
        return False
    return data.find(b"\xff\xd9", max(data.find(b"\xff\xda"), 0)) < 0


def _unknown(data: bytes, name: str) -> PictureError:
    kind, words = describe_content(data)
    if kind == "html":
        return _error("html", name, f"it is {words}, probably saved by a failed download; get it again")
    if kind == "known":
        return _error("unsupported-format", name, f"it is {words}; convert it to JPEG or PNG")
    return _error("not-a-picture", name, f"no picture format recognised; it starts with {words}")


def _broken(name: str, error: Exception) -> PictureError:
    text = one_line(error)
    source = error.__cause__ or error
    if isinstance(source, EOFError) or "truncated" in text.lower() or "unexpected end" in text.lower():
        return _error("truncated", name, f"the file ends before the picture does ({text}); get it again")
    # Other errors come from the plugins' own arithmetic; their words mean nothing to a reader.
    if "not identified" in text or not isinstance(source, (OSError, SyntaxError, zlib.error)):
        text = "its header makes no sense"
    return _error("corrupt", name, f"the picture data are damaged ({text}); get it again")


def _error(reason: str, name: str, text: str) -> PictureError:
    return PictureError(reason, f"{printable(name)}: {text}")
