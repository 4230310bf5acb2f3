"""The descriptors of a set computed by the workers of a Dask cluster, equal to those of one machine.

Every worker opens the set by its path (which must be visible to it) and sends back the descriptors and sums of
a few images at a time; draws are keyed by image, so it does not matter who computes which.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.errors import MissingDependencyError, UsageError
from metrics.sliced.accumulator import SwdAccumulator
from metrics.sliced.config import SwdConfig
from metrics.sources.base import ImageSet

TASK_IMAGES = 32
"""Images per task: 17 MB of descriptors at seven levels."""
CONNECT_TIMEOUT = "20s"
TASKS_PER_THREAD = 2
"""Tasks in flight per worker thread, which bounds what waits in memory."""

Part = tuple[dict[int, NDArray[np.float32]], dict[int, NDArray[np.float64]]]


def compute_part(
    source: tuple[str, int | None, str | None], numbers: NDArray[np.int64], role: str, config: SwdConfig
) -> Part:
    """On a worker: descriptors and sums per level of the images `numbers` of the set at `source`."""
    from metrics.sources import open_image_set

    path, res, resizer = source
    with (
        open_image_set(path, res=res, resizer=resizer) as images,
        SwdAccumulator(res=images.res, n=len(numbers), role=role, config=config) as accumulator,
    ):
        accumulator.feed_set(images, numbers)
        part = accumulator.finish()
    everything = np.arange(part.n)
    return {size: np.array(store.read(everything)) for size, store in part.stores.items()}, part.sums


def feed_from_cluster(
    address: str,
    accumulator: SwdAccumulator,
    images: ImageSet,
    numbers: NDArray[np.int64],
    role: str,
    config: SwdConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill an accumulator with the images `numbers`, computed by the cluster at `address`.

    Raises UsageError for the reference protocol (its draws are one sequence) and for sets without a path.
    """
    if config.is_reference:
        raise UsageError("the reference protocol draws in one sequence and cannot be spread over a cluster")
    source = images.reopen
    if source is None:
        raise UsageError(f"{images.label} has no path that workers could open; store it as a file")
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise MissingDependencyError(
            "--dask needs the package distributed: pip install 'celebahq-tools[dask]'"
        ) from None
    try:
        client: Any = Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {address}: {error}") from None
    starts = iter(range(0, len(numbers), TASK_IMAGES))
    with client:
        threads = sum(client.nthreads().values())
        if threads == 0:
            raise UsageError(f"the Dask cluster at {address} has no workers")
        begun: dict[Any, int] = {}

        def submit() -> list[Any]:
            """At most one more task."""
            start = next(starts, None)
            if start is None:
                return []
            chosen = numbers[start : start + TASK_IMAGES]
            future = client.submit(compute_part, source, chosen, role, config, pure=False)
            begun[future] = start
            return [future]

        first = [future for _ in range(TASKS_PER_THREAD * threads) for future in submit()]
        running: Any = as_completed(first, loop=client.loop)  # type: ignore[no-untyped-call]
        for future in running:
            descriptors, sums = future.result()
            start = begun.pop(future)
            accumulator.add_part(start, numbers[start : start + TASK_IMAGES], descriptors, sums)
            for following in submit():
                running.add(following)
            if progress is not None:
                progress(accumulator.done, len(numbers))
