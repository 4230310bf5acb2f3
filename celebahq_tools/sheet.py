"""A contact sheet: a labelled grid of pictures, to look at."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image, ImageFont

MIN_TILE_PX = 96
"""Smaller images are enlarged, pixel by pixel, so that a caption fits under them."""

MAX_SHEET_PIXELS = 200_000_000

_BACKGROUND = (250, 250, 248)
_TEXT = (32, 32, 32)
_FAINT = (128, 128, 128)
_ELLIPSIS = "..."


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """What stands under a picture: a short line, and its name below. Both are elided when too long."""

    head: str
    name: str = ""


def contact_sheet(
    images: NDArray[np.uint8], captions: Sequence[Caption], *, title: str = "", cols: int | None = None
) -> "Image.Image":
    """Draw images, (n, 3, r, r) uint8, in rows of `cols` (None: about as wide as 3 to 2) with their captions.

    Raises ValueError for no images, another number of captions, `cols` < 1, or a sheet of more than
    MAX_SHEET_PIXELS.
    """
    from PIL import Image, ImageDraw

    if len(images) == 0 or len(images) != len(captions) or images.ndim != 4:
        raise ValueError(f"{len(captions)} captions for images {images.shape}")
    cols = default_cols(len(images)) if cols is None else min(cols, len(images))
    if cols < 1:
        raise ValueError(f"cols must be positive, not {cols}")
    rows = -(-len(images) // cols)
    zoom = max(1, -(-MIN_TILE_PX // images.shape[-1]))
    tile = images.shape[-1] * zoom
    gap = max(8, tile // 20)
    heading, font, small = _font(max(16, tile // 9)), _font(max(12, tile // 14)), _font(max(11, tile // 16))
    text_height = _line(font) + _line(small) + gap // 2
    top = gap + (_line(heading) + gap if title else 0)
    width, height = gap + cols * (tile + gap), top + rows * (tile + text_height + gap)
    if width * height > MAX_SHEET_PIXELS:
        raise ValueError(f"a sheet of {width}x{height} pixels is too large; take fewer images or a coarser level")
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap, gap), elide(title, width - 2 * gap, heading), _TEXT, heading)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = gap + k % cols * (tile + gap), top + k // cols * (tile + text_height + gap)
        sheet.paste(_tile(image, zoom), (x, y))
        below = y + tile + gap // 4
        draw.text((x, below), elide(caption.head, tile, font), _TEXT, font)
        draw.text((x, below + _line(font)), elide(caption.name, tile, small), _FAINT, small)
    return sheet


def default_cols(count: int) -> int:
    """Columns that make a sheet of `count` square pictures about half as wide again as high."""
    return max(1, round(math.sqrt(1.5 * count)))


def elide(text: str, width_px: int, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """`text`, or as much of its beginning and end as fits into `width_px` with an ellipsis between them."""
    if font.getlength(text) <= width_px:
        return text
    kept = len(text) - 1
    while kept > 0:
        head, tail = (kept + 1) // 2, kept // 2
        shorter = text[:head] + _ELLIPSIS + text[len(text) - tail :]
        if font.getlength(shorter) <= width_px:
            return shorter
        kept -= 1
    return ""


def _tile(image: NDArray[np.uint8], zoom: int) -> "Image.Image":
    from PIL import Image

    enlarged = image.transpose(1, 2, 0).repeat(zoom, axis=0).repeat(zoom, axis=1)
    return Image.fromarray(np.ascontiguousarray(enlarged))


def _font(size_px: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size_px)


def _line(font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> int:
    """Height of a line of text, pixels."""
    box = font.getbbox("Ågjpqy")
    return int(box[3] * 1.2)
