"""Results grouped by like protocols: only what was measured the same way stands in one table or chart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.compare import differences, protocol_key
from metrics.report.reading import bounds, count, mapping, number, numbers, text
from metrics.report.runs import Run
from metrics.report.stored import StoredResult

TITLES = {
    "swd": "Sliced Wasserstein distance, ×10³",
    "ms-ssim": "MS-SSIM of pairs of one set",
    "is": "Inception score",
    "fid": "Fréchet inception distance",
    "kid": "Kernel inception distance",
    "pr": "Precision and recall",
}
BETTER = {
    "swd": "lower is better",
    "ms-ssim": "lower is more varied; compare it with that of the reals",
    "is": "higher is better",
    "fid": "lower is better",
    "kid": "lower is better",
    "pr": "higher is better; the value is precision",
}
FROM_LOG = "not stated: the value is known from a training log alone"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One measured value with all that is known about it; None where something is not.

    interval        (low, high), at `interval_level`
    levels          value per resolution of SWD; `level_intervals` and `floor_levels` likewise
    more            other values of the metric, such as recall
    """

    file: str
    run: str | None
    kimg: float | None
    set_label: str
    value: float
    std: float | None = None
    interval: tuple[float, float] | None = None
    interval_level: float | None = None
    interval_method: str = ""
    floor: float | None = None
    floor_method: str = ""
    n_real: int | None = None
    n_fake: int | None = None
    res: int | None = None
    seed: int | None = None
    levels: Mapping[str, float]
    level_intervals: Mapping[str, tuple[float, float]]
    floor_levels: Mapping[str, float]
    more: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    device: str = ""
    machine: str = ""
    finished: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreGroup:
    """Values of one metric under one protocol.

    name      short, as 'fid A'; a letter only tells protocols of one report apart
    protocol  (name, value) rows of what all scores of the group agree in
    differs   what sets this protocol apart from the metric's first one in this report, one line each
    """

    name: str
    metric: str
    title: str
    better: str
    unit: str
    protocol: tuple[tuple[str, str], ...]
    differs: tuple[str, ...]
    scores: tuple[Score, ...]

    @property
    def levels(self) -> tuple[str, ...]:
        """Resolutions of the levels, finest first."""
        found = {level for score in self.scores for level in score.levels}
        return tuple(sorted(found, key=lambda level: (-int(level) if level.isdigit() else 0, level)))

    @property
    def more(self) -> tuple[str, ...]:
        """Names of further values."""
        return tuple(dict.fromkeys(name for score in self.scores for name in score.more))


def group_scores(results: Sequence[StoredResult], runs: Sequence[Run]) -> tuple[ScoreGroup, ...]:
    """All results, those of runs included, by metric and protocol; values known from logs alone come last."""
    by_key: dict[tuple[str, str], list[StoredResult]] = {}
    for result in (*(own for run in runs for own in run.results), *results):
        key = (str(result.plain["metric"]), protocol_key(mapping(result.plain["protocol"])))
        by_key.setdefault(key, []).append(result)
    groups: list[ScoreGroup] = []
    firsts: dict[str, Mapping[str, Any]] = {}
    counts: dict[str, int] = {}
    for (metric, _), members in sorted(by_key.items(), key=lambda item: _order(item[0][0])):
        protocol = mapping(members[0].plain["protocol"])
        name = _name(metric, counts)
        first = firsts.setdefault(metric, protocol)
        differs = () if first is protocol else differences(first, protocol, names=(f"{metric} A", name))
        groups.append(
            ScoreGroup(
                name=name,
                metric=metric,
                title=TITLES.get(metric, metric),
                better=BETTER.get(metric, ""),
                unit=text(members[0].plain.get("unit")),
                protocol=tuple(_protocol_rows(protocol)),
                differs=tuple(differs),
                scores=tuple(sorted((_score(result) for result in members), key=_place)),
            )
        )
    groups += (_log_group(run, metric, scores, counts) for run in runs for metric, scores in _log_scores(run))
    return tuple(sorted(groups, key=lambda group: _order(group.metric)))


def _order(metric: str) -> tuple[int, str]:
    names = list(TITLES)
    return (names.index(metric) if metric in names else len(names), metric)


def _name(metric: str, counts: dict[str, int]) -> str:
    place = counts.get(metric, 0)
    counts[metric] = place + 1
    letter = LETTERS[place] if place < len(LETTERS) else str(place + 1)
    return f"{metric} {letter}"


def _place(score: Score) -> tuple[bool, str, float, str]:
    return (score.run is None, score.run or "", score.kimg if score.kimg is not None else float("inf"), score.file)


def _score(result: StoredResult) -> Score:
    plain, protocol = result.plain, mapping(result.plain["protocol"])
    sets = {role: mapping(stamp) for role, stamp in mapping(protocol["sets"]).items()}
    real = sets.get("real", {})
    shown = next((sets[role] for role in ("fake", "set", "real") if role in sets), {})
    interval, floor, details, run = (mapping(plain.get(k)) for k in ("interval", "noise_floor", "details", "run"))
    level_bounds = {level: bounds(pair) for level, pair in mapping(details.get("level_intervals")).items()}
    warnings = plain.get("warnings")
    value = number(plain["value"])
    assert value is not None
    return Score(
        file=result.file,
        run=result.run,
        kimg=result.kimg,
        set_label=text(shown.get("label")),
        value=value,
        std=number(plain.get("std")),
        interval=bounds(interval),
        interval_level=number(interval.get("level")),
        interval_method=text(interval.get("method")),
        floor=number(floor.get("value")),
        floor_method=text(floor.get("method")),
        n_real=count(real.get("n")),
        n_fake=count(shown.get("n")) if shown is not real else None,
        res=count(shown.get("res")),
        seed=count(protocol.get("seed")),
        levels=numbers(plain.get("levels")),
        level_intervals={level: pair for level, pair in level_bounds.items() if pair is not None},
        floor_levels=numbers(floor.get("levels")),
        more={name: number(details[name]) or 0.0 for name in ("recall",) if number(details.get(name)) is not None},
        warnings=tuple(text(line) for line in warnings) if isinstance(warnings, list) else (),
        seconds=number(run.get("seconds")),
        device=text(run.get("device")),
        machine=text(run.get("machine")),
        finished=text(run.get("finished")),
    )


def _protocol_rows(protocol: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Everything that makes the protocol, for people."""
    yield "protocol", text(protocol.get("name"))
    if protocol.get("extractor") is not None:
        yield "extractor", text(protocol["extractor"])
        yield "weights sha256", text(protocol.get("weights_sha256")) or "unknown"
    for name, value in mapping(protocol.get("settings")).items():
        yield name, text(value)
    if protocol.get("batch") is not None:
        yield "batch", text(protocol["batch"])
    for role, stamp in mapping(protocol.get("sets")).items():
        for name in ("n", "res", "resizer"):
            yield f"{role}: {name}", text(mapping(stamp).get(name)) or "none"
        if role == "real":
            yield "real: fingerprint", text(mapping(stamp).get("fingerprint"))


def _log_scores(run: Run) -> Iterator[tuple[str, list[Score]]]:
    """Per metric, values of the log for which the run directory has no result file."""
    stored = {(result.plain["metric"], result.kimg) for result in run.results}
    found: dict[str, list[Score]] = {}
    for record in run.measured:
        kimg, values = number(record["kimg"]), numbers(record.get("values"))
        for metric in (name for name in values if "/" not in name):
            if (metric, kimg) in stored:
                continue
            prefix = f"{metric}/"
            levels = {name.removeprefix(prefix): values[name] for name in values if name.startswith(prefix)}
            known = {level: value for level, value in levels.items() if level.isdigit()}
            found.setdefault(metric, []).append(
                Score(
                    file=str(run.folder / "log.jsonl"),
                    run=run.name,
                    kimg=kimg,
                    set_label=run.name,
                    value=values[metric],
                    levels=known,
                    level_intervals={},
                    floor_levels={},
                    more={name: value for name, value in levels.items() if not name.isdigit()},
                )
            )
    yield from found.items()


def _log_group(run: Run, metric: str, scores: Sequence[Score], counts: dict[str, int]) -> ScoreGroup:
    return ScoreGroup(
        name=_name(metric, counts),
        metric=metric,
        title=TITLES.get(metric, metric),
        better=BETTER.get(metric, ""),
        unit="",
        protocol=(("protocol", FROM_LOG),),
        differs=(f"known from the log of {run.name} alone, without its protocol",),
        scores=tuple(scores),
    )
