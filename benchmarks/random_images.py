"""Made-up images with some structure at every scale, for benchmarks that need many."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

OCTAVES = (4, 16, 64)


def random_image(res: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(3, res, res) uint8: noise of several scales."""
    image = np.full((res, res, 3), 128, np.float32)
    for cells in OCTAVES:
        coarse = rng.normal(0, 30, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (res, res), interpolation=cv2.INTER_CUBIC)
    image += rng.integers(-8, 9, image.shape)
    return np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1))


def write_random_pyramid(path: Path, *, n: int, res: int, seed: int) -> Path:
    """An HDF5 pyramid of n random images."""
    from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid

    rng = np.random.default_rng(seed)
    rows = [IndexRow(key=str(slot), file=f"{slot}.png") for slot in range(n)]
    create_pyramid(path, res=res, rows=rows, meta=PyramidMeta(build_config={"random": seed}))
    with SlotWriter(path) as writer:
        for slot in range(n):
            writer.write(slot, random_image(res, rng))
    return path
