"""Hardware, versions, wall and device hours of runs, from their logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.report.reading import mapping, number, text
from metrics.report.runs import Run

HOUR_SEC = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What a run took; None where the log does not say.

    wall_hours    training, over all resumes, without the pauses between them
    device_hours  the same, times the number of devices at that time
    energy_kwh    as measured by whoever wrote the log; never estimated here
    maintenance_hours  share of the wall hours that went into metrics and snapshots
    versions      of the last start
    """

    run: str
    kimg: float | None
    wall_hours: float | None
    device_hours: float | None
    maintenance_hours: float | None
    energy_kwh: float | None
    resumes: int
    devices: tuple[str, ...]
    machines: tuple[str, ...]
    versions: Mapping[str, str]
    started: str
    ended: str
    preset: str


def effort_of(run: Run) -> Effort:
    """Sum up the log of a run."""
    starts = run.starts
    last_start = starts[-1] if starts else {}
    wall = _last(run.ticks, "train_sec")
    tick_secs = [number(tick.get("tick_sec")) or 0.0 for tick in run.ticks]
    if wall is None and any(tick_secs):
        wall = sum(tick_secs)
    worlds = [_world_at(run, number(tick.get("nimg"))) for tick in run.ticks]
    device_sec = sum(sec * world for sec, world in zip(tick_secs, worlds, strict=True))
    maintenance = [number(tick.get("maintenance_sec")) for tick in run.ticks]
    stop = run.stops[-1] if run.stops else {}
    energy = number(stop.get("energy_kwh"))
    return Effort(
        run=run.name,
        kimg=_last(run.ticks, "kimg"),
        wall_hours=None if wall is None else wall / HOUR_SEC,
        device_hours=device_sec / HOUR_SEC if device_sec else None,
        maintenance_hours=sum(sec or 0.0 for sec in maintenance) / HOUR_SEC if maintenance else None,
        energy_kwh=energy if energy is not None else _last(run.ticks, "energy_kwh"),
        resumes=max(0, len(starts) - 1),
        devices=_unique(f"{text(start.get('world')) or '1'} × {text(start.get('device'))}" for start in starts),
        machines=_unique(text(start.get("machine")) for start in starts) or _unique([text(run.config.get("machine"))]),
        versions={k: text(v) for k, v in mapping(last_start.get("versions") or run.config.get("versions")).items()},
        started=text(run.config.get("started")) or text(starts[0].get("time") if starts else None),
        ended=text(stop.get("reason")) or ("no end in the log" if run.ticks else ""),
        preset=text(run.config.get("preset")),
    )


def _world_at(run: Run, nimg: float | None) -> float:
    """Number of devices when `nimg` images had been shown: that of the last start before."""
    world = 1.0
    for start in run.starts:
        if nimg is None or (number(start.get("nimg")) or 0.0) < nimg:
            world = number(start.get("world")) or 1.0
    return world


def _last(records: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [number(record.get(key)) for record in records]
    return next((value for value in reversed(values) if value is not None), None)


def _unique(values: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
