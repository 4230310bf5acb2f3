"""Tasks on worker processes: this machine's through joblib, or a cluster's through joblib's Dask backend."""

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

from celebahq_tools.config import RunOptions
from celebahq_tools.errors import CelebAHQError, MissingDependencyError

T = TypeVar("T")
Task = tuple[Any, ...]

TASKS_AHEAD_PER_WORKER = 2
CONNECT_TIMEOUT_SEC = 20

RETIRED = "A worker stopped while some jobs were given to the executor"
"""joblib's warning when it replaces a worker, for instance one whose memory grew by the libraries it loaded."""


def configure_worker() -> None:
    """One thread for each library in this process.

    The processes are the parallelism, and sums in convolutions depend on the number of threads: one thread
    always is what makes the pixels independent of `--jobs`.
    """
    import cv2

    cv2.setNumThreads(1)


def _call(function: Callable[..., T], task: Task) -> T:
    configure_worker()
    return function(*task)


def run_tasks(function: Callable[..., T], tasks: Iterable[Task], options: RunOptions) -> Iterator[T]:
    """Yield function(*task) for every task as each is finished, in no particular order.

    Only a few tasks per worker are in flight at a time, whatever the number of tasks. Raises CelebAHQError
    when a worker dies, and whatever the function raises.
    """
    if options.jobs == 1 and options.dask is None:
        for task in tasks:
            yield _call(function, task)
        return
    import joblib
    from joblib.externals.loky.process_executor import BrokenProcessPool

    # joblib warns in the thread that manages the workers. Where warnings are errors, that would end the thread, and
    # everybody would wait for ever. Nothing is lost when a worker retires, so there is nothing to warn of.
    warnings.filterwarnings("ignore", message=RETIRED, category=UserWarning)
    with ExitStack() as stack:
        workers = options.jobs
        if options.dask is not None:
            workers = stack.enter_context(_dask_backend(options.dask))
        parallel = joblib.Parallel(
            n_jobs=workers,
            backend=None if options.dask is not None else "loky",
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=TASKS_AHEAD_PER_WORKER * workers,
        )
        results = parallel(joblib.delayed(_call)(function, task) for task in tasks)
        stack.callback(_close_quietly, results)
        try:
            for result in results:  # noqa: UP028 - `yield from` would close `results` loudly
                yield result
        except BrokenProcessPool as error:
            what = str(error).partition(". ")[0]
            raise CelebAHQError(
                f"a worker process died ({what}); if that was for want of memory, run the same command again with "
                "fewer --jobs; what is finished is kept"
            ) from None


def _close_quietly(results: Generator[T, None, None]) -> None:
    """Stop early without joblib's advice about it: an error or an interrupt is why we stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        results.close()


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError(
            "--dask needs the packages dask and distributed: pip install 'celebahq-tools[dask]'"
        ) from None
    client: Any = Client  # has no annotations
    return client(address, timeout=CONNECT_TIMEOUT_SEC)


class _dask_backend:  # noqa: N801 - used as a context manager only
    """Connects to a scheduler and makes it joblib's backend; enters as the number of its worker threads."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stack = ExitStack()

    def __enter__(self) -> int:
        import joblib

        try:
            client = self._stack.enter_context(_client(self._address))
        except (OSError, TimeoutError, ValueError) as error:
            raise CelebAHQError(
                f"--dask {self._address}: no scheduler answers there ({error}); expected tcp://HOST:PORT"
            ) from None
        threads = int(sum(client.nthreads().values()))
        if threads == 0:
            self._stack.close()
            raise CelebAHQError(f"--dask {self._address}: the scheduler has no workers; start some first")
        self._stack.enter_context(joblib.parallel_config(backend="dask"))
        return threads

    def __exit__(self, *details: object) -> None:
        self._stack.close()
