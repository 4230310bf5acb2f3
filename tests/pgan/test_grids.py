"""Grids and PNG files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgan.errors import ConfigError, RunError
from pgan.grids import grid_image, write_png


def pictures(count: int, res: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, res, res), dtype=np.uint8)


def test_cells_run_along_rows_and_the_rest_is_black() -> None:
    images = pictures(5)
    grid = grid_image(images, 3)
    assert grid.shape == (8, 12, 3)
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        cell = grid[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
        np.testing.assert_array_equal(cell, image.transpose(1, 2, 0))
    assert not grid[4:, 8:].any()


def test_a_png_holds_the_grid_and_leaves_no_partial_file(tmp_path: Path) -> None:
    grid = grid_image(pictures(4), 2)
    path = tmp_path / "new" / "grid.png"
    write_png(path, grid)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), grid)
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]


def test_grayscale_is_written_as_such(tmp_path: Path) -> None:
    gray = pictures(4)[:, :1]
    write_png(tmp_path / "gray.png", grid_image(gray, 2))
    with Image.open(tmp_path / "gray.png") as image:
        assert (image.mode, image.size) == ("L", (8, 8))


@pytest.mark.parametrize(("images", "columns"), [(pictures(0), 2), (pictures(2), 0), (pictures(2)[0], 2)])
def test_what_is_no_grid_is_refused(images: np.ndarray, columns: int) -> None:
    with pytest.raises(ConfigError):
        grid_image(images, columns)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*file/grid\.png"):
        write_png(tmp_path / "file" / "grid.png", grid_image(pictures(1), 1))
