"""How far a restored picture has drifted from its source where both can be compared: below the finest detail.

Restoring may only add what is too fine for the source to show. What is coarser, such as the shape of an eye or the
colour of skin, has to stay.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from celebahq_tools.restore.base import Pixels

# Both pictures are brought to at most this many pixels a side before they are compared.
LOW_PASS_EDGE = 64


def low_pass(pixels: Pixels, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 => (h, w, 3) float32 by area means; `size` is (w, h)."""
    return np.asarray(cv2.resize(pixels.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def drift(source: Pixels, restored: Pixels) -> float:
    """Root mean square difference of the two at 64 pixels on the longer side, levels of 255.

    source (h, w, 3) and restored (s h, s w, 3) uint8 show the same part of the picture.
    """
    height, width = source.shape[:2]
    factor = min(1.0, LOW_PASS_EDGE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    difference = low_pass(source, size) - low_pass(restored, size)
    return float(np.sqrt(np.square(difference, dtype=np.float64).mean()))
