"""Statistics of one set: from the cache, from this machine or from a cluster."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metrics.sliced.accumulator import SwdAccumulator
from metrics.sliced.cache import StatisticsCache
from metrics.sliced.config import SwdConfig
from metrics.sliced.draws import ReferenceDraws
from metrics.sliced.statistics import SwdStatistics
from metrics.sliced.work import Meter, feed_cost
from metrics.sources.base import ImageSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathering:
    """How statistics are computed; nothing here changes them but `config` and `reference`."""

    config: SwdConfig
    jobs: int
    spill: Path | None
    memory: int
    dask: str | None
    reference: ReferenceDraws | None


def gather(
    images: ImageSet,
    numbers: NDArray[np.int64],
    role: str,
    how: Gathering,
    meter: Meter,
    cache: StatisticsCache | None,
) -> SwdStatistics:
    """Statistics of the images `numbers` of a set, in that order.

    The reference protocol is not cached: its draws depend on all that was drawn before.
    """
    keep = cache if how.reference is None else None
    key = keep.key(images, numbers, role, how.config) if keep is not None else ""
    if keep is not None:
        found = keep.load(key, config=how.config, role=role, res=images.res, n=len(numbers))
        if found is not None:
            meter.add(len(numbers) * feed_cost(images.res))
            return found
    with SwdAccumulator(
        res=images.res,
        n=len(numbers),
        role=role,
        config=how.config,
        reference=how.reference,
        jobs=how.jobs,
        spill=how.spill,
        memory=how.memory,
    ) as accumulator:
        _feed(accumulator, images, numbers, role, how, meter)
        statistics = accumulator.finish()
    if keep is not None:
        keep.store(key, statistics)
    return statistics


def _feed(
    accumulator: SwdAccumulator,
    images: ImageSet,
    numbers: NDArray[np.int64],
    role: str,
    how: Gathering,
    meter: Meter,
) -> None:
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal before
        meter.add((done - before) * feed_cost(images.res))
        before = done

    if how.dask is None:
        accumulator.feed_set(images, numbers, progress=progress)
        return
    from metrics.sliced.cluster import feed_from_cluster

    feed_from_cluster(how.dask, accumulator, images, numbers, role, replace(how.config), progress=progress)
