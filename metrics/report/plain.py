"""A report as plain data: what `--format json` writes, the page carries, and CSV and Markdown are made from."""

import math
from collections.abc import Mapping
from typing import Any

from metrics.report.build import Report
from metrics.report.curves import Curve
from metrics.report.scores import Score, ScoreGroup

SCHEMA = "celebahq-tools/report"
SCHEMA_VERSION = 1


def report_json(report: Report) -> dict[str, Any]:
    """Every number of a report; groups are never merged, so nothing unlike stands together."""
    plain: dict[str, Any] = finite(_report(report))
    return plain


def finite(value: Any) -> Any:
    """`value` with None for every number that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def _report(report: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "title": report.title,
        "made": report.made,
        "program": report.program,
        "groups": [_group(group) for group in report.groups],
        "training": [_curve(curve) for curve in report.training],
        "runs": [
            {**{name: getattr(effort, name) for name in effort.__slots__}, "config": run.config}
            for run, effort in zip(report.runs, report.efforts, strict=True)
        ],
        "neighbours": [
            {
                "run": found.run,
                "samples": found.origin,
                "searched": found.searched,
                "available": found.available,
                "extractor": found.extractor,
                "pixel_res": found.pixel_res,
                "pixel_baseline": found.pixel_baseline,
                "feature_baseline": found.feature_baseline,
                "pixels": [[{"image": n, "distance": d} for n, d, _ in row.pixels] for row in found.rows],
                "features": [[{"image": n, "distance": d} for n, d, _ in row.features] for row in found.rows],
            }
            for found in report.neighbours
        ],
        "data": None if report.data is None else _data(report),
        "benchmarks": [
            {
                "name": table.name,
                "command": table.command,
                "date": table.date,
                "machine": dict(table.machine),
                "versions": dict(table.versions),
                "config": table.config,
                "note": table.note,
                "figures": [{name: getattr(one, name) for name in one.__slots__} for one in table.figures],
            }
            for table in report.benchmarks
        ],
        "published_not_measured": [
            {name: getattr(entry, name) for name in entry.__slots__} for entry in report.published
        ],
        "missing": list(report.missing),
        "sources": [{"file": file, "sha256": sha256} for file, sha256 in report.sources],
    }


def _group(group: ScoreGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "metric": group.metric,
        "unit": group.unit,
        "protocol": dict(group.protocol),
        "differs_from_first": list(group.differs),
        "scores": [_score(score) for score in group.scores],
    }


def _score(score: Score) -> dict[str, Any]:
    plain = {name: getattr(score, name) for name in score.__slots__}
    for name in ("levels", "floor_levels", "more"):
        plain[name] = dict(plain[name])
    plain["level_intervals"] = {level: list(pair) for level, pair in score.level_intervals.items()}
    plain["interval"] = None if score.interval is None else list(score.interval)
    return plain


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "title": curve.title,
        "series": {series.name: [[point.kimg, point.value] for point in series.points] for series in curve.series},
    }


def _data(report: Report) -> Mapping[str, Any]:
    assert report.data is not None
    skipped = {"sheet"}
    return {name: getattr(report.data, name) for name in report.data.__slots__ if name not in skipped}
