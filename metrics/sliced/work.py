"""Estimated cost of the stages, for progress and `--dry-run`. Units: about a microsecond of one core."""

from collections.abc import Callable
from threading import Lock

from metrics.sliced.config import level_sizes

FEED_US_PER_LEVEL = 150.0
FEED_US_PER_PIXEL = 0.0026
PAIR_US = 0.0155
"""One descriptor of each side along one direction: projected and compared."""


def feed_cost(res: int) -> int:
    """Cost of one image: pyramid, patches, sums."""
    return int(FEED_US_PER_LEVEL * len(level_sizes(res)) + FEED_US_PER_PIXEL * res * res)


def pair_cost(pairs: int) -> int:
    """Cost of `pairs` (descriptor, direction) pairs, both sides."""
    return int(PAIR_US * pairs)


class Meter:
    """Adds up finished work from all threads and reports it as progress(done, total)."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0.0
        self._lock = Lock()

    def add(self, cost: float) -> None:
        """Count work as done."""
        if self._progress is None:
            return
        with self._lock:
            self._done = min(self._done + cost, self._total)
            self._progress(int(self._done), self._total)

    def pairs(self, count: int) -> None:
        """Count `count` descriptors along one direction."""
        self.add(PAIR_US * count)

    def finish(self) -> None:
        """Everything is done."""
        self.add(self._total)
