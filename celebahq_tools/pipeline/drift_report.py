"""How far the restorer moved each picture, kept while a build lasts and reported beside its output."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from celebahq_tools.pipeline.candidates import Candidate
from celebahq_tools.pipeline.journal import JournalWriter, read_journal, write_lines
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.pipeline.tasks import Filled

DRIFT_KIND = "celebahq-build-drift"


class DriftLog:
    """Takes down the drift of each image as it is finished; the file is begun with the first that has one."""

    def __init__(self, paths: BuildPaths, digest: str) -> None:
        self._paths = paths
        self._digest = digest
        self._writer: JournalWriter | None = None

    def add(self, filled: Filled) -> None:
        """Note an image; one that was not restored has no drift and leaves no line."""
        if filled.drift is None or filled.reject is not None:
            return
        if self._writer is None:
            known = read_journal(self._paths.drift_journal, DRIFT_KIND)
            if known is not None and known[0].get("digest") != self._digest:
                self._paths.drift_journal.unlink()
            self._writer = JournalWriter(self._paths.drift_journal, DRIFT_KIND, {"digest": self._digest})
        self._writer.append({"key": filled.key, "drift": filled.drift})

    def close(self) -> None:
        """Sync and close."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def drift_log(paths: BuildPaths, digest: str) -> Iterator[DriftLog]:
    """The log of a build with that digest, continued where there is one."""
    log = DriftLog(paths, digest)
    try:
        yield log
    finally:
        log.close()


def write_drift_report(paths: BuildPaths, chosen: Sequence[Candidate], digest: str) -> None:
    """Write OUT.drift.jsonl, one line per image in slot order, when the build restored.

    An image that was finished in the moment in which an earlier run was killed has no line.
    """
    known = read_journal(paths.drift_journal, DRIFT_KIND)
    if known is None or known[0].get("digest") != digest:
        paths.drift.unlink(missing_ok=True)
        return
    drifts = {line["key"]: line["drift"] for line in known[1]}
    write_lines(paths.drift, ({"key": c.key, "drift": drifts[c.key]} for c in chosen if c.key in drifts))


def read_drift_report(paths: BuildPaths) -> list[float]:
    """The drifts in OUT.drift.jsonl, levels of 255; empty when the build did not restore."""
    if not paths.drift.exists():
        return []
    return [float(json.loads(line)["drift"]) for line in paths.drift.read_text(encoding="utf-8").splitlines()]
