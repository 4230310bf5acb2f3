"""SWD and MS-SSIM as guests of a feature pass: they are shown each batch and give their results afterwards.

The values are those of `metrics swd` and `metrics ms-ssim`: the same draws, pairs and statistics.
"""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError, ImageSetError
from metrics.msssim.measure import CONFIDENCE, PACKAGES, PAPER_PAIRS, RANDOM, choose_pairs
from metrics.msssim.similarity import MIN_SIDE, SIGMA, WEIGHTS, WINDOW, ms_ssim_pair
from metrics.protocol import Interval, Protocol, Result, run_stamp
from metrics.sliced import measure as swd_measure
from metrics.sliced.accumulator import SwdAccumulator
from metrics.sliced.draws import FAKE, REAL
from metrics.sliced.plan import SwdPlan
from metrics.sliced.uncertainty import block_count, block_values, confidence_interval
from metrics.sliced.work import Meter
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


def swd_result(sets: dict[str, ImageSet], guests: dict[str, SwdGuest], plan: SwdPlan, *, jobs: int) -> Result:
    """Sliced Wasserstein distance of what two guests gathered."""
    started = time.perf_counter()
    meter = Meter(plan.work, None)
    reals, fakes = (guests[role].accumulator.finish() for role in (REAL, FAKE))
    floor = swd_measure._floor(plan, reals, jobs, meter) if plan.floor else None
    reals.keep_first(plan.n)
    levels = swd_measure._distances(plan, reals, fakes, None, jobs, meter)
    value = float(np.mean([level.scaled for level in levels]))
    interval, intervals = None, {}
    if blocks := block_count(plan.config, plan.n):
        cut = block_values(reals, fakes, blocks=blocks, jobs=jobs, step=meter.pairs)
        interval = confidence_interval(cut, levels)
        for column, level in enumerate(levels):
            own = confidence_interval(cut[:, [column]], [level])
            intervals[str(level.size)] = [own.low, own.high]
    return Result(
        metric="swd",
        value=value,
        unit="mean over levels, x1e3",
        levels={str(level.size): level.scaled for level in levels},
        interval=interval,
        noise_floor=floor,
        details={"level_intervals": intervals},
        warnings=swd_measure._warnings(plan, value, interval, floor),
        protocol=swd_measure._protocol(plan, dict(sets)),
        run=run_stamp(seconds=time.perf_counter() - started, jobs=jobs, packages=swd_measure.PACKAGES),
    )


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
        value, used = float(scores.mean()), 2 * len(scores)
        warnings, interval, error, spread = [], None, None, None
        if len(scores) > 1:
            from scipy.special import stdtrit

            spread = float(scores.std(ddof=1))
            error = spread / math.sqrt(len(scores))
            reach = float(stdtrit(len(scores) - 1, 0.5 + CONFIDENCE / 2)) * error
            interval = Interval(
                low=value - reach,
                high=value + reach,
                level=CONFIDENCE,
                method="Student t over independent pairs",
                standard_error=error,
            )
        else:
            warnings.append("one pair has no standard error; use more images")
        if len(scores) < PAPER_PAIRS:
            warnings.append(f"{len(scores)} pairs; published values use {PAPER_PAIRS}")
        selection = f"{used} of {self._images.n}, shuffled with seed {self._seed}"
        return Result(
            metric="ms-ssim",
            value=value,
            unit="mean over pairs",
            interval=interval,
            details={"pairs": len(scores), "standard_error": error, "std_over_pairs": spread},
            warnings=tuple(warnings),
            protocol=Protocol(
                metric="ms-ssim",
                name="default",
                settings={
                    "pairs": len(scores),
                    "pairing": RANDOM,
                    "weights": list(WEIGHTS),
                    "window": WINDOW,
                    "sigma": SIGMA,
                    "channels": "averaged before the product",
                },
                sets={"set": self._images.stamp(used=used, selection=selection)},
                seed=self._seed,
            ),
            run=run_stamp(seconds=self.seconds, jobs=self._jobs, packages=PACKAGES),
        )
