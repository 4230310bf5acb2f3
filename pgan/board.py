"""TensorBoard, if it is installed."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Board:
    """Scalars and pictures of a run; does nothing without the package `tensorboard`."""

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        """`purge_step`: forget what an earlier attempt wrote from this kimg on."""
        self._writer: Any = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    @property
    def present(self) -> bool:
        """Whether anything is written."""
        return self._writer is not None

    def scalars(self, values: Mapping[str, float], kimg: float) -> None:
        """Add readings."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, round(kimg))
            self._writer.flush()

    def picture(self, name: str, image: NDArray[np.uint8], kimg: float) -> None:
        """Add a picture, (H, W, 3) uint8."""
        if self._writer is not None:
            self._writer.add_image(name, image, round(kimg), dataformats="HWC")

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
