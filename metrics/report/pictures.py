"""Pictures as data URIs of bounded size, and reading pictures that others wrote.

Legend: N images, R side; images (N, 3, R, R) uint8 [0, 255].
"""

import base64
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ReportError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1 << 27
MAX_SIDE = 1024
"""Pictures are shown at most this wide and high."""
LOSSLESS_PIXELS = 1 << 18
QUALITIES = (88, 75, 60, 45, 30)
SMALL_SIDE = 256
"""Pictures below this side are shown enlarged, with hard pixels."""

Images = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An encoded picture. `src` is a data URI, `alt` says what it shows to who does not see it."""

    src: str
    width: int
    height: int
    alt: str
    caption: str = ""

    @property
    def small(self) -> bool:
        """Whether it should be enlarged with hard pixels."""
        return max(self.width, self.height) < SMALL_SIDE


def open_picture(path: Path) -> "Image":
    """A picture file as RGB; ReportError for what is none or has too many pixels."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise ReportError(f"{path} has {picture.width}x{picture.height} pixels, more than {MAX_PIXELS}")
                upright: Image.Image = picture.convert("RGB")
                return upright
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise ReportError(f"{path} is not a readable picture: {error}") from None


def encoded(picture: "Image", alt: str, *, budget: int, caption: str = "") -> Picture:
    """A picture of at most MAX_SIDE pixels a side and about `budget` bytes.

    PNG while it fits, else WebP of falling quality, else reduced to half, as often as it takes.
    """
    from PIL import Image

    scale = max(picture.width, picture.height) / MAX_SIDE
    if scale > 1:
        size = (max(1, round(picture.width / scale)), max(1, round(picture.height / scale)))
        picture = picture.resize(size, Image.Resampling.BOX)
    while True:
        for kind, data in _encodings(picture):
            if len(data) <= budget or max(picture.size) <= SMALL_SIDE // 4:
                src = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
                return Picture(src=src, width=picture.width, height=picture.height, alt=alt, caption=caption)
        picture = picture.reduce(2)


def from_chw(image: Images) -> "Image":
    """(3, H, W) uint8 as a picture."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def to_chw(picture: "Image") -> Images:
    """(3, H, W) uint8 of a picture."""
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))


def tiled(images: Images, columns: int, *, gap: int = 0, background: int = 128) -> Images:
    """(N, 3, H, W) uint8 side by side in rows of `columns`: (3, H', W') uint8."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full((3, rows * (height + gap) - gap, columns * (width + gap) - gap), background, np.uint8)
    for place, image in enumerate(images):
        y, x = place // columns * (height + gap), place % columns * (width + gap)
        sheet[:, y : y + height, x : x + width] = image
    return sheet


def box_reduced(images: Images, res: int) -> Images:
    """(N, 3, R, R) to (N, 3, res, res) uint8 by the mean of squares; R must be a multiple of `res`."""
    factor = images.shape[-1] // res
    if factor == 1:
        return images
    count = len(images)
    means = images.reshape(count, 3, res, factor, res, factor).mean(axis=(3, 5), dtype=np.float32)
    reduced: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return reduced


def _encodings(picture: "Image") -> Iterator[tuple[str, bytes]]:
    if picture.width * picture.height <= LOSSLESS_PIXELS:
        out = BytesIO()
        picture.save(out, "PNG", optimize=True)
        yield "png", out.getvalue()
    for quality in QUALITIES:
        out = BytesIO()
        picture.save(out, "WEBP", quality=quality)
        yield "webp", out.getvalue()
