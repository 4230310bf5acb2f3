"""Charts as finished SVG: Vega-Lite specifications, drawn by vl-convert while the page is written.

The page needs no chart program then: a chart takes about 20 kB, prints sharply, and its marks carry names that
screen readers speak. Colours are `currentColor`, which the page's style sheet sets per series and theme.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.errors import MissingDependencyError, ReportError
from metrics.report.curves import Curve, Point, Series

WIDTH, HEIGHT = 340, 200
COLOURS = 8
"""Series of one chart that get a colour of their own; further ones begin again."""
DASHES = ([1, 0], [5, 3], [2, 2], [8, 3, 2, 3])
BAND_OPACITY = 0.16
MAX_MARKED = 60
"""Points of a series that get a mark and a name of their own."""

TAGS = frozenset({"svg", "g", "path", "line", "rect", "text", "tspan", "circle", "title", "clipPath", "defs"})
ATTRIBUTES = frozenset(
    [
        "width",
        "height",
        "viewBox",
        "class",
        "transform",
        "d",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "dx",
        "dy",
        "cx",
        "cy",
        "r",
        "rx",
        "ry",
        "fill",
        "fill-opacity",
        "stroke",
        "stroke-width",
        "stroke-opacity",
        "stroke-dasharray",
        "stroke-miterlimit",
        "stroke-linejoin",
        "stroke-linecap",
        "opacity",
        "font-family",
        "font-size",
        "font-weight",
        "font-style",
        "text-anchor",
        "pointer-events",
        "display",
        "role",
        "aria-label",
        "aria-hidden",
        "aria-roledescription",
        "id",
        "clip-path",
    ]
)
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LAYER = re.compile(r"\blayer_(\d+)_marks\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A chart: `svg` is safe to put into the page as it is; `legend` names the series, by their CSS class."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...]
    note: str
    rows: tuple[tuple[str, Point], ...]


def draw_curve(curve: Curve, *, x_title: str = "kimg") -> Drawn:
    """Lines with bands over kimg."""
    layers: list[dict[str, Any]] = []
    classes: list[str] = []
    legend = []
    for place, series in enumerate(curve.series):
        css = f"s{place % COLOURS}" if not series.dashed else "floor"
        legend.append((css, printable(series.name)))
        for layer in _series_layers(series, place, x_title):
            layers.append(layer)
            classes.append(css)
    title = printable(curve.title)
    spec = {**_frame(title), "layer": layers}
    label = f"{title} against {x_title}: " + "; ".join(_in_words(series) for series in curve.series)
    rows = tuple((series.name, point) for series in curve.series for point in series.points)
    return Drawn(title=curve.title, svg=to_svg(spec, label, classes), legend=tuple(legend), note=curve.band, rows=rows)


def draw_histogram(bins: Sequence[tuple[float, float, int]], *, title: str, x_title: str) -> Drawn:
    """Bars over the edges of bins."""
    values = [
        {"low": low, "high": high, "n": n, "text": f"{low:.4g} to {high:.4g}: {n} images"} for low, high, n in bins
    ]
    layer = {
        "data": {"values": values},
        "mark": {"type": "rect", "color": "currentColor", "opacity": 0.8},
        "encoding": {
            "x": {**_axis("low", x_title), "scale": {"zero": False, "nice": False}},
            "x2": {"field": "high"},
            "y": {**_axis("n", "images"), "scale": {"zero": True}},
            "y2": {"datum": 0},
            "description": {"field": "text"},
        },
    }
    most = max(bins, key=lambda item: item[2])
    total = sum(n for *_, n in bins)
    label = f"{title}: {total} images from {bins[0][0]:.4g} to {bins[-1][1]:.4g}, most at {most[0]:.4g}"
    rows = tuple(("images", Point(kimg=low, value=n, low=low, high=high)) for low, high, n in bins)
    svg = to_svg({**_frame(title), "layer": [layer]}, label, ["s0"])
    return Drawn(title=title, svg=svg, legend=(), note="", rows=rows)


def to_svg(spec: Mapping[str, Any], label: str, classes: Sequence[str]) -> str:
    """Draw a specification and let through what a chart needs, nothing else.

    label    what the chart says, for who does not see it
    classes  CSS class per layer
    """
    try:
        import vl_convert
    except ImportError:
        raise MissingDependencyError(
            "charts need vl-convert-python: pip install 'celebahq-tools[report]', or choose --format md, csv or json"
        ) from None
    try:
        drawn = vl_convert.vegalite_to_svg(dict(spec), allowed_base_urls=[])
    except ValueError as error:
        raise ReportError(f"the chart {spec.get('title')!r} cannot be drawn: {error}") from None
    root = ET.fromstring(drawn)
    _clean(root, classes)
    root.set("role", "group")
    root.set("aria-roledescription", "chart")
    root.set("aria-label", label)
    root.set("class", "chart")
    root.set("viewBox", root.get("viewBox", f"0 0 {WIDTH} {HEIGHT}"))
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _clean(element: ET.Element, classes: Sequence[str]) -> None:
    element.tag = element.tag.rpartition("}")[2]
    for name in list(element.attrib):
        if name not in ATTRIBUTES or "url(" in element.attrib[name]:
            del element.attrib[name]
    layer = LAYER.search(element.get("class", ""))
    if layer and int(layer[1]) < len(classes):
        element.set("class", f"marks {classes[int(layer[1])]}")
    elif "class" in element.attrib:
        del element.attrib["class"]
    for child in list(element):
        if child.tag.rpartition("}")[2] in TAGS:
            _clean(child, classes)
        else:
            element.remove(child)


def printable(name: str) -> str:
    """A name without the characters that XML cannot hold."""
    return NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", name)


def _series_layers(series: Series, place: int, x_title: str) -> list[dict[str, Any]]:
    values = [
        {"x": point.kimg, "y": point.value, "low": point.low, "high": point.high, "text": _point_text(series, point)}
        for point in series.points
    ]
    x, y = _axis("x", x_title), {**_axis("y", None), "scale": {"zero": False}}
    data = {"data": {"values": values}}
    layers = []
    banded = [value for value in values if value["low"] is not None]
    if banded:
        layers.append(
            {
                "data": {"values": banded},
                "mark": {"type": "area", "color": "currentColor", "opacity": BAND_OPACITY, "aria": False},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            }
        )
    dash = [3, 3] if series.dashed else DASHES[place % len(DASHES)]
    line = {"type": "line", "color": "currentColor", "strokeWidth": 1.8, "strokeDash": dash, "aria": False}
    layers.append({**data, "mark": line, "encoding": {"x": x, "y": y}})
    if len(values) <= MAX_MARKED:
        size = 12 if series.dashed else 34
        mark = {"type": "point", "filled": True, "color": "currentColor", "size": size, "opacity": 1}
        layers.append({**data, "mark": mark, "encoding": {"x": x, "y": y, "description": {"field": "text"}}})
    return layers


def _axis(field: str, title: str | None) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title}


def _frame(title: str) -> dict[str, Any]:
    ink = {"labelColor": "currentColor", "titleColor": "currentColor", "domainColor": "currentColor"}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "description": title,
        "width": WIDTH - 60,
        "height": HEIGHT - 50,
        "background": None,
        "config": {
            "font": "sans-serif",
            "view": {"stroke": None},
            "axis": {
                **ink,
                "tickColor": "currentColor",
                "gridColor": "currentColor",
                "gridOpacity": 0.14,
                "labelFontSize": 11,
                "titleFontSize": 11,
                "tickCount": 5,
            },
        },
    }


def _point_text(series: Series, point: Point) -> str:
    band = "" if point.low is None else f" ({point.low:.4g} to {point.high:.4g})"
    return f"{printable(series.name)}, {point.kimg:g} kimg: {point.value:.5g}{band}"


def _in_words(series: Series) -> str:
    first, last = series.points[0], series.points[-1]
    return (
        f"{printable(series.name)} goes from {first.value:.4g} at {first.kimg:g} to {last.value:.4g} at {last.kimg:g}"
    )
