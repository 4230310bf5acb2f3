"""Whether the loops in C (`native/`) are there: they are built at installation where a compiler is found.

With and without them descriptors are the same to the bit, and values to 1e-7 of their size.
"""

import warnings
from functools import cache

VERSION = 3
"""Of the functions in `native/`; a module that was built from other sources is not used."""


@cache
def have_native() -> bool:
    """Whether the module in C was built; warns once if it was built from other sources."""
    try:
        from metrics.sliced import _native
    except ImportError:
        return False
    if _native.VERSION != VERSION:
        warnings.warn(
            f"metrics.sliced._native is version {_native.VERSION}, expected {VERSION}: measuring goes on, slower, "
            "without it; install the package again",
            stacklevel=2,
        )
        return False
    return True
