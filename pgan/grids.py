"""Grids of images, and PNG files that are there whole or not at all."""

import contextlib
import errno
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgan.errors import ConfigError, DiskSpaceError, RunError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def grid_image(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay (N, 3, R, R) uint8 out in rows of `columns`: (rows * R, columns * R, 3) uint8; cells without image are black.

    Raises ConfigError for anything else than one or more images and columns.
    """
    if images.ndim != 4 or not len(images):
        raise ConfigError(f"a grid needs images of shape (N, channels, R, R), found {images.shape}")
    if columns < 1:
        raise ConfigError(f"a grid has {columns} columns, expected 1 or more")
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, channels, height, width), np.uint8)
    cells[:count] = images
    table = cells.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(table.reshape(rows * height, columns * width, channels))


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) or (H, W, 1) uint8 to `.partial` and rename it; folders are made.

    Raises DiskSpaceError when the disk is full, RunError when the file cannot be written; nothing is left then.
    """
    from PIL import Image

    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(partial, format="PNG")
        partial.replace(path)
    except OSError as error:
        remove(partial)
        raise write_error(path, error) from None


def write_error(path: Path, error: OSError) -> DiskSpaceError | RunError:
    """The error to raise for a file that could not be written."""
    if error.errno in _FULL:
        return DiskSpaceError(f"{path}: the disk is full; free some space and start again")
    return RunError(f"cannot write {path} ({error.strerror or error}); choose another place")


def remove(partial: Path) -> None:
    """Remove an unfinished file if there is one."""
    with contextlib.suppress(OSError):
        partial.unlink()
