"""Careful reading of files that others wrote: size limits, damaged JSON, numbers that are none."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metrics.errors import ReportError

MAX_JSON_BYTES = 64 << 20
"""A file of results or of a log larger than this is refused."""


def read_bytes(path: Path) -> bytes:
    """Content of a file of at most MAX_JSON_BYTES; ReportError otherwise."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_JSON_BYTES:
        raise ReportError(f"{path} is larger than the {MAX_JSON_BYTES >> 20} MiB a report reads; name smaller files")
    return data


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`; ReportError that names `where` for anything else."""
    try:
        # NaN and Infinity are no JSON, but Python writes them.
        plain = json.loads(data, parse_constant=lambda _name: None)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{where} is not JSON ({error}); expected an object") from None
    if not isinstance(plain, dict):
        raise ReportError(f"{where} holds a JSON {type(plain).__name__}, expected an object")
    return plain


def digest(data: bytes) -> str:
    """Sha256 (hex), by which a report names what it was made from."""
    return hashlib.sha256(data).hexdigest()


def number(value: object) -> float | None:
    """A finite number as float; None for anything else, booleans and NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain if math.isfinite(plain) else None


def count(value: object) -> int | None:
    """A whole number of at least 0, or None."""
    plain = number(value)
    return int(plain) if plain is not None and plain >= 0 and plain == int(plain) else None


def text(value: object) -> str:
    """A value as text for people; empty for None."""
    return "" if value is None else str(value)


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one; keys are made strings."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def numbers(value: object) -> dict[str, float]:
    """The finite numbers of a mapping."""
    found = {key: number(item) for key, item in mapping(value).items()}
    return {key: item for key, item in found.items() if item is not None}


def bounds(value: object) -> tuple[float, float] | None:
    """(low, high) of an interval stored as an object or as a list of two numbers, or None."""
    if isinstance(value, Mapping):
        low, high = number(value.get("low")), number(value.get("high"))
    elif isinstance(value, list) and len(value) == 2:
        low, high = number(value[0]), number(value[1])
    else:
        return None
    return None if low is None or high is None else (low, high)
