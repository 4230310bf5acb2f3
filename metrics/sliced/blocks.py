"""W1 along one direction of projections that lie in blocks: by sorting or by counting.

Blocks are (b, block) float32, the last one partly filled: raw projections, to which each side's shift is to be added.
"""

from threading import local
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metrics.sliced.acceleration import have_native
from metrics.sliced.wasserstein import BinnedDistance, sorted_distance

PAD = 16
"""Values between rows: those a power of two apart would compete for the same places in the processor's cache."""
SIDES = 2

Float32 = NDArray[np.float32]


class BlockDistance(Protocol):
    """W1 of the first `rows` values of either side's blocks, each plus its shift."""

    def __call__(self, real: Float32, fake: Float32, rows: int, shifts: tuple[float, float]) -> float:
        """In the values' units or in bins."""
        ...


def join_blocks(blocks: Float32, shift: float, out: Float32) -> Float32:
    """Blocks (b, block), the last one partly filled, one after the other in `out` (rows,), with `shift` added."""
    block = blocks.shape[1]
    whole = len(out) // block
    np.add(blocks[:whole], np.float32(shift), out=out[: whole * block].reshape(whole, block))
    rest = out[whole * block :]
    np.add(blocks[-1, : len(rest)], np.float32(shift), out=rest)
    return out


class JoinedDistance:
    """W1 of values that are joined first; holds the room for them."""

    def __init__(self) -> None:
        self._memory = np.empty((SIDES, 0), np.float32)
        self._binned = BinnedDistance()

    def by_sorting(self, real: Float32, fake: Float32, rows: int, shifts: tuple[float, float]) -> float:
        """In the values' own units."""
        one, other = self._join(real, fake, rows, shifts)
        one.sort()
        other.sort()
        return sorted_distance(one, other)

    def by_counting(self, real: Float32, fake: Float32, rows: int, shifts: tuple[float, float]) -> float:
        """Of values in units of a bin, in the same."""
        one, other = self._join(real, fake, rows, shifts)
        return self._binned(one, other)

    def _join(self, real: Float32, fake: Float32, rows: int, shifts: tuple[float, float]) -> tuple[Float32, Float32]:
        if self._memory.shape[1] < rows:
            self._memory = np.empty((SIDES, rows + PAD), np.float32)
        one, other = self._memory[:, :rows]
        return join_blocks(real, shifts[0], one), join_blocks(fake, shifts[1], other)


class Workspace:
    """The ways to W1; every thread has its own scratch space, kept from one direction to the next."""

    def __init__(self, *, native: bool) -> None:
        """`native` takes effect where the loops in C were built."""
        self._native = native and have_native()
        self._local = local()

    def room(self, shape: tuple[int, int, int]) -> Float32:
        """Room for descriptors that are read: (images, 147, patches)."""
        found: Float32 | None = getattr(self._local, "room", None)
        if found is None or found.shape != shape:
            found = self._local.room = np.empty(shape, np.float32)
        return found

    def project(self, directions: Float32, descriptors: Float32, out: Float32) -> None:
        """Directions (D, V) times descriptors (images, V, P), to out (D, images, P)."""
        if self._native:
            from metrics.sliced import _native

            _native.project(directions, descriptors, out)
        else:
            np.matmul(directions, descriptors, out=out.swapaxes(0, 1))

    @property
    def by_sorting(self) -> BlockDistance:
        """For few values, in their own units."""
        return self._joined.by_sorting

    @property
    def by_counting(self) -> BlockDistance:
        """For many values, in units of a bin."""
        if not self._native:
            return self._joined.by_counting
        found: BlockDistance | None = getattr(self._local, "native", None)
        if found is None:
            from metrics.sliced.native_distance import NativeDistance

            found = self._local.native = NativeDistance()
        return found

    @property
    def _joined(self) -> JoinedDistance:
        found: JoinedDistance | None = getattr(self._local, "joined", None)
        if found is None:
            found = self._local.joined = JoinedDistance()
        return found
