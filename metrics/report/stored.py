"""Results as they lie in files, checked so far as a report relies on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.errors import ReportError
from metrics.protocol import SCHEMA, SCHEMA_VERSION
from metrics.report.reading import mapping, number


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredResult:
    """One result of `metrics` and where it was found.

    file    as it was named
    sha256  of the file
    plain   the JSON object; `metric`, `value` and `protocol.sets` are there
    run     name of the run it belongs to, or None
    kimg    thousands of real images shown when the snapshot was taken, or None
    """

    file: str
    sha256: str
    plain: Mapping[str, Any]
    run: str | None = None
    kimg: float | None = None


def stored_results(
    objects: Sequence[object], *, file: str, sha256: str, run: str | None = None, kimg: float | None = None
) -> list[StoredResult]:
    """Results of one file; ReportError for objects that are none or of an unknown version."""
    found = []
    for plain in objects:
        if not isinstance(plain, Mapping) or plain.get("schema") != SCHEMA:
            raise ReportError(
                f"{file} is neither a metrics result (expected schema {SCHEMA!r}) nor a benchmark record; leave it out"
            )
        if plain.get("schema_version") != SCHEMA_VERSION:
            raise ReportError(
                f"{file} has result version {plain.get('schema_version')!r}, this program reads {SCHEMA_VERSION}"
            )
        sets = mapping(plain.get("protocol")).get("sets")
        if (
            number(plain.get("value")) is None
            or not isinstance(plain.get("metric"), str)
            or not isinstance(sets, Mapping)
            or not all(isinstance(stamp, Mapping) for stamp in sets.values())
        ):
            raise ReportError(f"{file} is damaged: expected 'metric', a finite 'value' and 'protocol' with its 'sets'")
        found.append(StoredResult(file=file, sha256=sha256, plain=plain, run=run, kimg=kimg))
    return found
