"""Compilation with numba, which has to be installed.

Importing numba takes half a second, compiling some seconds, once on a machine. Machine code on disk is renewed when the
function's own file changes: compiled functions call only compiled functions of their own file, and of what other
files define, they take constants only that follow from the metric's definition; the rest is an argument.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile `function`, keeping the machine code on disk where that is possible.

    Without fast-math options: LLVM changes no order of additions and does not contract multiplications and additions.
    """
    machine_code: Any
    try:
        machine_code = numba.njit(cache=True, error_model="numpy", nogil=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written to.
        machine_code = numba.njit(error_model="numpy", nogil=True)(function)
    return cast(Function, machine_code)
