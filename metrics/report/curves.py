"""Values over the course of training, as series of points with bands."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.report.reading import number
from metrics.report.runs import Run
from metrics.report.scores import Score, ScoreGroup

MAX_POINTS = 300
"""A series of more points is thinned evenly; its first and last stay."""
TRAINING = (
    ("loss_g", "loss of the generator"),
    ("loss_d", "loss of the discriminator"),
    ("score_real", "score of reals"),
    ("score_fake", "score of generated images"),
    ("gradient_norm", "gradient norm"),
    ("sec_per_kimg", "seconds per kimg"),
    ("lod", "level of detail left to grow"),
    ("peak_gib", "peak device memory, GiB"),
)
"""Quantities of a tick and what they are called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A value at a kimg, with its band where there is one."""

    kimg: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points of one run, or of several summed up; `dashed` ones are floors."""

    name: str
    points: tuple[Point, ...]
    dashed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """What one chart shows; `band` says what its bands are."""

    title: str
    unit: str
    series: tuple[Series, ...]
    band: str


def score_curves(group: ScoreGroup, runs: Sequence[Run]) -> Iterator[Curve]:
    """The value and each level of a group against kimg; nothing for fewer than two points."""
    picks: list[tuple[str, Callable[[Score], Point | None], Callable[[Score], float | None]]] = [
        (group.title, _whole, lambda score: score.floor)
    ]
    for level in group.levels:
        title = f"{group.metric.upper()} at level {level}"
        picks.append((title, _level_of(level), lambda score, level=level: score.floor_levels.get(level)))  # type: ignore[misc]
    for name in group.more:
        picks.append((name.capitalize(), _more_of(name), lambda score: None))
    for title, pick, floor in picks:
        series = _series(group.scores, pick)
        if max((len(one.points) for one in series), default=0) < 2:
            continue
        together = summed_up(series, runs)
        floors = _floors(group.scores, floor)
        band = "bands: 95 % interval of each value" if any(p.low is not None for s in series for p in s.points) else ""
        if together:
            band = "; ".join(filter(None, (band, "band of a mean: smallest to largest run")))
        yield Curve(title=title, unit=group.unit, series=(*series, *together, *floors), band=band)


def training_curves(runs: Sequence[Run]) -> Iterator[Curve]:
    """Losses, scores and speed of the runs against kimg."""
    for key, title in TRAINING:
        series = []
        for run in runs:
            pairs = ((number(tick["kimg"]), number(tick.get(key))) for tick in run.ticks)
            points = [Point(kimg=kimg, value=value) for kimg, value in pairs if kimg is not None and value is not None]
            if len(points) > 1:
                series.append(Series(name=run.name, points=thinned(points)))
        if series:
            yield Curve(title=title, unit="", series=tuple(series), band="")


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most MAX_POINTS points, evenly chosen, first and last among them."""
    if len(points) <= MAX_POINTS:
        return tuple(points)
    last = len(points) - 1
    return tuple(points[round(place * last / (MAX_POINTS - 1))] for place in range(MAX_POINTS))


def summed_up(series: Sequence[Series], runs: Sequence[Run]) -> tuple[Series, ...]:
    """Mean, smallest and largest of runs that differ in nothing but seeds, where they share a kimg."""
    alike: dict[str, list[Series]] = {}
    by_name = {run.name: run for run in runs}
    for one in series:
        if one.name in by_name and by_name[one.name].settings:
            alike.setdefault(_without_seeds(by_name[one.name]), []).append(one)
    found = []
    for members in alike.values():
        if len(members) < 2:
            continue
        tables = [{point.kimg: point.value for point in member.points} for member in members]
        shared = sorted(set(tables[0]).intersection(*tables[1:]))
        points = []
        for kimg in shared:
            values = [table[kimg] for table in tables]
            points.append(Point(kimg=kimg, value=sum(values) / len(values), low=min(values), high=max(values)))
        if len(points) > 1:
            names = ", ".join(member.name for member in members)
            found.append(Series(name=f"mean of {len(members)} runs ({names})", points=tuple(points)))
    return tuple(found)


def _without_seeds(run: Run) -> str:
    def strip(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: strip(item) for key, item in value.items() if key != "seed"}
        return [strip(item) for item in value] if isinstance(value, list) else value

    data = (run.data.get("fingerprint"), run.data.get("n"), run.data.get("res"))
    return json.dumps([strip(run.settings), data], sort_keys=True, default=str)


def _series(scores: Sequence[Score], pick: Callable[[Score], Point | None]) -> list[Series]:
    by_run: dict[str, list[Point]] = {}
    for score in scores:
        point = pick(score) if score.run is not None and score.kimg is not None else None
        if point is not None:
            by_run.setdefault(score.run or "", []).append(point)
    return [
        Series(name=name, points=thinned(sorted(points, key=lambda point: point.kimg)))
        for name, points in by_run.items()
    ]


def _floors(scores: Sequence[Score], floor: Callable[[Score], float | None]) -> tuple[Series, ...]:
    """The noise floor of the scores, at their kimg; one line, as it belongs to the protocol and not to a run."""
    found: dict[float, float] = {}
    for score in scores:
        value = floor(score)
        if score.kimg is not None and value is not None:
            found.setdefault(score.kimg, value)
    if not found:
        return ()
    points = tuple(Point(kimg=kimg, value=value) for kimg, value in sorted(found.items()))
    return (Series(name="noise floor", points=thinned(points), dashed=True),)


def _whole(score: Score) -> Point | None:
    low, high = score.interval or (None, None)
    return Point(kimg=score.kimg or 0.0, value=score.value, low=low, high=high)


def _level_of(level: str) -> Callable[[Score], Point | None]:
    def pick(score: Score) -> Point | None:
        if level not in score.levels:
            return None
        low, high = score.level_intervals.get(level, (None, None))
        return Point(kimg=score.kimg or 0.0, value=score.levels[level], low=low, high=high)

    return pick


def _more_of(name: str) -> Callable[[Score], Point | None]:
    def pick(score: Score) -> Point | None:
        return Point(kimg=score.kimg or 0.0, value=score.more[name]) if name in score.more else None

    return pick
