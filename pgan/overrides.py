"""Single settings changed by name, as texts: how the command line overrides a preset."""

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from typing import Any

from pgan.config import (
    Config,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    ScheduleConfig,
    Table,
    TrainConfig,
)
from pgan.errors import ConfigError

SECTIONS = {
    "network": NetworkConfig,
    "schedule": ScheduleConfig,
    "optimizer": OptimizerConfig,
    "loss": LossConfig,
    "train": TrainConfig,
}
BASE_OF = {"batch_by_res": "batch", "lr_by_res": "lr"}
"""Tables that are set together with their base value, under its name: --batch 16,64:32."""
FROM_DATA = ("label_size", "label_kind", "label_names", "label_scale")
LENGTHS = frozenset({"total_kimg"})
"""Settings that a resumed run may change without becoming another run ..."""
MANNERS = frozenset(one.name for one in fields(TrainConfig)) - {"seed", "mirror", "labels", "precision", "form"}
"""... and those that say how it is carried out and reported."""
RESUMABLE = LENGTHS | MANNERS


def settings() -> list[tuple[str, "Field[Any]"]]:
    """(section, field) of everything that can be overridden."""
    found = []
    for section, kind in SECTIONS.items():
        for one in fields(kind):
            if one.name not in BASE_OF and one.name not in FROM_DATA:
                found.append((section, one))
    return found


def override(config: Config, texts: Mapping[str, str | bool]) -> Config:
    """The configuration with the named settings replaced. Raises ConfigError for texts that do not fit."""
    changed: dict[str, dict[str, Any]] = {}
    for section, one in settings():
        if one.name in texts:
            values = changed.setdefault(section, {})
            before = getattr(config, section)
            values.update(_parsed(one.name, texts[one.name], before))
    sections = {name: replace(getattr(config, name), **values) for name, values in changed.items()}
    return replace(config, **sections)


def refuse_unlike(before: Config, after: Config) -> None:
    """Raise ConfigError when a resumed run would become another one."""
    for section, one in settings():
        old, new = (getattr(getattr(config, section), one.name) for config in (before, after))
        if old != new and one.name not in RESUMABLE:
            raise ConfigError(
                f"--{one.name.replace('_', '-')} is {old} in this run and cannot become {new}; start a new run"
            )


def _parsed(name: str, text: str | bool, section: Any) -> dict[str, Any]:
    default = getattr(section, name)
    if isinstance(text, bool):
        return {name: text}
    for table, base in BASE_OF.items():
        if base == name:
            kind = type(default)
            value, rows = _base_and_table(name, text, kind)
            found: dict[str, Any] = {} if value is None else {name: value}
            if rows:
                found[table] = tuple(sorted((dict(getattr(section, table)) | dict(rows)).items()))
            elif value is not None:
                found[table] = ()
            return found
    try:
        if name == "tick_kimg":
            value, rows = _base_and_table(name, text, float)
            if value is not None:
                rows = (*rows, (1 << 30, value))
            return {name: tuple(sorted(dict(rows).items()))}
        if name == "grid":
            columns, rows_text = text.lower().split("x")
            return {name: (int(columns), int(rows_text))}
        if name == "metrics":
            return {name: tuple(part for part in text.replace(" ", "").split(",") if part and part != "none")}
        return {name: type(default)(text)}
    except ValueError:
        raise ConfigError(f"--{name.replace('_', '-')} {text!r} is no {type(default).__name__}") from None


def _base_and_table(name: str, text: str, kind: type) -> tuple[Any, Table]:
    """'16,64:32' -> (16, ((64, 32),))."""
    base, rows = None, []
    try:
        for part in text.replace(" ", ",").split(","):
            if ":" in part:
                res, value = part.split(":")
                rows.append((int(res), kind(value)))
            elif part:
                base = kind(part)
    except ValueError:
        raise ConfigError(f"--{name.replace('_', '-')} {text!r}: expected a number, or RES:NUMBER, or both") from None
    return base, tuple(rows)
