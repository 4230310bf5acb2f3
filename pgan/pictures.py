"""Real images for grids."""

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.store import PyramidReader
from pgan.config import Config
from pgan.data import DataInfo


def real_grid(data: DataInfo, config: Config) -> NDArray[np.uint8]:
    """Evenly spread reals at the final resolution: (columns * rows, 3, R, R) uint8; repeats if there are too few."""
    columns, rows = config.train.grid
    numbers = np.linspace(0, data.n - 1, columns * rows).round().astype(np.int64)
    with PyramidReader(data.path) as reader:
        return reader.read(numbers, config.network.res)
