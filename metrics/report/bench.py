"""Records of benchmarks as tables: figures with their spread, and their ratio to a stored baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.report.inputs import BenchmarkRecord
from metrics.report.reading import mapping, number, text

OWN_KEYS = frozenset({"benchmark", "command", "date", "machine", "versions", "config", "figures"})
MAX_FALLBACK_ROWS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of a benchmark.

    baseline  its median in the baseline, where that was measured by the same command
    change    how many times better than the baseline; below 1 is a regression
    """

    name: str
    unit: str
    median: float
    low: float | None
    high: float | None
    better: str
    baseline: float | None
    change: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkTable:
    """One record; `note` says why there are no ratios, or that the machines differ."""

    name: str
    file: str
    command: str
    date: str
    machine: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    config: Mapping[str, Any]
    figures: tuple[Figure, ...]
    note: str


def benchmark_tables(
    records: Sequence[BenchmarkRecord], baselines: Sequence[BenchmarkRecord] = ()
) -> tuple[BenchmarkTable, ...]:
    """A table per record; its ratios are to the baseline of the same name and command."""
    stored = {text(record.plain["benchmark"]): record for record in baselines}
    return tuple(_table(record, stored.get(text(record.plain["benchmark"]))) for record in records)


def _table(record: BenchmarkRecord, baseline: BenchmarkRecord | None) -> BenchmarkTable:
    plain = record.plain
    base: Mapping[str, Any] = {}
    note = ""
    if baseline is not None and baseline.plain.get("command") != plain.get("command"):
        note = f"the baseline was measured by another command ({text(baseline.plain.get('command'))}): no ratios"
    elif baseline is not None:
        base = mapping(baseline.plain.get("figures"))
        machines = [mapping(one.get("machine")) for one in (plain, baseline.plain)]
        if any(machines[0].get(key) != machines[1].get(key) for key in ("processor", "cores")):
            note = "the baseline was measured on another machine: only dimensionless figures can be compared"
    figures = [
        _figure(name, mapping(one), mapping(base.get(name))) for name, one in mapping(plain.get("figures")).items()
    ]
    found = [figure for figure in figures if figure is not None]
    return BenchmarkTable(
        name=text(plain["benchmark"]),
        file=record.file,
        command=text(plain.get("command")),
        date=text(plain.get("date")),
        machine=tuple((name, text(value)) for name, value in mapping(plain.get("machine")).items()),
        versions=tuple((name, text(value)) for name, value in mapping(plain.get("versions")).items()),
        config=mapping(plain.get("config")),
        figures=tuple(found or _plain_figures(plain)),
        note=note,
    )


def _figure(name: str, one: Mapping[str, Any], base: Mapping[str, Any]) -> Figure | None:
    median = number(one.get("median"))
    if median is None:
        return None
    better, baseline = text(one.get("better")), number(base.get("median"))
    change = None
    if baseline and median and better in ("higher", "lower"):
        change = median / baseline if better == "higher" else baseline / median
    return Figure(
        name=name,
        unit=text(one.get("unit")),
        median=median,
        low=number(one.get("smallest")),
        high=number(one.get("largest")),
        better=better,
        baseline=baseline,
        change=change,
    )


def _plain_figures(plain: Mapping[str, Any]) -> list[Figure]:
    """Numbers of a record that names no figures, as they are found."""
    found: list[Figure] = []

    def walk(prefix: str, value: object) -> None:
        plain_number = number(value)
        if plain_number is not None:
            found.append(
                Figure(
                    name=prefix,
                    unit="",
                    median=plain_number,
                    low=None,
                    high=None,
                    better="",
                    baseline=None,
                    change=None,
                )
            )
        elif isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{prefix} / {key}" if prefix else str(key), item)

    for key, value in plain.items():
        if key not in OWN_KEYS:
            walk(str(key), value)
    return found[:MAX_FALLBACK_ROWS]
