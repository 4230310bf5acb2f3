"""A report in one of its formats, written so that a half-written file never looks whole."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from metrics.errors import ReportError, UsageError
from metrics.report.build import Report
from metrics.report.page import render_page
from metrics.report.plain import report_json
from metrics.report.tables import comma_separated, markdown

FORMATS = ("html", "md", "csv", "json")
SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".csv": "csv", ".json": "json"}


def chosen_format(form: str | None, out: Path) -> str:
    """The format asked for, else that of the output's name; UsageError for a name that says nothing."""
    if form is not None:
        return form
    found = SUFFIXES.get(out.suffix.lower())
    if found is None:
        raise UsageError(f"{out}: its name does not say which format; give --format {'|'.join(FORMATS)}")
    return found


def render(report: Report, form: str) -> str:
    """The report as text in one of FORMATS."""
    makers: dict[str, Callable[[Report], str]] = {
        "html": render_page,
        "md": markdown,
        "csv": comma_separated,
        "json": lambda one: json.dumps(report_json(one), indent=2, ensure_ascii=False, default=str) + "\n",
    }
    return makers[form](report)


def write_report(text: str, path: Path) -> int:
    """Store `text` beside `path` as `.partial`, then rename; returns the bytes written."""
    data = text.encode("utf-8", "backslashreplace")
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror}; choose another place with -o") from None
    return len(data)
