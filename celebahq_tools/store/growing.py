"""Files that grow by whole items, each with a checksum in a journal, so that an export that was killed goes on.

The journal's first line is a JSON header that says what is exported from where. Then, item by item and for every file:
the offset at which the item ends (u64, little endian) and the CRC-32 of its bytes (u32).
"""

import fcntl
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import BusyError, UsageError
from celebahq_tools.store.create import sync_folder
from celebahq_tools.store.schema import PARTIAL_SUFFIX
from celebahq_tools.store.slots import write_fully

JOURNAL_SUFFIX = ".journal"
JOURNAL_KIND, JOURNAL_VERSION = "celebahq-export", 1
RECORD = np.dtype([("end", "<u8"), ("crc", "<u4")])


class GrowingFiles:
    """One or several files `NAME.partial` that take an item at a time; `publish` gives them their names."""

    def __init__(
        self,
        files: Sequence[Path],
        journal: Path,
        *,
        header: Mapping[str, Any],
        start: bytes = b"",
        overwrite: bool = False,
    ) -> None:
        """Go on with what an earlier attempt with the same `header` left, or begin.

        start      what each file begins with
        overwrite  drop what an attempt with another header left

        The items of an earlier attempt are checked against their checksums; what follows the first that is not whole is
        dropped. Raises UsageError when an attempt with another header is there and `overwrite` is not given, BusyError
        when another process is at it.
        """
        self._finals = list(files)
        self._partials = [file.with_name(file.name + PARTIAL_SUFFIX) for file in files]
        self._start = start
        fixed = {
            "kind": JOURNAL_KIND,
            "version": JOURNAL_VERSION,
            "files": [partial.name for partial in self._partials],
        }
        self._header = json.dumps({**fixed, **header}).encode() + b"\n"
        self._row = np.dtype((RECORD, (len(self._finals),)))
        self._records = bytearray()
        self._files: list[int] = []
        self._ends: list[int] = []
        self._journal_path = journal
        self._journal = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock()
            self._records += self._kept(overwrite)
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def done(self) -> int:
        """Items in the files."""
        return len(self._records) // self._row.itemsize

    def ends(self, file: int = 0) -> NDArray[np.int64]:
        """Where the items of a file end, (done,) int64 bytes."""
        records = np.frombuffer(bytes(self._records), RECORD).reshape(-1, len(self._finals))
        return records["end"][:, file].astype(np.int64)

    def partial(self, file: int = 0) -> Path:
        """Where a file is until it is complete."""
        return self._partials[file]

    def append(self, chunks: Sequence[bytes]) -> None:
        """Add an item: its bytes for every file; in the kernel's hands on return. OSError when the disk is full."""
        record = np.zeros(len(chunks), RECORD)
        for number, (file, chunk) in enumerate(zip(self._files, chunks, strict=True)):
            write_fully(file, memoryview(chunk), self._ends[number])
            record[number] = (self._ends[number] + len(chunk), zlib.crc32(chunk))
        write_fully(self._journal, memoryview(record.tobytes()), len(self._header) + len(self._records))
        self._records += record.tobytes()
        self._ends = [int(end) for end in record["end"]]

    def publish(self) -> None:
        """Give the files, complete now, their names, and remove the journal."""
        for file, partial, final in zip(self._files, self._partials, self._finals, strict=True):
            os.fsync(file)
            partial.replace(final)
            sync_folder(final.parent)
        self._journal_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the files and the journal."""
        for partial in self._partials:
            partial.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the files, as they are."""
        for descriptor in [*self._files, self._journal]:
            os.close(descriptor)
        self._files, self._journal = [], -1

    def __enter__(self) -> "GrowingFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"{self._finals[0]}: another process is exporting to it; wait for it, or give another --to"
            ) from None

    def _kept(self, overwrite: bool) -> bytes:
        """The records of the whole items of an earlier attempt."""
        size = os.fstat(self._journal).st_size
        header, newline, records = os.pread(self._journal, size, 0).partition(b"\n")
        if newline and header + newline != self._header and not overwrite:
            raise UsageError(
                f"{self._journal_path}: an unfinished export with other options or of another file is here; repeat its "
                "own command to finish it, give another --to, or use --overwrite to drop it"
            )
        if header + newline != self._header:
            self._remove_others(header)
            return b""
        count = len(records) // self._row.itemsize
        found = np.frombuffer(records[: count * self._row.itemsize], RECORD).reshape(count, len(self._finals))
        places = [self._place(number, found) for number in range(len(self._finals))]
        for number, place in enumerate(places):
            found = found[: _whole_items(place, self._start, found[:, number])]
        for place, partial in zip(places, self._partials, strict=True):
            if place != partial:
                place.replace(partial)
        return found.tobytes()

    def _remove_others(self, header: bytes) -> None:
        """Remove the files that the journal of another export names."""
        try:
            named = json.loads(header)["files"]
        except (ValueError, KeyError, TypeError):
            return
        for name in named:
            if name.endswith(PARTIAL_SUFFIX):
                self._journal_path.with_name(Path(name).name).unlink(missing_ok=True)

    def _place(self, number: int, found: NDArray[np.void]) -> Path:
        """Where a file is: a kill while files got their names leaves some with theirs."""
        partial, final = self._partials[number], self._finals[number]
        renamed = (
            len(found) and not partial.exists() and _whole_items(final, self._start, found[:, number]) == len(found)
        )
        return final if renamed else partial

    def _open(self) -> None:
        """Open the files for the next item; cut off what follows the last one."""
        self._ends = [
            int(self.ends(number)[-1]) if self.done else len(self._start) for number in range(len(self._finals))
        ]
        if not self.done:
            os.ftruncate(self._journal, 0)
            write_fully(self._journal, memoryview(self._header), 0)
        os.ftruncate(self._journal, len(self._header) + len(self._records))
        for partial, end in zip(self._partials, self._ends, strict=True):
            file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._files.append(file)
            write_fully(file, memoryview(self._start), 0)
            os.ftruncate(file, end)


def _whole_items(path: Path, start: bytes, records: NDArray[np.void]) -> int:
    """How many of the first items of a file are as recorded."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(len(start)) != start:
                return 0
            before = len(start)
            for number, (end, crc) in enumerate(records.tolist()):
                if not before <= end <= size or zlib.crc32(file.read(end - before)) != crc:
                    return number
                before = end
    except FileNotFoundError:
        return 0
    return len(records)
