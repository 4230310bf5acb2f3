"""Check a pyramid file: the checksum of every image, and every level against the finest one."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celebahq_tools.errors import FormatError
from celebahq_tools.pyramid import build_levels, check_levels
from celebahq_tools.store import schema
from celebahq_tools.store.reader import PyramidReader
from celebahq_tools.store.workers import ordered_map

ProgressFn = Callable[[int, int], None]

BATCH_BYTES = 1 << 20
"""Small images are checked together, up to this many bytes of their finest level."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadImage:
    """One image that is not what it should be. `key` is None in files without an index."""

    slot: int
    key: str | None
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What `verify_pyramid` found. `checksums` is False for files without any: only levels were checked."""

    path: Path
    num_images: int
    levels: tuple[int, ...]
    checksums: bool
    bad: tuple[BadImage, ...]

    @property
    def ok(self) -> bool:
        """Whether every image is sound."""
        return not self.bad


def verify_pyramid(
    path: str | os.PathLike[str],
    progress: ProgressFn | None = None,
    *,
    jobs: int = 1,
    allow_partial: bool = False,
) -> VerifyReport:
    """Read the whole file: sha256 of every image against the index, all levels against recomputed ones.

    Bad images are reported, not raised; a file that cannot be opened raises what `read_layout` raises.
    `jobs` threads share the work. `allow_partial` accepts a `.partial` file, whose empty slots are bad
    images.
    """
    with PyramidReader(path, allow_partial=allow_partial) as reader:
        checksums = reader.has_index
        bad: list[BadImage] = []
        size = max(1, BATCH_BYTES // schema.image_bytes(reader.resolution))
        batches = (range(start, min(start + size, len(reader))) for start in range(0, len(reader), size))
        slot = 0
        for problems in ordered_map(lambda slots: _problems(reader, slots), batches, jobs=jobs):
            for problem in problems:
                if problem is not None:
                    key = str(reader.index.key[slot]) if checksums else None
                    bad.append(BadImage(slot=slot, key=key, problem=problem))
                slot += 1
                if progress is not None:
                    progress(slot, len(reader))
        return VerifyReport(
            path=reader.path,
            num_images=len(reader),
            levels=reader.levels,
            checksums=checksums,
            bad=tuple(bad),
        )


def _problems(reader: PyramidReader, slots: range) -> list[str | None]:
    """What is wrong with each of a few neighbours; one by one only where they are not sound as a whole."""
    if len(slots) > 1 and _all_sound(reader, slice(slots.start, slots.stop)):
        return [None] * len(slots)
    return [_problem(reader, slot) for slot in slots]


def _all_sound(reader: PyramidReader, slots: slice) -> bool:
    try:
        levels = {res: reader.read(slots, res) for res in reader.levels}
    except FormatError:
        return False
    finest = levels[reader.resolution]
    if reader.has_index:
        digests = b"".join(hashlib.sha256(image.data).digest() for image in finest)
        if digests != reader.index.sha256[slots].tobytes():
            return False
    expected = build_levels(finest, min(levels))
    return all(np.array_equal(levels[res], expected[res]) for res in levels)


def _problem(reader: PyramidReader, slot: int) -> str | None:
    """What is wrong with one image, in a few words, or None."""
    expected = reader.index.sha256[slot].tobytes() if reader.has_index else None
    if expected is not None and not any(expected):
        return "never written"
    try:
        levels = {res: reader.read(slot, res) for res in reader.levels}
    except FormatError as error:
        return f"cannot be read ({error})"
    if expected is not None and hashlib.sha256(levels[reader.resolution].data).digest() != expected:
        return "pixels do not match their sha256"
    differing = check_levels(levels)
    if differing:
        return "level " + ", ".join(map(str, differing)) + " does not follow from the finest one"
    return None
