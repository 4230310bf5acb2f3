"""A report as Markdown and as CSV."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from metrics.report.build import Report
from metrics.report.scores import Score, ScoreGroup

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings that spreadsheets take for formulas."""
MARKS = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\`*_{}[]|#~!"} | {"\n": " ", "\r": " ", "<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
"""What Markdown or HTML in it would take for more than text."""


def shown(value: float | None) -> str:
    """A number for people, five digits; empty for None."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


def score_table(group: ScoreGroup, scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a group's table, without columns that are empty throughout."""
    rows = [_cells(group, score) for score in scores]
    heads = _columns(group)
    kept = [column for column in range(len(heads)) if any(row[column] for row in rows)]
    return [heads[column] for column in kept], [[row[column] for column in kept] for row in rows]


def _columns(group: ScoreGroup) -> list[str]:
    return [
        "set",
        "run",
        "kimg",
        "value",
        "interval",
        "std",
        "noise floor",
        *group.more,
        *(f"level {level}" for level in group.levels),
        "n real",
        "n generated",
        "res",
        "seed",
    ]


def _cells(group: ScoreGroup, score: Score) -> list[str]:
    interval = "" if score.interval is None else f"{shown(score.interval[0])} to {shown(score.interval[1])}"
    return [
        score.set_label,
        score.run or "",
        shown(score.kimg),
        shown(score.value),
        interval,
        shown(score.std),
        shown(score.floor),
        *(shown(score.more.get(name)) for name in group.more),
        *(shown(score.levels.get(level)) for level in group.levels),
        *("" if number is None else str(number) for number in (score.n_real, score.n_fake, score.res, score.seed)),
    ]


def markdown(report: Report) -> str:
    """The report's tables in Markdown; one table per protocol."""
    return "\n".join(_markdown_lines(report)) + "\n"


def _markdown_lines(report: Report) -> Iterator[str]:
    yield f"# {_md(report.title)}"
    yield f"\nMade {report.made} by {_md(report.program)}."
    for group in report.groups:
        yield f"\n## {_md(group.title)}: {_md(group.name)}\n"
        yield f"{_md(group.better)}. Protocol: " + "; ".join(f"{_md(k)} {_md(v)}" for k, v in group.protocol) + "."
        for line in group.differs:
            yield f"\n- differs: {_md(line)}"
        yield ""
        yield from _md_table(*score_table(group, group.scores))
        for warning in dict.fromkeys(line for score in group.scores for line in score.warnings):
            yield f"\n> {_md(warning)}"
    if report.published:
        yield "\n## Published, not measured here\n"
        rows = (
            [e.metric, e.paper, e.where, e.data, e.model, shown(e.value), _levels(e.levels), e.note]
            for e in report.published
        )
        yield from _md_table(["metric", "paper", "where", "data", "model", "published value", "levels", "note"], rows)
    if report.efforts:
        yield "\n## Hardware and time\n"
        yield from _md_table(EFFORT_COLUMNS, (effort_cells(effort) for effort in report.efforts))
    if report.data is not None:
        yield f"\n## Data set {_md(report.data.path)}\n"
        yield from _md_table(["fact", "value"], ([*fact] for fact in report.data.facts))
        if report.data.rejects:
            yield ""
            yield from _md_table(["rejected because", "pictures"], ([r, str(n)] for r, n in report.data.rejects))
    for table in report.benchmarks:
        yield f"\n## Benchmark {_md(table.name)}\n"
        yield f"{_md(table.command)}, {_md(table.date)}. {_md(table.note)}\n"
        cells = (
            [f.name, shown(f.median), shown(f.low), shown(f.high), f.unit, shown(f.baseline), shown(f.change)]
            for f in table.figures
        )
        yield from _md_table(["figure", "median", "smallest", "largest", "unit", "baseline", "times better"], cells)
    for line in report.missing:
        yield f"\n- not shown: {_md(line)}"


EFFORT_COLUMNS = ["run", "preset", "kimg", "wall hours", "device hours", "energy, kWh", "devices", "resumes", "end"]


def effort_cells(effort: Any) -> list[str]:
    """One run's hardware and time, as text."""
    return [
        effort.run,
        effort.preset,
        shown(effort.kimg),
        shown(effort.wall_hours),
        shown(effort.device_hours),
        shown(effort.energy_kwh) or "not recorded",
        ", ".join(effort.devices),
        str(effort.resumes),
        effort.ended,
    ]


def comma_separated(report: Report) -> str:
    """One row per number, one column per protocol, so that unlike values never share a column.

    `quantity` is value, low, high, std, floor, level:R, or the name of another value. The row `protocol` of each column
    holds the protocol itself, as JSON. Texts that a spreadsheet would take for a formula get an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [group.name for group in report.groups]
    writer.writerow(["set", "run", "kimg", "n_real", "n_generated", "seed", "file", "quantity", *map(_cell, names)])
    for place, group in enumerate(report.groups):
        before, after = [""] * place, [""] * (len(names) - place - 1)
        protocol = json.dumps(dict(group.protocol), ensure_ascii=False)
        writer.writerow(["", "", "", "", "", "", "", "protocol", *before, protocol, *after])
        for score in group.scores:
            head = [
                _cell(score.set_label),
                _cell(score.run or ""),
                score.kimg,
                score.n_real,
                score.n_fake,
                score.seed,
                _cell(score.file),
            ]
            for quantity, value in _quantities(score):
                writer.writerow([*head, quantity, *before, value, *after])
    return out.getvalue()


def _quantities(score: Score) -> Iterator[tuple[str, float]]:
    low, high = score.interval or (None, None)
    named = [("value", score.value), ("low", low), ("high", high), ("std", score.std), ("floor", score.floor)]
    named += list(score.more.items())
    named += [(f"level:{level}", value) for level, value in score.levels.items()]
    yield from ((name, value) for name, value in named if value is not None)


def _md_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(map(_md, head)) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(_md, row)) + " |"


def _levels(levels: dict[str, float]) -> str:
    return ", ".join(f"{level}: {shown(value)}" for level, value in levels.items())


def _md(value: str) -> str:
    return value.translate(MARKS)


def _cell(value: str) -> str:
    return f"'{value}" if value.startswith(FORMULA_SIGNS) else value
