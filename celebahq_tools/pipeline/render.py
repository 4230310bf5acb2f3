"""Second pass: fill every empty slot of the partial pyramid, here or on a cluster."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from celebahq_tools.config import RunOptions
from celebahq_tools.errors import DiskSpaceError
from celebahq_tools.pipeline.candidates import Candidate, Reject
from celebahq_tools.pipeline.drift_report import drift_log
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.pipeline.recipes import RecipeSpec
from celebahq_tools.pipeline.shards import Shard, join_shard, render_shard, shard_plan
from celebahq_tools.pipeline.survey import StageProgress, refuse_if_strict
from celebahq_tools.pipeline.tasks import Filled, chunks, fill_slots, items_per_task
from celebahq_tools.pipeline.workers import run_tasks
from celebahq_tools.store import SlotWriter

RENDER = "render"
SYNC_INTERVAL_SEC = 2.0


def render(
    spec: RecipeSpec,
    chosen: Sequence[Candidate],
    options: RunOptions,
    paths: BuildPaths,
    plan: str,
    digest: str,
    progress: StageProgress,
) -> list[Reject]:
    """Render the items whose slots are empty; `plan` is the digest of `chosen`, `digest` that of the job.

    Returns those that could not be rendered (late rejects).

    Raises CelebAHQError at the first of them when `options.strict` is set, DiskSpaceError when the disk is full.
    """
    with SlotWriter(paths.partial) as writer:
        empty = writer.empty_slots().tolist()
        done = len(chosen) - len(empty)
        progress(RENDER, done, len(chosen))
        if options.dask is None:
            results = _here(spec, writer, chosen, empty, options)
        else:
            work = [(slot, chosen[slot]) for slot in empty]
            shards = shard_plan(work, len(chosen), spec.config.res, paths.shards, plan)
            results = _on_cluster(spec, writer, shards, options, paths)
        rejects: list[Reject] = []
        with synced_in_background(paths.partial), drift_log(paths, digest) as log:
            for result in results:
                done += 1
                progress(RENDER, done, len(chosen))
                log.add(result)
                if result.reject is not None:
                    rejects.append(result.reject)
                    refuse_if_strict([result.reject], options)
    return rejects


@contextmanager
def synced_in_background(path: Path) -> Iterator[None]:
    """Bring what is written to the file to the disk every few seconds, and once more at the end.

    A power cut then loses seconds of work, and nobody waits at the end for the whole file to be written out.
    Raises DiskSpaceError or OSError when the disk did not take what was written.
    """
    stop = threading.Event()
    failures: list[Exception] = []

    def sync() -> None:
        with SlotWriter(path) as writer:
            while not failures and not stop.wait(SYNC_INTERVAL_SEC):
                try:
                    writer.sync()
                except (OSError, DiskSpaceError) as error:
                    failures.append(error)

    thread = threading.Thread(target=sync, name="sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
    with SlotWriter(path) as writer:
        writer.sync()


def _here(
    spec: RecipeSpec, writer: SlotWriter, chosen: Sequence[Candidate], empty: Sequence[int], options: RunOptions
) -> Iterator[Filled]:
    """Worker processes write into the partial file themselves."""
    tasks = (
        (spec, writer, [(slot, chosen[slot]) for slot in slots]) for slots in chunks(empty, items_per_task(spec.config))
    )
    for results in run_tasks(fill_slots, tasks, options):
        yield from results


def _on_cluster(
    spec: RecipeSpec, writer: SlotWriter, shards: Sequence[Shard], options: RunOptions, paths: BuildPaths
) -> Iterator[Filled]:
    """Cluster workers write shards on the shared disk; only their names come back, and are joined here."""
    paths.shards.mkdir(exist_ok=True)
    for shard in run_tasks(render_shard, ((spec, shard) for shard in shards), options):
        yield from join_shard(shard, writer)
