"""The datum that flows from a source to the survey: one face (or one whole picture) to become one image.

Legend: landmarks are (K, 2) float64 pixel positions (x, y), origin at the centre of the top-left pixel, in the
EXIF-oriented picture. Five landmarks come in the order left eye, right eye, nose, left mouth corner, right
mouth corner, left and right as the viewer sees them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Landmarks = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One candidate image of a source.

    key          unique in its source and stable between runs: the file's path, with `#2` for a second face
    file         path inside the source, `/` between folders
    landmarks    (5, 2), or None for pictures that are taken whole
    landmarks68  (68, 2) dlib order, or None when only five are known
    identity     CelebA identity number, or None
    attributes   -1 / +1 per attribute, in the order of the source's `attribute_names`, or None
    partition    0 train, 1 validation, 2 test, or None
    """

    key: str
    file: str
    landmarks: Landmarks | None = None
    landmarks68: Landmarks | None = None
    identity: int | None = None
    attributes: tuple[int, ...] | None = None
    partition: int | None = None
