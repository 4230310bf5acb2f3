"""Bring the slots of a shard into the file they belong to.

A shard is an ordinary pyramid file made with `create_pyramid` for some of the rows: machines that share a
folder can write one each, where writing into one file from several machines would not be safe (network file
systems cache whole pages, and small levels share pages).
"""

import hashlib
import os
from collections.abc import Callable, Sequence

from celebahq_tools.errors import FormatError
from celebahq_tools.store.reader import PyramidReader
from celebahq_tools.store.slots import SlotWriter

ProgressFn = Callable[[int, int], None]


def join_shard(
    shard: str | os.PathLike[str],
    writer: SlotWriter,
    slots: Sequence[int],
    progress: ProgressFn | None = None,
) -> list[int]:
    """Copy image k of `shard` (may be a `.partial` one) into slot slots[k]: all levels and its quality.

    Returns the slots that were copied; images the shard never received are left out. Call `writer.sync()`
    before the shard is removed. Raises FormatError when an image does not match its checksum, ValueError when
    `slots` has another length or the levels differ.
    """
    copied: list[int] = []
    with PyramidReader(shard, allow_partial=True) as reader:
        if len(slots) != len(reader):
            raise ValueError(f"{len(slots)} slots for the {len(reader)} images of {reader.path}")
        for k, slot in enumerate(slots):
            row = reader.index.row(k)
            if row.sha256 is not None:
                levels = {res: reader.read(k, res) for res in reader.levels}
                if hashlib.sha256(levels[reader.resolution].data).hexdigest() != row.sha256:
                    raise FormatError(f"{reader.path}: image {k} does not match its sha256; write it again")
                writer.write_levels(slot, levels, quality=row.quality)
                copied.append(slot)
            if progress is not None:
                progress(k + 1, len(reader))
    return copied
