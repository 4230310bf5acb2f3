"""Metrics over all stored networks of a run; what is there already, measured the same way, is not measured again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metrics.errors import MetricsError
from metrics.protocol import read_result
from metrics.sliced.cache import StatisticsCache
from metrics.sources import ImageSet
from pgan.config import Config, config_from_json
from pgan.errors import RunError
from pgan.evaluate import (
    EvaluationConfig,
    Skipped,
    kimg_of,
    measure,
    open_sets,
    result_path,
    write_results,
)
from pgan.generate import network_files, read_generator

RUN_SCHEMA = "celebahq-tools/pgan-run"
HIGHER_IS_BETTER = ("is",)
NO_ORDER = ("ms-ssim",)
"""Low means varied, which noise is most of all: it says something beside the reals' value only."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """What a run says about itself: its configuration and where its data were, if it says that."""

    config: Config
    data: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkValues:
    """Values of one network by metric; `measured` names those that were measured just now."""

    file: Path
    kimg: int
    values: Mapping[str, float]
    measured: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "network": str(self.file),
            "kimg": self.kimg,
            "values": dict(self.values),
            "measured": list(self.measured),
        }


def read_run(run: Path) -> RunInfo:
    """The run's config.json. Raises RunError when there is none or it is not one."""
    path = run / "config.json"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{run} is not a run directory: cannot read {path.name} ({error.strerror})") from None
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}); expected the directory of a run") from None
    if not isinstance(plain, dict) or plain.get("schema") != RUN_SCHEMA:
        raise RunError(f"{path} is not the configuration of a run: expected schema {RUN_SCHEMA!r}")
    data = plain.get("data")
    named = data.get("path") if isinstance(data, dict) else None
    return RunInfo(config=config_from_json(plain["config"], str(path)), data=None if named is None else Path(named))


def networks_of(run: Path) -> list[Path]:
    """The stored networks, oldest first; RunError when there are none."""
    if not run.is_dir():
        raise RunError(f"{run} does not exist; expected the directory of a run")
    found = network_files(run)
    if not found:
        raise RunError(f"{run} holds no networks; expected the directory of a run that has stored some")
    return found


def evaluate_run(
    run: Path,
    data: Path,
    config: EvaluationConfig,
    *,
    cache: StatisticsCache | None = None,
    jobs: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
    skipped: Skipped | None = None,
) -> list[NetworkValues]:
    """Measure every network of a run that has no result of this kind yet, and store the results in it.

    progress  called as progress(done, total) in networks
    """
    files = networks_of(run)
    table = []
    for done, file in enumerate(files):
        if progress is not None:
            progress(done, len(files))
        generator = read_generator(file, device)
        kimg = kimg_of(generator)
        with open_sets(generator, data, config) as (real, fake):
            kept = {name: value for name in config.metrics if (value := _stored(run, kimg, name, real, fake, config))}
            missing = tuple(name for name in config.metrics if name not in kept)
            values = {key: value for name in kept for key, value in kept[name].items()}
            fresh = {}
            if missing:
                wanted = replace(config, metrics=missing)
                fresh = measure(real, fake, wanted, cache=cache, jobs=jobs, skipped=skipped)
                values.update(write_results(run, kimg, fresh))
        table.append(NetworkValues(file=file, kimg=kimg, values=values, measured=tuple(fresh)))
    if progress is not None:
        progress(len(files), len(files))
    return table


def best_network(table: list[NetworkValues], metric: str) -> NetworkValues | None:
    """The network with the best value of a metric (the highest IS, the lowest SWD or FID); None where none is best."""
    having = [] if metric in NO_ORDER else [row for row in table if metric in row.values]
    if not having:
        return None
    sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
    return min(having, key=lambda row: sign * row.values[metric])


def _stored(
    run: Path, kimg: int, metric: str, real: ImageSet, fake: ImageSet, config: EvaluationConfig
) -> dict[str, float] | None:
    """Values of a stored result of the same sets, numbers and seed; None when there is none."""
    path = result_path(run, kimg, metric)
    if not path.is_file():
        return None
    try:
        plain = read_result(path)
    except MetricsError:
        return None
    protocol = plain["protocol"]
    sets = protocol["sets"]
    own = sets.get("fake") or sets.get("set") or {}
    used = fake.n - fake.n % 2 if metric == "ms-ssim" else fake.n
    same = own.get("fingerprint") == fake.fingerprint and own.get("n") == used and own.get("res") == fake.res
    if "real" in sets:
        same = same and sets["real"].get("fingerprint") == real.fingerprint
    if protocol.get("extractor") is not None:
        same = same and _extractor_name(protocol["extractor"]) == config.extractor
    if not same or protocol.get("seed") != config.seed:
        return None
    levels = plain.get("levels") or {}
    return {metric: float(plain["value"]), **{f"{metric}/{level}": float(value) for level, value in levels.items()}}


def _extractor_name(stored: Any) -> str:
    return str(stored.get("name")) if isinstance(stored, dict) else str(stored)
