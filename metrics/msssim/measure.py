"""Mean MS-SSIM of random pairs of one set, with its standard error."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError, UsageError
from metrics.msssim.similarity import MIN_SIDE, SIGMA, WEIGHTS, WINDOW, ms_ssim_pair
from metrics.protocol import Interval, Json, Protocol, Result, run_stamp
from metrics.sliced.draws import keyed_generator
from metrics.sources.base import ImageSet
from metrics.threads import one_opencv_thread

RANDOM, ADJACENT = "random", "adjacent"
PAIRINGS = (RANDOM, ADJACENT)
PAPER_PAIRS = 10_000
CONFIDENCE = 0.95
CHUNK = 64
PACKAGES = ("numpy", "opencv-python-headless", "scipy", "pillow", "h5py")

Progress = Callable[[int, int], None]


def choose_pairs(available: int, *, n: int | None, pairs: str, seed: int) -> NDArray[np.int64]:
    """Image numbers of the pairs: (n // 2, 2) int64, every image in one pair at most.

    'random': images 2i and 2i + 1 of the shuffled set, as in the paper; 'adjacent': of the set as it lies.
    n None: the paper's 20,000 images, or all there are if fewer.
    """
    if pairs not in PAIRINGS:
        raise UsageError(f"pairs is {pairs!r}, expected one of {', '.join(PAIRINGS)}")
    if n is not None and n > available:
        raise ImageSetError(f"the set has {available} images, asked for {n}; ask for at most {available}")
    if n is not None and (n < 2 or n % 2):
        raise UsageError(f"n is {n}; pairs need an even number of at least 2 images")
    count = min(2 * PAPER_PAIRS, available - available % 2) if n is None else n
    if count < 2:
        raise ImageSetError(f"the set has {available} images; a pair needs 2")
    order = np.arange(available)
    if pairs == RANDOM:
        order = keyed_generator(seed, "pairs", 0).permutation(available)
    return order[:count].reshape(-1, 2)


def pair_scores(
    images: ImageSet, pairs: NDArray[np.int64], *, jobs: int = 1, progress: Progress | None = None
) -> NDArray[np.float64]:
    """MS-SSIM of every pair (P, 2) of image numbers: (P,) float64, the same for any `jobs`."""
    scores = np.empty(len(pairs))

    def one(index: int) -> None:
        first, second = images.read(pairs[index])
        scores[index] = ms_ssim_pair(first, second)

    with one_opencv_thread(), ThreadPoolExecutor(max(1, jobs if images.threads else 1)) as pool:
        for start in range(0, len(pairs), CHUNK):
            stop = min(start + CHUNK, len(pairs))
            list(pool.map(one, range(start, stop)))
            if progress is not None:
                progress(stop, len(pairs))
    return scores


def measure_ms_ssim(
    images: ImageSet,
    *,
    n: int | None = None,
    pairs: str = RANDOM,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Result:
    """Mean MS-SSIM over disjoint pairs of a set; lower is more varied.

    The pairs are independent, so the standard error is their standard deviation over the root of their number.
    """
    started = time.perf_counter()
    if images.res < MIN_SIDE:
        raise ImageSetError(f"{images.label} has {images.res} pixels; MS-SSIM needs at least {MIN_SIDE}")
    chosen = choose_pairs(images.n, n=n, pairs=pairs, seed=seed)
    scores = pair_scores(images, chosen, jobs=jobs, progress=progress)
    seconds = time.perf_counter() - started
    return ms_ssim_result(images, scores, pairs=pairs, seed=seed, seconds=seconds, jobs=jobs)


def ms_ssim_result(
    images: ImageSet, scores: NDArray[np.float64], *, pairs: str, seed: int, seconds: float, jobs: int
) -> Result:
    """The result of `measure_ms_ssim` from the scores (P,) of pairs chosen by `choose_pairs`."""
    value, warnings = float(scores.mean()), []
    interval, error, spread = None, None, None
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
    used = 2 * len(scores)
    where = f"shuffled with seed {seed}" if pairs == RANDOM else "in order"
    settings: dict[str, Json] = {
        "pairs": len(scores),
        "pairing": pairs,
        "weights": list(WEIGHTS),
        "window": WINDOW,
        "sigma": SIGMA,
        "channels": "averaged before the product",
    }
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
            settings=settings,
            sets={"set": images.stamp(used=used, selection=f"{used} of {images.n}, {where}")},
            seed=seed,
        ),
        run=run_stamp(seconds=seconds, jobs=jobs, packages=PACKAGES),
    )


PROBE_PAIRS = 4
PAIR_BYTES_PER_PIXEL = 64
BASE_BYTES = 200 << 20


def estimate_ms_ssim(images: ImageSet, *, n: int | None, pairs: str, seed: int, jobs: int) -> dict[str, Json]:
    """What `--dry-run` prints: time by a probe of a few pairs, memory by arithmetic."""
    chosen = choose_pairs(images.n, n=n, pairs=pairs, seed=seed)
    probe = chosen[: max(PROBE_PAIRS, jobs)]
    pair_scores(images, probe[:1], jobs=jobs)
    started = time.perf_counter()
    pair_scores(images, probe, jobs=jobs)
    seconds = (time.perf_counter() - started) / len(probe) * len(chosen)
    return {
        "metric": "ms-ssim",
        "pairs": len(chosen),
        "pairing": pairs,
        "seed": seed,
        "res": images.res,
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "memory_bytes": BASE_BYTES + jobs * images.res**2 * PAIR_BYTES_PER_PIXEL,
        "disk_bytes": 0,
    }
