"""Finding the image of a verified data set that another image is a copy of.

Coarse levels of all images are kept in memory: 8x8 to name a few neighbours, 32x32 to rank them; the best is
then compared at up to 128x128, where JPEG and resampling hardly show and different faces differ widely.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError
from celebahq_tools.store import PyramidReader

COARSE_RES = 8
FINE_RES = 32
COMPARE_RES = 128
NEIGHBOURS = 64
MAX_PSNR_DB = 100.0
"""Reported for equal pixels."""
MIN_COPY_PSNR_DB = 30.0
"""Copies through JPEG at quality 50 and resampling stay above this at 128x128; different faces under 20."""
PEAK = 255.0
BATCH = 1024

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """The reference's image in `slot`, as like as `psnr_db` when both are reduced to `res` pixels."""

    slot: int
    res: int
    psnr_db: float


class Reference:
    """Coarse levels of every image of an HDF5 file with all levels (built here, or the authors' own)."""

    def __init__(self, path: Path) -> None:
        self._reader = PyramidReader(path)
        needed = {COARSE_RES, FINE_RES, COMPARE_RES}
        if not needed <= set(self._reader.levels):
            raise FormatError(
                f"{path}: as a reference it needs the levels {sorted(needed)}, found {sorted(self._reader.levels)}"
            )
        self._coarse = self._level(COARSE_RES).astype(np.float32)
        self._fine = self._level(FINE_RES)

    def __len__(self) -> int:
        return len(self._reader)

    def _level(self, res: int) -> Image:
        parts = [
            self._reader.read(slice(first, first + BATCH), res).reshape(-1, 3 * res * res)
            for first in range(0, len(self._reader), BATCH)
        ]
        return np.concatenate(parts)

    def image(self, slot: int) -> Image:
        """An image at the finest resolution, (3, R, R)."""
        return self._reader.read(slot)

    def find(self, image: Image) -> Match | None:
        """The image that (3, h, w) uint8 is a copy of, or None; squares of at least 32 pixels are compared."""
        side = image.shape[1]
        if side != image.shape[2] or side < FINE_RES or len(self) == 0:
            return None
        coarse = reduce_to(image, COARSE_RES).reshape(-1)
        near = ((self._coarse - coarse) ** 2).sum(axis=1).argsort()[:NEIGHBOURS]
        fine = reduce_to(image, FINE_RES).reshape(-1)
        best = int(near[((self._fine[near].astype(np.float32) - fine) ** 2).sum(axis=1).argmin()])
        res = COMPARE_RES if side >= COMPARE_RES else FINE_RES
        likeness = psnr_db(reduce_to(image, res), self._reader.read(best, res).astype(np.float32))
        return Match(slot=best, res=res, psnr_db=likeness) if likeness >= MIN_COPY_PSNR_DB else None


def reduce_to(image: Image, res: int) -> NDArray[np.float32]:
    """Reduce a square (3, R, R) uint8 image to (3, res, res) float32 by averaging areas."""
    import cv2

    reduced = cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), (res, res), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.asarray(reduced).transpose(2, 0, 1)).astype(np.float32)


def psnr_db(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio of samples in 0..255, at most MAX_PSNR_DB."""
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return MAX_PSNR_DB if error == 0 else min(10 * float(np.log10(PEAK * PEAK / error)), MAX_PSNR_DB)
