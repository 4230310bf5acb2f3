"""The fixed-seed grids of a run, its reals, its samples cut out of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.report.pictures import Picture, encoded, open_picture, to_chw
from metrics.report.runs import GridFile, Run

MAX_GRID_BYTES = 450_000
RUN_GRIDS_BYTES = 7_000_000
"""Of all grids of a page, before they are written as text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Grids of one run: (kimg, picture) in order, the reals beside, a walk between latents.

    left_out  grids that are not shown
    """

    run: str
    frames: tuple[tuple[float, Picture], ...]
    reals: Picture | None
    interpolation: Picture | None
    left_out: int


def gallery_of(run: Run, *, snapshots: int, runs: int) -> Gallery | None:
    """What a run has to show, at most `snapshots` grids; None for a run without pictures.

    runs  runs of the page, which share its room
    """
    chosen = evenly(run.grids, snapshots)
    budget = min(MAX_GRID_BYTES, RUN_GRIDS_BYTES // (runs * (len(chosen) + 2)))
    frames = []
    for grid in chosen:
        alt = f"Grid of generated images of {run.name} at {grid.kimg:g} kimg, from fixed latents"
        frames.append((grid.kimg, encoded(open_picture(grid.path), alt, budget=budget)))
    reals = walk = None
    if run.reals is not None:
        reals = encoded(open_picture(run.reals), f"Grid of real images that {run.name} was trained on", budget=budget)
    if run.interpolation is not None:
        alt = f"Strip of images of {run.name} generated along a path between latents"
        walk = encoded(open_picture(run.interpolation), alt, budget=budget)
    if not frames and reals is None and walk is None:
        return None
    return Gallery(
        run=run.name, frames=tuple(frames), reals=reals, interpolation=walk, left_out=len(run.grids) - len(chosen)
    )


def evenly(grids: Sequence[GridFile], most: int) -> list[GridFile]:
    """At most `most` grids, evenly chosen, first and last among them."""
    if len(grids) <= most:
        return list(grids)
    if most == 1:
        return [grids[-1]]
    last = len(grids) - 1
    return [grids[round(place * last / (most - 1))] for place in range(most)]


def generated_samples(run: Run, count: int) -> tuple[NDArray[np.uint8], str] | None:
    """(n <= count, 3, R, R) uint8 generated images of a run and where they are from, or None.

    Taken from the folder `samples/`, else from the last grid, whose cells are cut apart.
    """
    if run.samples is not None:
        from metrics.errors import ImageSetError
        from metrics.sources import open_image_set

        try:
            with open_image_set(run.samples) as images:
                chosen = np.unique(np.linspace(0, images.n - 1, min(count, images.n)).astype(int))
                return images.read(chosen), f"{len(chosen)} of the {images.n} images in samples/"
        except ImageSetError:
            if not run.grids:
                raise
    if not run.grids or run.grid is None:
        return None
    last = run.grids[-1]
    cells = cut(to_chw(open_picture(last.path)), *run.grid)
    return (cells[:count], f"the first cells of the grid at {last.kimg:g} kimg") if cells is not None else None


def cut(sheet: NDArray[np.uint8], columns: int, rows: int) -> NDArray[np.uint8] | None:
    """(3, rows R, columns R) to (rows columns, 3, R, R) uint8, row by row; None if the cells are not square."""
    _, height, width = sheet.shape
    if height % rows or width % columns or height // rows != width // columns:
        return None
    side = height // rows
    cells = sheet.reshape(3, rows, side, columns, side).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(cells.reshape(rows * columns, 3, side, side))
