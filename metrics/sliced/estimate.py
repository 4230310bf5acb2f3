"""What a measurement will take, for `--dry-run`: a few images are measured, the rest is arithmetic."""

import time
from dataclasses import asdict, dataclass

import numpy as np

from metrics.protocol import Json
from metrics.sliced.accumulator import MEMORY_BYTES, SwdAccumulator
from metrics.sliced.config import DESCRIPTOR_VALUES, SwdConfig, level_sizes
from metrics.sliced.distance import Moments, Side
from metrics.sliced.draws import REAL, ReferenceDraws, keyed_directions
from metrics.sliced.plan import SwdPlan
from metrics.sliced.projections import BLOCK_ROWS, Projections, sliced_distances
from metrics.sliced.store import ROW_BYTES, DescriptorStore
from metrics.sources.base import ImageSet

PROBE_IMAGES = 8
PROBE_ROWS = 1 << 16
PROBE_DIRECTIONS = 16
BASE_BYTES = 200 << 20
"""Interpreter, NumPy, OpenCV, HDF5."""
THREAD_BYTES_PER_PIXEL = 10 * 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Seconds, peak memory and temporary disk space of a measurement."""

    seconds: float
    memory_bytes: int
    disk_bytes: int


def estimate_swd(real: ImageSet, fake: ImageSet | None, plan: SwdPlan, *, jobs: int) -> Estimate:
    """Time by a probe of this machine and these sets (about a second), memory and disk by arithmetic."""
    seconds = sum(
        len(numbers) * _feed_seconds(images, plan.config, jobs)
        for images, numbers in zip((real, fake), plan.numbers.values(), strict=False)
        if images is not None
    )
    seconds += plan.pairs * _pair_seconds(plan.config, jobs)
    return Estimate(seconds=seconds, memory_bytes=_memory(plan, jobs), disk_bytes=_disk(plan))


def plan_json(plan: SwdPlan, estimate: Estimate, *, jobs: int) -> dict[str, Json]:
    """What `--dry-run` prints: the resolved configuration and the estimates."""
    return {
        "metric": "swd-floor" if plan.alone else "swd",
        "n": plan.n,
        "res": plan.res,
        "levels": list(level_sizes(plan.res)),
        "images_read": {role: len(numbers) for role, numbers in plan.numbers.items()},
        "config": asdict(plan.config),
        "jobs": jobs,
        "seconds": round(estimate.seconds, 1),
        "memory_bytes": estimate.memory_bytes,
        "disk_bytes": estimate.disk_bytes,
    }


def _feed_seconds(images: ImageSet, config: SwdConfig, jobs: int) -> float:
    """Seconds per image, reading included."""
    count = min(PROBE_IMAGES, images.n)
    numbers = np.linspace(0, images.n - 1, count).astype(np.int64)
    reference = ReferenceDraws(config, level_sizes(images.res)) if config.is_reference else None
    with SwdAccumulator(
        res=images.res, n=2 * count, role=REAL, config=config, reference=reference, jobs=jobs
    ) as accumulator:
        accumulator.feed_set(images, numbers)
        started = time.perf_counter()
        accumulator.feed_set(images, numbers)
        seconds = time.perf_counter() - started
        accumulator.close()
    return seconds / count


def _pair_seconds(config: SwdConfig, jobs: int) -> float:
    """Seconds per (descriptor, direction) pair."""
    shape = PROBE_ROWS // config.patches, DESCRIPTOR_VALUES, config.patches
    store = DescriptorStore(shape[0], config.patches, None)
    store.write(0, np.random.default_rng(0).standard_normal(shape, np.float32))
    side = Side(
        store=store,
        moments=Moments(mean=np.zeros(3), std=np.ones(3)),
        slots=np.arange(shape[0]),
    )
    directions = keyed_directions(config, 16)[:PROBE_DIRECTIONS]
    sliced_distances(side, side, directions, jobs=jobs)
    started = time.perf_counter()
    sliced_distances(side, side, directions, jobs=jobs)
    return (time.perf_counter() - started) / (side.rows * len(directions))


def _set_bytes(plan: SwdPlan, images: int) -> int:
    return images * plan.config.patches * ROW_BYTES * len(level_sizes(plan.res))


def _memory(plan: SwdPlan, jobs: int) -> int:
    config = plan.config
    rows = plan.n * config.patches
    held = sum(size for size in _sets(plan) if size <= MEMORY_BYTES)
    buffers, at_once = Projections().shape(config.all_directions, rows)
    projections = 2 * 4 * rows * buffers * at_once
    threads = jobs * (plan.res**2 * THREAD_BYTES_PER_PIXEL + 2 * BLOCK_ROWS * ROW_BYTES)
    moments = 2 * rows * ROW_BYTES if config.is_reference else 0
    return BASE_BYTES + held + threads + max(projections, moments)


def _disk(plan: SwdPlan) -> int:
    return sum(size for size in _sets(plan) if size > MEMORY_BYTES)


def _sets(plan: SwdPlan) -> list[int]:
    """Bytes of descriptors of each set; what only the floor uses is gone before the fakes are read."""
    first, *rest = (len(numbers) for numbers in plan.numbers.values())
    if not rest:
        return [_set_bytes(plan, first)]
    if first > plan.n and 2 * plan.n >= first:
        return [_set_bytes(plan, plan.n), _set_bytes(plan, plan.n)]
    return [_set_bytes(plan, first), *(_set_bytes(plan, count) for count in rest)]
