"""What is looked at while a network trains: is it still sane?"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pgan.errors import TrainingError

NON_FINITE, COLLAPSE = "non-finite", "collapse"
LIMIT_SCORE = 1e6
"""Scores of a healthy D stay within tens; the drift term sees to it."""
LEAST_VARIETY = 0.01
"""Of the reals' spread, below which all fakes are the same picture."""
PATIENCE = 3


def check_finite(means: Mapping[str, float], kept: str) -> None:
    """Raise TrainingError when a quantity of the tick is NaN or infinite. `kept` says what is left to go on from."""
    for name, value in means.items():
        if not math.isfinite(value):
            raise TrainingError(
                NON_FINITE, f"{name} is {value}: training broke down; {kept}, and lower the learning rate"
            )
    gap = abs(means.get("score_real", 0.0) - means.get("score_fake", 0.0))
    if gap > LIMIT_SCORE:
        raise TrainingError(COLLAPSE, f"D tells reals from fakes by {gap:.3g}: training diverged; {kept}")


def spread(images: NDArray[np.uint8]) -> float:
    """Standard deviation over images of each value, averaged: (N, 3, R, R) uint8 -> grey levels."""
    return float(images.std(axis=0, dtype=np.float64).mean())


class VarietyWatch:
    """Notices when all samples have become the same picture."""

    def __init__(self, reals: NDArray[np.uint8]) -> None:
        self._reals = spread(reals)
        self._low = 0

    def look(self, fakes: NDArray[np.uint8], kept: str) -> None:
        """Raise TrainingError after PATIENCE looks in a row at samples without variety."""
        found = spread(fakes)
        self._low = self._low + 1 if found < LEAST_VARIETY * self._reals else 0
        if self._low >= PATIENCE:
            raise TrainingError(
                COLLAPSE,
                f"all samples look alike (spread {found:.2f} grey levels, reals {self._reals:.2f}); {kept}",
            )
