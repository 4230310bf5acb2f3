"""Compiled steps: where numba is installed, and for work that is worth the second or two until they can be used.

Compiled or not decides the last digits of a distance, about the tenth, and nothing of the descriptors. So for distances
it is decided by their amount alone, while feeding begins without and goes on compiled as soon as that is loaded.
"""

import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec

LEAST_WORK = 20_000_000
"""In the units of `work`, from which on compiled steps pay: importing numba and loading them takes about a second."""


@cache
def have_numba() -> bool:
    """Whether numba is installed; does not import it."""
    return find_spec("numba") is not None


def worthwhile(work: int) -> bool:
    """Whether to use compiled steps for an amount of work."""
    return work >= LEAST_WORK and have_numba()


@cache
def loading() -> "Future[bool]":
    """Compiled steps being imported and, the first time on a machine, compiled, in a thread; begun by the first call.

    In one thread before any other uses them: numba would compile the same in several. The result is False, after a
    warning, where numba is installed but does not work, as beside a NumPy that is newer than it knows.
    """
    pool = ThreadPoolExecutor(1, "compiling")
    try:
        return pool.submit(_load)
    finally:
        pool.shutdown(wait=False)


def _load() -> bool:
    try:
        from metrics.sliced.compiled_distance import CompiledDistance
        from metrics.sliced.compiled_patches import CompiledPatchExtractor
    except ImportError as error:
        warnings.warn(f"numba cannot be imported ({error}): measuring goes on, slower, without it", stacklevel=1)
        return False
    CompiledDistance.warm_up()
    CompiledPatchExtractor.warm_up()
    return True
