"""SWD and MS-SSIM as guests of a feature pass: they are shown each batch and give their results afterwards.

The values are those of `metrics swd` and `metrics ms-ssim`: the same draws, pairs and statistics.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError, ImageSetError
from metrics.msssim.measure import RANDOM, choose_pairs, ms_ssim_result
from metrics.msssim.similarity import MIN_SIDE, ms_ssim_pair
from metrics.protocol import Result
from metrics.sliced.accumulator import SwdAccumulator
from metrics.sliced.draws import FAKE, REAL
from metrics.sliced.measure import swd_of_statistics
from metrics.sliced.plan import SwdPlan
from metrics.sources import ImageSet
from metrics.threads import one_opencv_thread


class SwdGuest:
    """Descriptors of one set, gathered from batches in any order."""

    def __init__(self, images: ImageSet, plan: SwdPlan, role: str, *, jobs: int) -> None:
        numbers = plan.numbers[role]
        self.numbers = numbers
        self._slot_of = np.full(images.n, -1, np.int64)
        self._slot_of[numbers] = np.arange(len(numbers))
        self.accumulator = SwdAccumulator(res=plan.res, n=len(numbers), role=role, config=plan.config, jobs=jobs)

    def observe(self, numbers: NDArray[np.int64], images: NDArray[np.uint8]) -> None:
        """Take the images that belong to the plan: numbers (k,), images (k, 3, R, R) uint8."""
        slots = self._slot_of[numbers]
        mine = slots >= 0
        if mine.any():
            self.accumulator.feed(images[mine], numbers=numbers[mine], slots=slots[mine])


def swd_result(
    sets: dict[str, ImageSet],
    guests: dict[str, SwdGuest],
    plan: SwdPlan,
    *,
    jobs: int,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Sliced Wasserstein distance of what two guests gathered."""
    reals, fakes = (guests[role].accumulator.finish() for role in (REAL, FAKE))
    return swd_of_statistics(plan, sets, reals, fakes, jobs=jobs, progress=progress)


class MsSsimGuest:
    """Scores of random pairs of one set, which must be read pair after pair (`reading` says in what order)."""

    def __init__(self, images: ImageSet, *, n: int | None, seed: int, jobs: int) -> None:
        if images.res < MIN_SIDE:
            raise ImageSetError(f"{images.label} has {images.res} pixels; MS-SSIM needs at least {MIN_SIDE}")
        self.pairs = choose_pairs(images.n, n=n, pairs=RANDOM, seed=seed)
        self.seconds = 0.0
        self._images, self._seed, self._jobs = images, seed, jobs
        self._scores: list[float] = []
        self._waiting: NDArray[np.uint8] | None = None
        self._seen = 0

    def reading(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Order of reading: the pairs, one after the other, then those of `numbers` that are in no pair."""
        paired = self.pairs.ravel()
        return np.concatenate([paired, numbers[~np.isin(numbers, paired)]])

    def observe(self, numbers: NDArray[np.int64], images: NDArray[np.uint8]) -> None:
        """Score the pairs that are complete; a first half waits for the next batch."""
        started = time.perf_counter()
        wanted = self.pairs.ravel()[self._seen : self._seen + len(images)]
        if not np.array_equal(numbers[: len(wanted)], wanted):
            raise BatchError("MS-SSIM was shown images in another order than that of its pairs")
        self._seen += len(wanted)
        paired = images[: len(wanted)]
        if self._waiting is not None and len(paired):
            paired = np.concatenate([self._waiting, paired])
            self._waiting = None
        if len(paired) % 2:
            self._waiting = paired[-1:].copy()
        couples = list(zip(paired[0::2], paired[1::2], strict=False))
        with one_opencv_thread(), ThreadPoolExecutor(self._jobs) as pool:
            self._scores += pool.map(lambda couple: ms_ssim_pair(*couple), couples)
        self.seconds += time.perf_counter() - started

    def result(self) -> Result:
        """Mean over the pairs with its standard error; BatchError while pairs are missing."""
        scores = np.array(self._scores)
        if len(scores) != len(self.pairs):
            raise BatchError(f"MS-SSIM was shown {len(scores)} of {len(self.pairs)} pairs")
        return ms_ssim_result(
            self._images, scores, pairs=RANDOM, seed=self._seed, seconds=self.seconds, jobs=self._jobs
        )
