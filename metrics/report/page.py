"""A report as one HTML page that needs nothing else: no network, no other file.

Everything from files is escaped by Jinja. Charts are cleaned SVG, numbers are embedded as JSON that cannot end its
element, and a content security policy admits this page's own style sheet and script alone, by their hashes.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from metrics.errors import MissingDependencyError
from metrics.report.build import Report
from metrics.report.charts import Drawn, draw_curve, draw_histogram
from metrics.report.curves import Curve
from metrics.report.plain import report_json
from metrics.report.scores import Score, ScoreGroup
from metrics.report.tables import EFFORT_COLUMNS, effort_cells, score_table, shown

SUMMARY_ROWS = 40
"""More rows of one protocol are folded away; a run is summed up by its best and its last value."""


def render_page(report: Report) -> str:
    """The page as text; MissingDependencyError without the packages of the extra `report`."""
    try:
        import jinja2
    except ImportError:
        raise MissingDependencyError(
            "the page needs Jinja2: pip install 'celebahq-tools[report]', or choose --format md, csv or json"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metrics.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = shown
    style, script = (_template(name) for name in ("page.css", "page.js"))
    return environment.get_template("page.html.j2").render(
        report=report,
        style=style,
        script=script,
        policy=policy(style, script),
        numbers=script_json(report_json(report)),
        charts=_charts(report.curves),
        training=[draw_curve(curve) for curve in report.training],
        quality=None
        if report.data is None or not report.data.quality
        else draw_histogram(report.data.quality, title="Quality scores", x_title="quality score"),
        score_table=score_table,
        summary=summary_scores,
        published_of=lambda metric: [entry for entry in report.published if entry.metric == metric],
        effort_columns=EFFORT_COLUMNS,
        effort_cells=effort_cells,
        pretty=lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
    )


def policy(style: str, script: str) -> str:
    """Content security policy: pictures from this page, this style and script, nothing else from anywhere."""
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )


def script_json(plain: Any) -> str:
    """JSON that may stand in a script element: no character in it can end the element or begin a comment."""
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, default=str)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def summary_scores(group: ScoreGroup) -> Sequence[Score]:
    """Scores for the summary: those without a run, and each run's best and last."""
    sign = -1.0 if group.metric in ("is", "pr") else 1.0
    kept: list[Score] = []
    for run in dict.fromkeys(score.run for score in group.scores):
        own = [score for score in group.scores if score.run == run]
        if run is None or len(own) <= 2:
            kept += own
            continue
        best = min(own, key=lambda score: sign * score.value)
        kept += [best] if best is own[-1] else [best, own[-1]]
    return kept[:SUMMARY_ROWS]


def _charts(curves: Sequence[tuple[str, Sequence[Curve]]]) -> dict[str, list[Drawn]]:
    return {name: [draw_curve(curve) for curve in group] for name, group in curves if group}


def _template(name: str) -> str:
    # Browsers hash the text after newlines are made "\n" and so must we.
    text = resources.files("metrics.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
