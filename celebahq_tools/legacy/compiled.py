"""Compilation of the inner loops with numba, where it is installed."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    import numba

    HAVE_NUMBA = True
except ImportError:
    HAVE_NUMBA = False


def compiled(function: Function) -> Function:
    """Compile `function` with numba, keeping the machine code on disk where that is possible.

    No fast-math option is set: LLVM then never contracts a multiplication and an addition, which would change
    the last bit. Without numba the function stays as it is, far too slow to be called.
    """
    if not HAVE_NUMBA:
        return function
    try:
        compiled_function: Function = numba.njit(cache=True, error_model="numpy", nogil=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written to.
        compiled_function = numba.njit(error_model="numpy", nogil=True)(function)
    return compiled_function
