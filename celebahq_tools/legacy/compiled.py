"""Compilation of the inner loops with numba, where it is installed.

The machine code kept on disk is renewed when the function's own file changes, not when that of a function it
calls does: so compiled functions call only compiled functions of their own file.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

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
    return _compile(function, set())


def compiled_estimate(function: Function) -> Function:
    """Compile `function`, allowing fused multiply-add.

    Only for values whose error is bounded and whose caller computes again, exactly, whatever the bound leaves
    open.
    """
    return _compile(function, {"contract"})


def _compile(function: Function, fastmath: set[str]) -> Function:
    if not HAVE_NUMBA:
        return function
    machine_code: Any
    try:
        machine_code = numba.njit(cache=True, fastmath=fastmath, error_model="numpy", nogil=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written to.
        machine_code = numba.njit(fastmath=fastmath, error_model="numpy", nogil=True)(function)
    return cast(Function, machine_code)
