"""A training set as training sees it when it mirrors: half of the images flipped, chosen by number."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from metrics.sources.base import ImageSet
from pgan.draws import MIRROR, key


class MirroredSet(ImageSet):
    """Another set with the images of odd key flipped left to right; the key depends on seed and number alone."""

    def __init__(self, whole: ImageSet, seed: int = 0) -> None:
        self.whole = whole
        self.seed = seed
        self.label, self.kind = f"{whole.label} (every second image mirrored, on average)", whole.kind
        self.n, self.res, self.resizer, self.threads = whole.n, whole.res, whole.resizer, whole.threads

    def flipped(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of the images at `indices` are flipped: (k,) bool."""
        return np.array([key(self.seed, MIRROR, int(number)) & 1 for number in indices], dtype=bool)

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order."""
        images = np.array(self.whole.read(indices))
        flip = self.flipped(indices)
        images[flip] = images[flip][..., ::-1]
        return images

    def _fingerprint(self) -> str:
        return sha256(f"{self.whole.fingerprint} mirrored by number, seed {self.seed}".encode()).hexdigest()

    def close(self) -> None:
        """Close the set underneath."""
        self.whole.close()
