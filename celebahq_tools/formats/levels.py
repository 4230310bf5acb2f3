"""Whether the coarser levels that a foreign file holds are those that its finest level gives.

An import derives coarser levels anew. Where a file's own differ, a person should know: the pyramid will not be the
file's to the bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import CelebAHQError
from celebahq_tools.pyramid import build_levels

LOOKED_AT = 16
"""Images whose levels are compared, spread evenly over the file."""

ReadLevel = Callable[[int], NDArray[np.uint8]]
"""Image number -> (3, r, r) uint8; raises CelebAHQError."""


@dataclass(slots=True)
class _Unlike:
    """What is found at one level."""

    images: int = 0
    largest: int = 0
    unreadable: str | None = None


def level_notes(count: int, finest: ReadLevel, coarser: Mapping[int, ReadLevel]) -> tuple[str, ...]:
    """A line for each of the levels in `coarser` that is not derived from the finest one.

    count    images in the file
    finest   reads the finest level
    coarser  by resolution, what reads it
    """
    if not coarser:
        return ()
    found = {res: _Unlike() for res in coarser}
    looked = 0
    for number in np.unique(np.linspace(0, count - 1, min(LOOKED_AT, count)).astype(np.int64)).tolist():
        try:
            derived = build_levels(finest(number), min(coarser))
        except (CelebAHQError, ValueError):
            continue  # the import itself says what is wrong with it
        looked += 1
        for res, read in coarser.items():
            _compare(found[res], derived[res], read, number)
    return tuple(_note(res, one, looked) for res, one in sorted(found.items(), reverse=True) if _is_unlike(one))


def _compare(unlike: _Unlike, derived: NDArray[np.uint8], read: ReadLevel, number: int) -> None:
    try:
        stored = read(number)
    except CelebAHQError as error:
        unlike.unreadable = unlike.unreadable or str(error)
        return
    difference = int(np.abs(stored.astype(np.int16) - derived.astype(np.int16)).max())
    unlike.images += difference > 0
    unlike.largest = max(unlike.largest, difference)


def _is_unlike(one: _Unlike) -> bool:
    return one.images > 0 or one.unreadable is not None


def _note(res: int, one: _Unlike, looked: int) -> str:
    if one.unreadable is not None:
        return f"its level {res}x{res} cannot be read and is derived anew: {one.unreadable}"
    return (
        f"its level {res}x{res} is not what its finest level gives (in {one.images} of {looked} images looked at, by "
        f"up to {one.largest} of 255): the pyramid has the derived one; --res {res} takes the stored one as the finest"
    )
