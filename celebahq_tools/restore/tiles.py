"""Splitting a region into windows, and running a piece of a network window by window.

Legend: tensors are NCHW in channels-last memory; N is 1. A window's `core` is what it contributes, its `read` is
the core with a halo, clipped to the region. Where a window is clipped it ends at a real border and the network's own
zero padding is right there; elsewhere the padding spoils at most `halo` pixels, which are discarded.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from celebahq_tools.restore.base import Box, widened_box


@dataclass(frozen=True, slots=True)
class Window:
    """One tile: what it contributes and what it reads, both in coordinates of the picture or tensor."""

    core: Box
    read: Box

    def inner(self, scale: int) -> tuple[slice, slice]:
        """(rows, columns) of the core inside what was computed from `read`, `scale` times enlarged."""
        x0, y0, x1, y1 = self.core
        left, top = self.read[0], self.read[1]
        return (
            slice((y0 - top) * scale, (y1 - top) * scale),
            slice((x0 - left) * scale, (x1 - left) * scale),
        )


def split_evenly(start: int, stop: int, longest: int) -> list[int]:
    """The borders of the fewest parts of [start, stop) that are at most `longest` long, as even as they can be."""
    length = stop - start
    parts = -(-length // longest)
    return [start + length * i // parts for i in range(parts + 1)]


def windows(shape: tuple[int, int], box: Box, *, tile: int, halo: int) -> Iterator[Window]:
    """The windows that cover `box` of a picture of (H, W), row by row; a fixed function of the arguments."""
    x0, y0, x1, y1 = box
    columns = split_evenly(x0, x1, tile)
    rows = split_evenly(y0, y1, tile)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            core = (left, top, right, bottom)
            yield Window(core, widened_box(shape, core, halo))


def run_windowed(
    stage: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    halo: int,
    tile: int,
) -> Tensor:
    """stage(x) for a (1, C, H, W) tensor and a stage that keeps H and W, computed in windows of `tile` pixels.

    Equals stage(x) as long as `halo` is at least the distance over which the stage looks.
    """
    height, width = x.shape[2:]
    if height <= tile and width <= tile:
        return stage(x)
    result: Tensor | None = None
    for window in windows((height, width), (0, 0, width, height), tile=tile, halo=halo):
        left, top, right, bottom = window.read
        part = x[:, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
        done = stage(part)
        if result is None:
            result = torch.empty(
                (1, done.shape[1], height, width),
                dtype=done.dtype,
                device=done.device,
                memory_format=torch.channels_last,
            )
        rows, columns = window.inner(1)
        x0, y0, x1, y1 = window.core
        result[:, :, y0:y1, x0:x1] = done[:, :, rows, columns]
    assert result is not None
    return result
