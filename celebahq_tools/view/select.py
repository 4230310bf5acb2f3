"""Which images a page shows: filters over the index, and the rejects file beside a pyramid."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import UsageError
from celebahq_tools.store import PyramidReader

PAGE_SIZES = (24, 48, 96, 192)
MAX_REJECTS_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What the page was asked for. Raises UsageError for values that make no sense.

    have, lack   names of attributes that must be +1 or -1
    label        class number, or None
    partition    0 train, 1 validation, 2 test, or None
    low, high    bounds of the quality, or None
    text         part of the key, any case
    order        number | quality | quality-down
    reason       reason of the rejects to list; empty for all
    """

    page: int = 0
    size: int = PAGE_SIZES[1]
    have: tuple[str, ...] = ()
    lack: tuple[str, ...] = ()
    label: int | None = None
    partition: int | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    order: str = "number"
    reason: str = ""

    def __post_init__(self) -> None:
        if self.page < 0 or self.size not in PAGE_SIZES or self.order not in ("number", "quality", "quality-down"):
            raise UsageError("page, size or order is out of range")


def query_of(values: Mapping[str, Sequence[str]]) -> Query:
    """The query in the parameters of an address. Raises UsageError."""

    def one(name: str) -> str:
        return values.get(name, [""])[0].strip()

    try:
        low, high = (float(one(name)) if one(name) else None for name in ("low", "high"))
        if any(bound is not None and not math.isfinite(bound) for bound in (low, high)):
            raise ValueError("quality bounds must be finite")
        return Query(
            page=int(one("page") or 0),
            size=int(one("size") or PAGE_SIZES[1]),
            have=tuple(name for name in values.get("have", ()) if name),
            lack=tuple(name for name in values.get("lack", ()) if name),
            label=int(one("label")) if one("label") else None,
            partition=int(one("partition")) if one("partition") else None,
            low=low,
            high=high,
            text=one("text"),
            order=one("order") or "number",
            reason=one("reason"),
        )
    except ValueError as error:
        raise UsageError(f"the address holds no sensible query: {error}") from None


def matching(reader: PyramidReader, query: Query) -> NDArray[np.int64]:
    """Numbers of the images that pass all filters, in the order asked for. Raises UsageError."""
    mask = np.ones(len(reader), bool)
    if not reader.has_index:
        return np.flatnonzero(mask)
    index = reader.index
    for names, value in ((query.have, 1), (query.lack, -1)):
        for name in names:
            if name not in reader.attribute_names:
                raise UsageError(f"no attribute {name}")
            mask &= index.attributes[:, reader.attribute_names.index(name)] == value
    if query.label is not None:
        mask &= index.label == query.label
    if query.partition is not None:
        mask &= index.partition == query.partition
    if query.low is not None:
        mask &= index.quality >= query.low
    if query.high is not None:
        mask &= index.quality <= query.high
    if query.text:
        mask &= np.char.find(np.char.lower(index.key), query.text.lower()) >= 0
    found = np.flatnonzero(mask)
    if query.order != "number":
        scores = index.quality[found] * (1 if query.order == "quality" else -1)
        found = found[np.argsort(scores, kind="stable")]
    return found


def read_rejects(path: Path) -> list[dict[str, Any]]:
    """The rejects of the build that made the pyramid `path`, if their file is beside it; damaged lines are left out."""
    rejects = path.with_name(f"{path.stem}.rejects.jsonl")
    if not rejects.is_file() or rejects.stat().st_size > MAX_REJECTS_BYTES:
        return []
    found: list[dict[str, Any]] = []
    for line in rejects.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append({name: str(value.get(name, "")) for name in ("key", "file", "reason", "message")})
    return found
