"""The contact sheet."""

import numpy as np
import pytest
from PIL import ImageFont

from celebahq_tools.sheet import Caption, contact_sheet, default_cols, elide


def images(count: int, res: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, res, res), dtype=np.uint8)


def test_every_picture_is_in_its_place_unchanged() -> None:
    pictures = images(5, 128)
    sheet = np.asarray(contact_sheet(pictures, [Caption(head=str(k)) for k in range(5)], cols=3))
    found = []
    for top in range(sheet.shape[0] - 127):
        for left in range(sheet.shape[1] - 127):
            if (sheet[top, left] == pictures[:, :, 0, 0]).all(axis=1).any():
                tile = sheet[top : top + 128, left : left + 128].transpose(2, 0, 1)
                found += [(k, top, left) for k in range(5) if np.array_equal(tile, pictures[k])]
    assert [k for k, _, _ in found] == [0, 1, 2, 3, 4]
    assert len({top for _, top, _ in found}) == 2
    assert len({left for _, _, left in found}) == 3


def test_small_pictures_are_enlarged_pixel_by_pixel() -> None:
    picture = images(1, 4)
    sheet = np.asarray(contact_sheet(picture, [Caption(head="0")]))
    tile = picture[0].transpose(1, 2, 0).repeat(24, axis=0).repeat(24, axis=1)
    assert np.array_equal(sheet[8:104, 8:104], tile)


def test_captions_and_title_are_drawn() -> None:
    blank = np.full((1, 3, 128, 128), 250, np.uint8)

    def ink(**texts: str) -> int:
        caption = Caption(head=texts.get("head", ""), name=texts.get("name", ""))
        return int((np.asarray(contact_sheet(blank, [caption], title=texts.get("title", ""))) < 200).sum())

    assert ink() == 0
    assert ink(head="12") > 0
    assert ink(name="a.jpg") > 0
    assert ink(title="data") > 0
    assert ink(head="1", name="ü" * 500, title="x" * 500) > 0


def test_long_names_are_elided_in_the_middle() -> None:
    font = ImageFont.load_default(12)
    name = "folder/with/a/very/long/name/000123.jpg"
    short = elide(name, 120, font)
    assert font.getlength(short) <= 120
    assert short.startswith("folder")
    assert short.endswith(".jpg")
    assert "..." in short
    assert elide("short", 120, font) == "short"
    assert elide(name, 1, font) == ""


def test_shapes_and_limits() -> None:
    assert [default_cols(count) for count in (1, 2, 6, 24, 40)] == [1, 2, 3, 6, 8]
    captions = [Caption(head="x")] * 3
    with pytest.raises(ValueError, match="2 captions"):
        contact_sheet(images(3, 8), captions[:2])
    with pytest.raises(ValueError, match="cols"):
        contact_sheet(images(3, 8), captions, cols=0)
    with pytest.raises(ValueError, match="too large"):
        contact_sheet(np.broadcast_to(np.uint8(0), (300, 3, 1024, 1024)), [Caption(head="")] * 300)
