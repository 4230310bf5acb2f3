"""What a result carries: its values and everything that was decided to get them.

A result is one JSON object. `protocol` holds what makes two numbers comparable; `run` holds what should not
change a number (machine, versions, time). `metrics compare` looks at `protocol` alone.
"""

import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from metrics.errors import ResultError

Json: TypeAlias = Any
"""A value `json.dumps` accepts: None, bool, int, finite float, str, list or dict of such."""

SCHEMA = "celebahq-tools/metrics-result"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SetStamp:
    """One set of images as it was measured.

    label        what the user called it (a path), for people
    kind         'pyramid', 'folder', 'zip', 'array', 'features', 'statistics', 'checkpoint' ...
    n            images (or feature rows) used
    available    images in the set
    res          side in pixels at which the images were handed to the metric, None for features
    resizer      name of the resizer, or None when the images had this size already
    fingerprint  sha256 of the whole set's content
    selection    which of the available were used, in words ('all', 'first 100', 'random 100, seed 0')
    where        the labels that the available have in common because they were chosen by them, or None
    """

    label: str
    kind: str
    n: int
    available: int
    res: int | None
    resizer: str | None
    fingerprint: str
    selection: str = "all"
    where: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Plain dict in the order of the fields; `where` only if there is one."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        if self.where is None:
            del plain["where"]
        return plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """Everything that decides what a value means.

    metric          'swd', 'ms-ssim', 'fid' ...
    name            'default', 'reference' or another named variant of the metric
    settings        every parameter that changes the value (levels, patches, directions, splits ...)
    sets            {'real': SetStamp, 'fake': SetStamp} or {'set': SetStamp}
    extractor       name of the feature network, None for pixel metrics
    weights_sha256  of the network's weights, None for pixel metrics
    seed            the one seed of all random draws
    batch           only where the batch size changes the draws; None otherwise
    """

    metric: str
    name: str
    settings: Mapping[str, Json]
    sets: Mapping[str, SetStamp]
    extractor: str | None = None
    weights_sha256: str | None = None
    seed: int = 0
    batch: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Plain dict in the order of the fields."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["settings"] = dict(self.settings)
        plain["sets"] = {role: stamp.to_json() for role, stamp in self.sets.items()}
        return plain


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStamp:
    """Where and how a value was computed; not compared. `versions` maps package to version."""

    seconds: float
    device: str
    jobs: int
    versions: Mapping[str, str]
    machine: str
    finished: str

    def to_json(self) -> dict[str, Json]:
        """Plain dict in the order of the fields."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["versions"] = dict(self.versions)
        return plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A confidence interval and how it was made, for instance level 0.95 by 'disjoint blocks of images'."""

    low: float
    high: float
    level: float
    method: str
    standard_error: float | None = None

    def to_json(self) -> dict[str, Json]:
        """Plain dict in the order of the fields."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseFloor:
    """The value two disjoint samples of the SAME (real) distribution give.

    value     at the n of the result
    levels    per level where the metric has levels
    n         images on each side where it was measured
    scaled    factor applied to get from the measured n to the result's n; 1.0 when measured at that n
    method    in words
    interval  of `value`, or None
    """

    value: float
    n: int
    scaled: float
    method: str
    levels: Mapping[str, float] | None = None
    interval: Interval | None = None

    def to_json(self) -> dict[str, Json]:
        """Plain dict in the order of the fields."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["levels"] = None if self.levels is None else dict(self.levels)
        plain["interval"] = None if self.interval is None else self.interval.to_json()
        return plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A metric's value with its uncertainty, warnings and protocol.

    value        in `unit`; for SWD the mean over levels, times 1e3
    std          spread the metric itself defines (IS: over splits, KID: over subsets), or None
    interval     of `value`, or None when it cannot be had (the warnings say why)
    levels       value per level, keys are resolutions as strings, or None
    details      anything else worth keeping (precision and recall, per-pair spread ...)
    warnings     sentences for people
    """

    metric: str
    value: float
    unit: str
    protocol: Protocol
    run: RunStamp
    std: float | None = None
    interval: Interval | None = None
    noise_floor: NoiseFloor | None = None
    levels: Mapping[str, float] | None = None
    details: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The result as the JSON object that `--json` prints and `--out` stores."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "metric": self.metric,
            "value": self.value,
            "unit": self.unit,
            "std": self.std,
            "interval": None if self.interval is None else self.interval.to_json(),
            "noise_floor": None if self.noise_floor is None else self.noise_floor.to_json(),
            "levels": None if self.levels is None else dict(self.levels),
            "details": dict(self.details),
            "warnings": list(self.warnings),
            "protocol": self.protocol.to_json(),
            "run": self.run.to_json(),
        }


def write_json(plain: Mapping[str, Json], path: Path) -> None:
    """Store a JSON object: written beside `path` as `.partial`, synced, then renamed."""
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ResultError(f"cannot write {path}: {error.strerror}; choose another place with --out") from None


def read_result(path: Path) -> dict[str, Json]:
    """The JSON object of a stored result, checked to be one this version understands.

    Raises ResultError for a missing or damaged file, another schema or a version this one does not know.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ResultError(f"{path} is not JSON ({error}); expected a file written by --out") from None
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise ResultError(f"{path} is not a metrics result: expected schema {SCHEMA!r}")
    if plain.get("schema_version") != SCHEMA_VERSION:
        raise ResultError(
            f"{path} has result version {plain.get('schema_version')!r}, this program reads {SCHEMA_VERSION}"
        )
    value, protocol = plain.get("value"), plain.get("protocol")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ResultError(f"{path}: 'value' should be a finite number, found {value!r}")
    if not isinstance(protocol, dict) or not isinstance(protocol.get("sets"), dict):
        raise ResultError(f"{path}: 'protocol' is missing or damaged")
    return plain


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, this package and the named installed distributions ('absent' if not there)."""
    from importlib import metadata

    import metrics

    found = {"python": platform.python_version(), "metrics": metrics.__version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def run_stamp(*, seconds: float, jobs: int, packages: tuple[str, ...], device: str = "cpu") -> RunStamp:
    """A RunStamp for a computation that has just finished on this machine."""
    from datetime import datetime, timezone

    return RunStamp(
        seconds=round(seconds, 3),
        device=device,
        jobs=jobs,
        versions=versions(*packages),
        machine=f"{platform.machine()} {sys.platform}, {os.cpu_count()} cores",
        finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
