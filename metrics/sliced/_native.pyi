from typing import Any

from numpy.typing import NDArray

VERSION: int

Array = NDArray[Any]

def halve(planes: Array, out: Array, again: Array | None, /) -> None: ...
def cut(planes: Array, corners: Array, coarse: Array | None, transposed: bool, out: Array, /) -> None: ...
def sum_channels(patches: Array, out: Array, /) -> None: ...
def count(
    real: Array,
    fake: Array,
    rows: int,
    real_shift: float,
    fake_shift: float,
    counts: Array,
    signs: Array,
    turns: Array,
    /,
) -> tuple[int, int, int]: ...
def collect(
    real: Array,
    fake: Array,
    rows: int,
    real_shift: float,
    fake_shift: float,
    signs: Array,
    turns: Array,
    found: int,
    rest: Array,
    /,
) -> tuple[int, int, int]: ...
def project(directions: Array, descriptors: Array, out: Array, /) -> None: ...
