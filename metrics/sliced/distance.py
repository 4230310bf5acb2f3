"""Two sets of descriptors to be compared: their projections and the distance along one direction.

The standardisation is folded into the directions: with d' = d / std per channel, the projection of a standardised
descriptor is x . d' - mean . d'.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.sliced.blocks import Workspace
from metrics.sliced.config import CHANNELS
from metrics.sliced.store import DescriptorStore
from metrics.sliced.wasserstein import BINS, MOST_BINNED

LEAST_BINNED = 1 << 16
"""Descriptors on a side from which on counting in bins is faster than sorting."""
SAMPLE_IMAGES, SAMPLE_ROWS = 64, 4
"""Images, and descriptors of each, that show where projections lie."""
IMAGES_AT_ONCE = 16
"""Images whose descriptors are read and projected while they are in the processor's cache."""
OUTSIDE = 0.002
"""Share of the sample that may lie outside the bins, on either end."""
LEAST_BULK = 1e-6
"""Where the bulk of the projections of standardised descriptors is narrower, they are all one value, and are sorted."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Slots = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and population standard deviation per colour channel: (3,) float64 each, in grey levels."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def fold_moments(
    directions: Float32, moments: Moments, scales: Float64 | None = None, units: Float64 | None = None
) -> tuple[Float32, Float64]:
    """Directions (D, 147) with the standardisation folded in: (D, 147) float32 and offsets (D,) float64.

    A channel without any variation contributes nothing: its standardised values are all 0. `scales` (D,) makes
    directions longer; `units` as in `Comparison`.
    """
    per_channel = directions.shape[1] // CHANNELS
    inverse = np.divide(1.0, moments.std, out=np.zeros(CHANNELS), where=moments.std > 0)
    lengths = 1.0 if scales is None else scales[:, None]
    folded = (directions * (lengths * np.repeat(inverse, per_channel))).astype(np.float32)
    means = np.repeat(moments.mean, per_channel)
    return folded, folded.astype(np.float64) @ (means if units is None else means * units)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison at one level: descriptors (n, 147, P), their moments and the images to use.

    slots    (n,) image slots of `store`
    """

    store: DescriptorStore
    moments: Moments
    slots: Slots

    @property
    def rows(self) -> int:
        """Descriptors on this side."""
        return len(self.slots) * self.store.patches

    def sample(self) -> Float32:
        """A few of the descriptors, spread over the images: (147, k) float32."""
        count = len(self.slots)
        chosen = self.slots[np.linspace(0, count - 1, min(count, SAMPLE_IMAGES)).astype(np.int64)]
        step = max(1, self.store.patches // SAMPLE_ROWS)
        return np.concatenate([self.store.read(slot[None])[0, :, ::step] for slot in chosen], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two sides with equally many descriptors, and the (D, 147) unit directions to compare them along.

    units   (147,) the values of a descriptor that is 1 everywhere; None: they are pixels, and 1
    """

    real: Side
    fake: Side
    directions: Float32
    units: Float64 | None = None

    def __post_init__(self) -> None:
        if self.real.rows != self.fake.rows or self.rows < 1:
            raise BatchError(f"sets of {self.real.rows} and {self.fake.rows} descriptors are not compared; use equal n")

    @property
    def rows(self) -> int:
        """Descriptors on each side."""
        return self.real.rows


class FoldedComparison:
    """A comparison whose moments are folded into the directions; may be used by several threads.

    Where values are to be counted in bins, directions are scaled so that projections come in units of a bin.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.sides = comparison.real, comparison.fake
        self._scales = np.ones(len(comparison.directions))
        low = np.zeros(len(comparison.directions))
        if LEAST_BINNED <= comparison.rows <= MOST_BINNED:
            low, high = find_bulk(comparison)
            wide = high - low >= LEAST_BULK
            low = np.where(wide, low, 0.0)
            self._scales[wide] = BINS / (high - low)[wide]
        folded = [
            fold_moments(comparison.directions, side.moments, self._scales, comparison.units) for side in self.sides
        ]
        self._directions = [directions for directions, _ in folded]
        self._shifts = [-offsets - low * self._scales for _, offsets in folded]

    def project(self, which: int, images: slice, directions: slice, out: Float32, workspace: Workspace) -> None:
        """Raw projections of one side's `images` on some directions: out (directions, images * P)."""
        side, chosen = self.sides[which], self._directions[which][directions]
        room = workspace.room((IMAGES_AT_ONCE, side.store.values, side.store.patches))
        # Splitting the last axis of `out` makes a view.
        per_image = out.reshape(len(out), images.stop - images.start, -1)
        for first in range(images.start, images.stop, IMAGES_AT_ONCE):
            read = side.store.read(side.slots[first : min(first + IMAGES_AT_ONCE, images.stop)], room)
            workspace.project(chosen, read, per_image[:, first - images.start :][:, : len(read)])

    def distance(self, direction: int, real: Float32, fake: Float32, workspace: Workspace) -> float:
        """W1 of both sides' blocks (b, block) of raw projections on direction number `direction`."""
        scale = float(self._scales[direction])
        shifts = float(self._shifts[0][direction]), float(self._shifts[1][direction])
        rows = self.sides[0].rows
        if scale != 1.0:
            return workspace.by_counting(real, fake, rows, shifts) / scale
        return workspace.by_sorting(real, fake, rows, shifts)


def find_bulk(comparison: Comparison) -> tuple[Float64, Float64]:
    """Where nearly all standardised projections lie, by those of a few descriptors: (D,) from, (D,) to."""
    projected = []
    for side in (comparison.real, comparison.fake):
        directions, offsets = fold_moments(comparison.directions, side.moments, units=comparison.units)
        projected.append(directions @ side.sample() - offsets[:, None])
    sample = np.sort(np.concatenate(projected, axis=1), axis=1)
    outside = int(OUTSIDE * sample.shape[1])
    return sample[:, outside], sample[:, -1 - outside]
