"""Distances along many directions, of one comparison after the other, in bounded memory.

Directions are taken as many at a time as the memory holds. Two kinds of work alternate in the threads: matrix products,
which project descriptors on directions, and distances of the projections from before. From one small comparison to the
next they overlap: products are few long calls, so that distances, many short ones, do not wait for one another.
Projections lie in blocks of some descriptors, each written by one product.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from math import prod
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from metrics.sliced.blocks import PAD, SIDES, Workspace
from metrics.sliced.distance import Comparison, FoldedComparison, Side
from metrics.threads import one_blas_thread, one_opencv_thread

BLOCK_ROWS = 1 << 14
"""Descriptors per block, about: fixed, so that rounding does not depend on the number of threads."""
BUFFER_BYTES = 2 << 30
"""Memory for projections; decides how many directions go at a time."""
MOST_AT_ONCE = 132
"""Directions at a time: more would spare few readings of the descriptors, and need memory, new one above all."""
TILE_ROWS = 12
"""A multiple of the 6 or 12 directions that make a tile of the products in C; zeros fill up the last tile."""
ROWS_PER_TASK = 4
FLOAT_BYTES = 4

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Step = Callable[[int], None]
"""Called from any thread with the number of descriptors of one direction that was finished."""
Task = Callable[[], None]


class Projections:
    """Memory for the projections of both sides, kept from one call to the next."""

    def __init__(self, limit: int = BUFFER_BYTES) -> None:
        self._limit = limit
        self._memory = [np.empty(0, np.float32), np.empty(0, np.float32)]

    def shape(self, directions: int, rows: int) -> tuple[int, int]:
        """(buffers, directions at a time), by the size of a comparison alone.

        Two buffers, one to be filled while the other is used, for small comparisons, of which many follow one another;
        for large ones that is worth less than memory in which nothing has been written yet costs.
        """
        fit = self._limit // (SIDES * FLOAT_BYTES * rows)
        # As many times as it takes, evenly: a few directions left over would cost a whole pass over the descriptors.
        most = max(1, min(directions, MOST_AT_ONCE, fit))
        times = -(-directions // most)
        at_once = min(most, -(-directions // (times * TILE_ROWS)) * TILE_ROWS)
        return (2 if times == 1 and fit >= 2 * at_once else 1), at_once

    def buffer(self, number: int, at_once: int, rows: int, block: int) -> Float32:
        """Buffer 0 or 1: (blocks, at_once, 2, block) float32 for `rows` descriptors, the last block partly filled."""
        shape = -(-rows // block), at_once, SIDES, block + PAD
        needed = prod(shape)
        if len(self._memory[number]) < needed:
            self._memory[number] = np.empty(0, np.float32)
            self._memory[number] = np.empty(needed, np.float32)
        return self._memory[number][:needed].reshape(shape)[..., :block]


class _Running:
    """A comparison and its distances (D,) as far as they are known."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.result = np.empty(len(comparison.directions))
        self._lock = Lock()
        self._folded: FoldedComparison | None = None

    @property
    def folded(self) -> FoldedComparison:
        """Prepared by the first thread that needs it."""
        with self._lock:
            if self._folded is None:
                self._folded = FoldedComparison(self.comparison)
            return self._folded


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """Some directions of a comparison, start <= number < stop, in buffer `buffer` of `buffers`."""

    running: _Running
    start: int
    stop: int
    buffers: int
    buffer: int
    memory: Projections
    workspace: Workspace
    at_once: int
    step: Step | None

    @property
    def images_per_block(self) -> int:
        """Images whose descriptors make one block."""
        return max(1, BLOCK_ROWS // self.running.comparison.real.store.patches)

    @property
    def values(self) -> Float32:
        """(blocks, directions, 2, block) projections."""
        comparison = self.running.comparison
        block = self.images_per_block * comparison.real.store.patches
        return self.memory.buffer(self.buffer, self.at_once, comparison.rows, block)[:, : self.stop - self.start]

    def prepare(self) -> None:
        """Fold the moments of the comparison, if no other of its batches has done so."""
        _ = self.running.folded

    def products(self) -> list[Task]:
        """Tasks that compute the projections, one block each."""
        running, directions, values, step = (
            self.running,
            slice(self.start, self.stop),
            self.values,
            self.images_per_block,
        )
        side = running.comparison.real

        def task(which: int, number: int) -> None:
            images = slice(number * step, min((number + 1) * step, len(side.slots)))
            out = values[number, :, which, : (images.stop - images.start) * side.store.patches]
            running.folded.project(which, images, directions, out, self.workspace)

        return [partial(task, which, number) for number in range(len(values)) for which in range(SIDES)]

    def distances(self) -> list[Task]:
        """Tasks that turn the projections into distances, a few directions each."""
        running, values = self.running, self.values

        def task(first: int) -> None:
            for row in range(first, min(first + ROWS_PER_TASK, self.stop - self.start)):
                number = self.start + row
                real, fake = values[:, row, 0], values[:, row, 1]
                running.result[number] = running.folded.distance(number, real, fake, self.workspace)
                if self.step is not None:
                    self.step(running.comparison.rows)

        return [partial(task, first) for first in range(0, self.stop - self.start, ROWS_PER_TASK)]


def _batches(running: Sequence[_Running], memory: Projections, workspace: Workspace, step: Step | None) -> list[_Batch]:
    batches: list[_Batch] = []
    for one in running:
        count = len(one.result)
        buffers, at_once = memory.shape(count, one.comparison.rows)
        batches += [
            _Batch(
                running=one,
                start=start,
                stop=min(start + at_once, count),
                buffers=buffers,
                buffer=number % buffers,
                memory=memory,
                workspace=workspace,
                at_once=at_once,
                step=step,
            )
            for number, start in enumerate(range(0, count, at_once), start=len(batches))
        ]
    return batches


def _run(pool: ThreadPoolExecutor, many: list[Task], few: list[Task]) -> None:
    """Run all tasks, the few long ones evenly between the many short ones."""
    share = len(many) // max(1, len(few))
    futures = []
    for number, task in enumerate(few):
        futures.append(pool.submit(task))
        futures += [pool.submit(short) for short in many[number * share : (number + 1) * share]]
    futures += [pool.submit(short) for short in many[len(few) * share :]]
    try:
        for done in wait(futures, return_when=FIRST_EXCEPTION).done:
            done.result()
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise


def all_distances(
    comparisons: Sequence[Comparison],
    *,
    jobs: int = 1,
    native: bool = True,
    projections: Projections | None = None,
    step: Step | None = None,
) -> list[Float64]:
    """Per comparison W1 along each of its directions, of descriptors standardised by each side's moments: (D,).

    Bitwise the same for any `jobs`. `native` takes effect where the loops in C were built; without
    it the last digits may differ.
    """
    running = [_Running(comparison) for comparison in comparisons]
    batches = _batches(running, projections or Projections(), Workspace(native=native), step)
    with one_blas_thread(), one_opencv_thread(), ThreadPoolExecutor(max(1, jobs)) as pool:
        _run(pool, [], batches[0].products() if batches else [])
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            if following is None or (batch.buffers == following.buffers == 2):
                _run(pool, batch.distances(), following.products() if following is not None else [])
            else:
                _run(pool, [following.prepare, *batch.distances()], [])
                _run(pool, [], following.products())
    return [one.result for one in running]


def sliced_distances(
    real: Side,
    fake: Side,
    directions: Float32,
    *,
    jobs: int = 1,
    native: bool = True,
    projections: Projections | None = None,
    step: Step | None = None,
) -> Float64:
    """`all_distances` of one comparison. Raises BatchError for unequal numbers of descriptors."""
    comparison = Comparison(real=real, fake=fake, directions=directions)
    return all_distances([comparison], jobs=jobs, native=native, projections=projections, step=step)[0]
