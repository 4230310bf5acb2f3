"""`--dry-run`: what a build would cost, from a few items done for real and thrown away."""

import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from celebahq_tools.config import RunOptions
from celebahq_tools.pipeline.candidates import Candidate, Reject
from celebahq_tools.pipeline.job import Job
from celebahq_tools.pipeline.recipes import open_recipe
from celebahq_tools.pipeline.tasks import Surveyed, render_item, survey_files
from celebahq_tools.pipeline.workers import configure_worker
from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import required_bytes

T = TypeVar("T")

SAMPLE_FILES = 5
SAMPLE_IMAGES = 3
KIB_PER_GIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Expected cost of a build. Images and times are extrapolated from `sampled_files` files.

    files, images    of the source, and items expected to be accepted
    survey_sec       wall time of the survey with `jobs` workers
    render_sec       wall time of the rendering with `jobs` workers
    disk_bytes       size of the output
    free_bytes       free where the output goes
    worker_gib       peak memory of one worker so far, libraries included
    """

    files: int
    images: int
    sampled_files: int
    survey_sec: float
    render_sec: float
    disk_bytes: int
    free_bytes: int
    worker_gib: float
    jobs: int
    rejects: tuple[Reject, ...]


def estimate(job: Job, options: RunOptions, out: Path) -> Estimate:
    """Survey and render a few evenly spaced files in this process; nothing is written."""
    configure_worker()
    config = job.config
    sample = _spread(job.tasks, SAMPLE_FILES)
    listed = [] if job.entries is None else _spread(job.entries, SAMPLE_FILES)
    started = time.perf_counter()
    surveyed: list[Surveyed] = []
    for task in sample:
        surveyed.extend(survey_files(job.spec, [task]))
    survey_sec = (time.perf_counter() - started) / max(1, len(sample))
    items = listed or [item for result in surveyed for item in result.items]
    rejects = tuple(result.reject for result in surveyed if result.reject is not None)
    files = len(job.tasks)
    images = round(len(items) / max(1, len(sample)) * files)
    if job.entries is not None:
        files = images = len(job.entries)
    if config.keep is not None:
        images = min(images, config.keep)
    return Estimate(
        files=files,
        images=images,
        sampled_files=len(listed or sample),
        survey_sec=survey_sec * len(job.tasks) / options.jobs,
        render_sec=_seconds_per_image(job, items) * images / options.jobs,
        disk_bytes=required_bytes(images, config.res) if images else 0,
        free_bytes=shutil.disk_usage(out.parent).free,
        worker_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB,
        jobs=options.jobs,
        rejects=rejects,
    )


def _seconds_per_image(job: Job, items: Sequence[Candidate]) -> float:
    recipe = open_recipe(job.spec)
    times = []
    for item in _spread(items, SAMPLE_IMAGES):
        started = time.perf_counter()
        _filled, image = render_item(recipe, 0, item, scored=job.spec.scored)
        if image is not None:
            build_levels(image)
            times.append(time.perf_counter() - started)
    return sum(times) / len(times) if times else 0.0


def _spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, evenly spaced from the first on."""
    step = max(1, len(items) // count)
    return list(items[::step][:count])
