"""Pieces of a pyramid that the workers of a cluster write to a shared disk, one file per range of slots.

A shard file holds the images of its slots one after the other, finest level only, (3, R, R) uint8 each, at the
place of their slot; its journal says which of them are finished. Joining recomputes the coarser levels, which
are a function of the finest.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celebahq_tools.errors import CelebAHQError, FormatError
from celebahq_tools.pipeline.candidates import Candidate, Reject
from celebahq_tools.pipeline.journal import JournalWriter, Line, read_journal
from celebahq_tools.pipeline.recipes import RecipeSpec, open_recipe
from celebahq_tools.pipeline.tasks import Filled, render_item
from celebahq_tools.store import SlotWriter
from celebahq_tools.store.create import disk_errors
from celebahq_tools.store.slots import write_fully

SHARD_KIND = "celebahq-build-shard"
SHARDS_PER_BUILD = 64
MAX_SHARD_BYTES = 256 << 20
CHANNELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The slots [start, stop) of the build with plan digest `plan`, of which `work` are to be filled."""

    plan: str
    start: int
    stop: int
    res: int
    data: Path
    journal: Path
    work: tuple[tuple[int, Candidate], ...]

    @property
    def image_bytes(self) -> int:
        """Bytes of one slot."""
        return CHANNELS * self.res * self.res


def shard_plan(work: Sequence[tuple[int, Candidate]], total: int, res: int, folder: Path, plan: str) -> list[Shard]:
    """Cut the slots 0..total into shards of fixed ranges, leaving out those with nothing to do."""
    size = min(-(-total // SHARDS_PER_BUILD), max(1, MAX_SHARD_BYTES // (CHANNELS * res * res)))
    shards = []
    for start in range(0, total, size):
        stop = min(start + size, total)
        inside = tuple((slot, candidate) for slot, candidate in work if start <= slot < stop)
        if inside:
            name = f"{start:06d}-{stop:06d}"
            shards.append(
                Shard(
                    plan=plan,
                    start=start,
                    stop=stop,
                    res=res,
                    data=folder / f"{name}.bin",
                    journal=folder / f"{name}.jsonl",
                    work=inside,
                )
            )
    return shards


def render_shard(spec: RecipeSpec, shard: Shard) -> Shard:
    """Render a shard on a cluster worker, going on where a killed one stopped.

    Raises CelebAHQError when the folder is not there: the disk is not shared with the machine that builds.
    """
    if not shard.data.parent.is_dir():
        raise CelebAHQError(
            f"{shard.data.parent} is not there on a worker: --dask needs the source and --out on a disk that all "
            "workers share under the same path"
        )
    recipe = open_recipe(spec)
    finished = {result.slot for result in _finished(shard)}
    descriptor = os.open(shard.data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with JournalWriter(shard.journal, SHARD_KIND, {"plan": shard.plan}) as journal:
            for slot, candidate in shard.work:
                if slot in finished:
                    continue
                filled, image = render_item(recipe, slot, candidate, scored=spec.scored)
                if image is not None:
                    with disk_errors(shard.data):
                        write_fully(descriptor, image.reshape(-1).data, _offset(shard, slot))
                journal.append(dataclasses.asdict(filled))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    return shard


def join_shard(shard: Shard, writer: SlotWriter) -> Iterator[Filled]:
    """Copy a finished shard into its slots, then remove it. Raises FormatError if its bytes have changed."""
    wanted = {slot for slot, _candidate in shard.work}
    with shard.data.open("rb") as data:
        for filled in _finished(shard):
            if filled.slot not in wanted:
                continue  # joined before the building process was killed
            if filled.reject is None:
                data.seek(_offset(shard, filled.slot))
                image = np.frombuffer(data.read(shard.image_bytes), np.uint8)
                if hashlib.sha256(image.data).hexdigest() != filled.sha256:
                    raise FormatError(
                        f"{shard.data}: slot {filled.slot} is not what its worker wrote; delete {shard.data.parent} "
                        "and run the same command again"
                    )
                writer.write(filled.slot, image.reshape(CHANNELS, shard.res, shard.res), quality=filled.quality)
            yield filled
    shard.journal.unlink()
    shard.data.unlink()


def _offset(shard: Shard, slot: int) -> int:
    return (slot - shard.start) * shard.image_bytes


def _finished(shard: Shard) -> list[Filled]:
    """What the journal of a shard says is done; a shard of an older plan is removed."""
    found = read_journal(shard.journal, SHARD_KIND)
    if found is None:
        return []
    header, lines = found
    if header.get("plan") != shard.plan:
        shard.journal.unlink()
        shard.data.unlink(missing_ok=True)
        return []
    return [_filled(line) for line in lines]


def _filled(line: Line) -> Filled:
    reject = line["reject"]
    return Filled(
        slot=line["slot"],
        key=line["key"],
        sha256=line["sha256"],
        quality=line["quality"],
        drift=line.get("drift"),
        reject=None if reject is None else Reject(**reject),
    )
