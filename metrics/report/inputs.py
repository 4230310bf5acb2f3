"""What the paths given to a report are: run directories, results, folders of results, benchmark records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.errors import ReportError
from metrics.report.reading import digest, parse_object, read_bytes
from metrics.report.runs import Run, is_run, read_run
from metrics.report.stored import StoredResult, stored_results

BENCHMARK_KEY = "benchmark"


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkRecord:
    """One file of `benchmarks/record.py`: its label, content and sha256."""

    file: str
    plain: Mapping[str, Any]
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Everything that was named, read; results found in runs are in the runs."""

    runs: tuple[Run, ...]
    results: tuple[StoredResult, ...]
    benchmarks: tuple[BenchmarkRecord, ...]


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read everything at `paths`, in their order.

    A folder with a log is a run, another folder holds result files. Raises ReportError for what is neither,
    and for damaged files, naming them.
    """
    runs: list[Run] = []
    results: list[StoredResult] = []
    benchmarks: list[BenchmarkRecord] = []
    names = run_names([path for path in paths if is_run(path)])
    for path in paths:
        if is_run(path):
            runs.append(read_run(path, names[path]))
            continue
        for file in _files(path):
            found = read_file(file)
            if isinstance(found, BenchmarkRecord):
                benchmarks.append(found)
            else:
                results += found
    return Inputs(runs=tuple(runs), results=tuple(results), benchmarks=tuple(benchmarks))


def run_names(folders: Sequence[Path]) -> dict[Path, str]:
    """A short name for each run: the folder's, or its whole path where two folders have one name."""
    short = [folder.absolute().name for folder in folders]
    return {
        folder: name if short.count(name) == 1 else str(folder) for folder, name in zip(folders, short, strict=True)
    }


def read_file(path: Path) -> BenchmarkRecord | list[StoredResult]:
    """The benchmark record or the results in one JSON file."""
    data = read_bytes(path)
    plain = parse_object(data, str(path))
    if isinstance(plain.get(BENCHMARK_KEY), str):
        return BenchmarkRecord(file=str(path), plain=plain, sha256=digest(data))
    many = plain.get("results")
    objects = many if isinstance(many, list) else [plain]
    return stored_results(objects, file=str(path), sha256=digest(data))


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise ReportError(f"{path} does not exist; name run directories, result files (--out) or benchmark files")
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.json"))
    if not found:
        raise ReportError(f"{path} is no run (no log.jsonl or config.json) and holds no results (*.json)")
    return found
