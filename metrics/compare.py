"""Put results beside each other, if they were measured the same way."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metrics.errors import UnlikeProtocolsError, UsageError
from metrics.protocol import read_result

FREE_KEYS = frozenset({"label", "kind", "available", "selection"})
"""Of a set: what may differ without changing what is measured."""
COMPARED_ROLES = frozenset({"fake", "set"})
"""The sets that are compared, whose content differs by intention; the reals must be the same."""
FREE_TOP_KEYS = frozenset({"seed"})
"""Two seeds are two draws of one protocol."""


def _comparable(protocol: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything two protocols must agree in."""
    for key, value in protocol.items():
        if key == "sets":
            for role, stamp in value.items():
                free = FREE_KEYS | ({"fingerprint"} if role in COMPARED_ROLES else frozenset())
                yield from ((f"sets.{role}.{name}", v) for name, v in stamp.items() if name not in free)
        elif isinstance(value, Mapping):
            yield from ((f"{key}.{name}", v) for name, v in value.items())
        elif key not in FREE_TOP_KEYS:
            yield key, value


def protocol_key(protocol: Mapping[str, Any]) -> str:
    """A text that is the same for two protocols (as in the JSON of results) exactly when they can be compared."""
    return json.dumps(sorted(_comparable(protocol), key=lambda item: item[0]), sort_keys=True, default=str)


def differences(first: Mapping[str, Any], other: Mapping[str, Any], *, names: tuple[str, str]) -> list[str]:
    """What two protocols (as in the JSON of results) do not agree in, one line each."""
    left, right = dict(_comparable(first)), dict(_comparable(other))
    lines = []
    for key in dict.fromkeys([*left, *right]):
        a, b = left.get(key, "absent"), right.get(key, "absent")
        if a != b:
            lines.append(f"{key}: {a} in {names[0]}, {b} in {names[1]}")
    return lines


def compare_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of a table: the stored results in the order given.

    Raises UnlikeProtocolsError with all differences to the first, UsageError for fewer than two files and
    ResultError for files that are no results.
    """
    if len(paths) < 2:
        raise UsageError("name two result files or more to compare")
    results = [read_result(path) for path in paths]
    lines: list[str] = []
    for path, result in zip(paths[1:], results[1:], strict=True):
        lines += differences(results[0]["protocol"], result["protocol"], names=(str(paths[0]), str(path)))
    if lines:
        raise UnlikeProtocolsError(tuple(lines))
    return [_row(path, result) for path, result in zip(paths, results, strict=True)]


def _row(path: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    sets = result["protocol"]["sets"]
    floor = result.get("noise_floor")
    return {
        "file": str(path),
        "set": next((sets[role]["label"] for role in ("fake", "set", "real") if role in sets), ""),
        "metric": result["metric"],
        "value": result["value"],
        "std": result.get("std"),
        "interval": result.get("interval"),
        "noise_floor": None if floor is None else floor["value"],
        "levels": result.get("levels"),
        "seed": result["protocol"].get("seed"),
        "warnings": result.get("warnings", []),
    }


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned text: set, value, interval, floor, levels."""
    levels = list(rows[0]["levels"] or {})
    head = ["file", "set", "value", "interval or std", "floor", "seed", *levels]
    body = [head]
    for row in rows:
        interval = row["interval"]
        spread = "" if row["std"] is None else f"± {row['std']:.4g}"
        if interval is not None:
            spread = f"{interval['low']:.4g} .. {interval['high']:.4g}"
        floor = "" if row["noise_floor"] is None else f"{row['noise_floor']:.4g}"
        values = [f"{(row['levels'] or {}).get(level, float('nan')):.4g}" for level in levels]
        body.append([row["file"], row["set"], f"{row['value']:.5g}", spread, floor, str(row["seed"]), *values])
    widths = [max(len(line[column]) for line in body) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in body
    )
