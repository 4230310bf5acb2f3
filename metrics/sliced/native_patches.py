"""Patches of Laplacian levels, as in `patches`, with the steps that cost most in C: the same bits.

The finest level is halved in whole numbers, 16 bits wide, and the next in float32, which holds all their sums exactly:
OpenCV's are the same. up() under patches adds in the order of `laplacian.up_patches`.
"""

import numpy as np
from numpy.typing import NDArray

from metrics.sliced import _native
from metrics.sliced.config import CHANNELS
from metrics.sliced.patches import PatchExtractor, TallLevel

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]


class NativePatchExtractor(PatchExtractor):
    """A `PatchExtractor` with steps in C; one per thread."""

    def _finest(self, images: UInt8, corners: Int64, out: Float32) -> None:
        count = len(images)
        coarse = self._low[0].inner[:count] if self._low else None
        if coarse is not None:
            _native.halve(images, coarse, self._low[1].inner[:count] if len(self._low) > 1 else None)
        _native.cut(images, corners, coarse, self.transposed, out)

    def _halve(self, finer: TallLevel, coarser: TallLevel, count: int) -> None:
        # The first was halved together with the images.
        if finer is not self._low[0]:
            super()._halve(finer, coarser, count)

    def _take(self, level: int, tall: TallLevel, corners: Int64, out: Float32, *, less_up: bool) -> None:
        coarse = self._low[level].inner[: len(corners)] if less_up else None
        _native.cut(tall.inner[: len(corners)], corners, coarse, self.transposed, out)

    def channel_sums(self, patches: Float32) -> NDArray[np.float64]:
        """As in NumPy but for the last digits of the sums of squares."""
        sums = np.empty((len(patches), CHANNELS, 2))
        _native.sum_channels(patches, sums)
        return sums
