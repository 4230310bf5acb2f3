"""The directory of a training run, read from its files alone: configuration, log, results, pictures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.errors import ReportError
from metrics.report.reading import digest, mapping, number, parse_object, read_bytes, text
from metrics.report.stored import StoredResult, stored_results

RUN_SCHEMA = "celebahq-tools/pgan-run"
RUN_SCHEMA_VERSION = 1
CONFIG_NAME = "config.json"
LOG_NAME = "log.jsonl"
GRID_PATTERN = re.compile(r"fakes(\d+)\.png")
KIMG_PATTERN = re.compile(r"(\d+)[-_.]")


@dataclass(frozen=True, kw_only=True, slots=True)
class GridFile:
    """A picture of generated images, one cell each, taken at `kimg`."""

    kimg: float
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a run directory holds; records are the log's JSON objects of one kind, in order.

    name      short and unique within a report
    config    content of config.json, empty when it is missing
    starts    one record per start or resume; `ticks`, `measured`, `stops` likewise
    results   of `metrics/`, each with the kimg of its snapshot
    grids     pictures of generated images, by kimg
    files     (name, sha256) of everything that was read
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    starts: tuple[Mapping[str, Any], ...]
    ticks: tuple[Mapping[str, Any], ...]
    measured: tuple[Mapping[str, Any], ...]
    stops: tuple[Mapping[str, Any], ...]
    results: tuple[StoredResult, ...]
    grids: tuple[GridFile, ...]
    files: tuple[tuple[str, str], ...]

    @property
    def data(self) -> Mapping[str, Any]:
        """The data set trained on: path, fingerprint, n, res; empty when unknown."""
        return mapping(self.config.get("data"))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The resolved configuration: network, schedule, loss, train."""
        return mapping(self.config.get("config"))

    @property
    def reals(self) -> Path | None:
        """The picture of real images, if there."""
        path = self.folder / "reals.png"
        return path if path.is_file() else None

    @property
    def interpolation(self) -> Path | None:
        """The picture of a walk between latents, if there."""
        path = self.folder / "interpolation.png"
        return path if path.is_file() else None

    @property
    def samples(self) -> Path | None:
        """The folder of single generated images, if there."""
        path = self.folder / "samples"
        return path if path.is_dir() else None

    @property
    def grid(self) -> tuple[int, int] | None:
        """Columns and rows of the pictures of images, or None where the configuration does not say."""
        sides = mapping(self.settings.get("train")).get("grid")
        if not isinstance(sides, list) or len(sides) != 2:
            return None
        columns, rows = number(sides[0]), number(sides[1])
        if columns is None or rows is None or columns < 1 or rows < 1:
            return None
        return int(columns), int(rows)


def is_run(path: Path) -> bool:
    """Whether a folder was written by a training run."""
    return path.is_dir() and ((path / LOG_NAME).is_file() or (path / CONFIG_NAME).is_file())


def read_run(folder: Path, name: str) -> Run:
    """Read a run directory; a run that is still going on is read as far as it got.

    Raises ReportError for damaged files and for a version this program does not know.
    """
    files: list[tuple[str, str]] = []
    config = _read_config(folder, files)
    records = _read_log(folder, files)
    results = _read_results(folder, name, records, files)
    grids = []
    for path in sorted(folder.iterdir()):
        found = GRID_PATTERN.fullmatch(path.name)
        if found and path.is_file():
            grids.append(GridFile(kimg=float(found[1]), path=path))
    return Run(
        name=name,
        folder=folder,
        config=config,
        starts=_of_kind(records, "start"),
        ticks=tuple(record for record in _of_kind(records, "tick") if number(record.get("kimg")) is not None),
        measured=tuple(record for record in _of_kind(records, "metrics") if number(record.get("kimg")) is not None),
        stops=_of_kind(records, "stop"),
        results=tuple(results),
        grids=tuple(sorted(grids, key=lambda grid: grid.kimg)),
        files=tuple(files),
    )


def _of_kind(records: Sequence[Mapping[str, Any]], kind: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(record for record in records if record.get("kind") == kind)


def _read_config(folder: Path, files: list[tuple[str, str]]) -> Mapping[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        return {}
    data = read_bytes(path)
    files.append((str(path), digest(data)))
    plain = parse_object(data, str(path))
    if plain.get("schema", RUN_SCHEMA) != RUN_SCHEMA:
        raise ReportError(f"{path} is not the configuration of a run: expected schema {RUN_SCHEMA!r}")
    version = plain.get("schema_version", RUN_SCHEMA_VERSION)
    if version != RUN_SCHEMA_VERSION:
        raise ReportError(f"{path} has run version {version!r}, this program reads {RUN_SCHEMA_VERSION}")
    return plain


def _read_log(folder: Path, files: list[tuple[str, str]]) -> list[Mapping[str, Any]]:
    path = folder / LOG_NAME
    if not path.is_file():
        return []
    data = read_bytes(path)
    files.append((str(path), digest(data)))
    # A run that is being written, or was killed, may end in half a line.
    *lines, _unfinished = data.split(b"\n")
    return [parse_object(line, f"{path}, line {place}") for place, line in enumerate(lines, 1) if line.strip()]


def _read_results(
    folder: Path, name: str, records: Sequence[Mapping[str, Any]], files: list[tuple[str, str]]
) -> list[StoredResult]:
    """Results below `metrics/`; their kimg is that of the log's record, else in their file's name."""
    by_file: dict[str, float] = {}
    for record in _of_kind(records, "metrics"):
        kimg, listed = number(record.get("kimg")), record.get("files")
        if kimg is not None and isinstance(listed, list):
            by_file |= {Path(text(entry)).name: kimg for entry in listed}
    results: list[StoredResult] = []
    for path in sorted((folder / "metrics").glob("*.json")):
        data = read_bytes(path)
        files.append((str(path), digest(data)))
        numbered = KIMG_PATTERN.match(path.name)
        kimg = by_file.get(path.name, float(numbered[1]) if numbered else None)
        plain = parse_object(data, str(path))
        results += stored_results([plain], file=str(path), sha256=files[-1][1], run=name, kimg=kimg)
    return results
