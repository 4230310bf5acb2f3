"""Append-only JSON-lines files that survive a kill at any byte.

Line 1 is a header with the kind, the version and the digest of what the file belongs to. A last line without its
newline is what a kill leaves; it is cut off when the file is opened again.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from celebahq_tools.errors import FormatError
from celebahq_tools.store.create import disk_errors
from celebahq_tools.store.slots import write_fully

JOURNAL_VERSION = 1
SYNC_INTERVAL_SEC = 2.0

Line = dict[str, Any]


def read_journal(path: Path, kind: str) -> tuple[Line, list[Line]] | None:
    """Header and complete lines of a journal, or None if there is none (or only a torn header).

    Raises FormatError for a file of another kind or version, or with a damaged line before the last.
    """
    if not path.exists():
        return None
    complete, newline, _torn = path.read_bytes().rpartition(b"\n")
    if not newline:
        return None
    lines: list[Line] = []
    for number, text in enumerate(complete.split(b"\n"), start=1):
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise FormatError(f"{path}, line {number}: not a JSON object; the file is damaged: delete it to begin anew")
        lines.append(value)
    header = lines[0]
    if header.get("kind") != kind or header.get("version") != JOURNAL_VERSION:
        raise FormatError(
            f"{path}: expected a {kind} of version {JOURNAL_VERSION}, "
            f"found {header.get('kind')!r} of version {header.get('version')!r}; delete it to begin anew"
        )
    return header, lines[1:]


class JournalWriter:
    """Appends lines to a journal, whole lines only; every line is in the kernel's hands when `append` returns."""

    def __init__(self, path: Path, kind: str, header: Mapping[str, Any]) -> None:
        """Continue the journal at `path`, or begin one with `header`."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._size = self._cut_torn_line()
        self._synced_at = time.monotonic()
        if self._size == 0:
            self.append({"kind": kind, "version": JOURNAL_VERSION, **header})

    def _cut_torn_line(self) -> int:
        size = os.fstat(self._descriptor).st_size
        data = os.pread(self._descriptor, size, 0) if size else b""
        whole = data.rfind(b"\n") + 1
        os.ftruncate(self._descriptor, whole)
        return whole

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line. Raises DiskSpaceError when the disk is full; the journal then ends at the line before."""
        data = json.dumps(line, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        try:
            with disk_errors(self.path):
                write_fully(self._descriptor, memoryview(data), self._size)
        except BaseException:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    @property
    def sync_is_due(self) -> bool:
        """Whether the last sync is longer ago than the interval."""
        return time.monotonic() - self._synced_at >= SYNC_INTERVAL_SEC

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        os.fdatasync(self._descriptor)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._descriptor)

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_lines(path: Path, lines: Iterator[Mapping[str, Any]]) -> int:
    """Write a plain JSON-lines file whole or not at all; returns how many lines."""
    partial = path.with_name(path.name + ".partial")
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=True) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return count
