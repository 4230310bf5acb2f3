"""What every benchmark writes down: the machine, the versions, the command, the spread."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
FOLDER_VARIABLE = "BENCHMARK_RESULTS"
"""Names another folder for the records of this process; `python -m benchmarks` sets it."""
LIBRARIES = ("numpy", "scipy", "opencv-python-headless", "pillow", "h5py", "torch", "numba", "jpeglib", "joblib")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Smallest, median and largest of repeated readings."""

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, readings: Sequence[float]) -> "Spread":
        """The spread of at least one reading."""
        return cls(smallest=min(readings), median=statistics.median(readings), largest=max(readings))

    def plain(self) -> dict[str, float]:
        """As JSON values."""
        return {"smallest": self.smallest, "median": self.median, "largest": self.largest}

    def text(self, digits: int = 2) -> str:
        """`median (smallest-largest)`."""
        return f"{self.median:.{digits}f} ({self.smallest:.{digits}f}-{self.largest:.{digits}f})"


def write_results(name: str, results: dict[str, Any]) -> Path:
    """Write `results` with figures, command, versions and machine to NAME.json in the folder of results."""
    from benchmarks.figures import figures_of

    folder = results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    record = {
        "benchmark": name,
        "command": " ".join([f"python -m benchmarks.{name}", *map(without_folders, sys.argv[1:])]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "figures": figures_of(name, results),
        **results,
    }
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    partial.replace(path)
    return path


def without_folders(argument: str) -> str:
    """An argument of a command without the folders of a path in it, which say nothing to others."""
    option, sign, value = argument.partition("=")
    if sign and option.startswith("--"):
        return f"{option}={without_folders(value)}"
    return Path(argument).name if "/" in argument else argument


def results_folder() -> Path:
    """benchmarks/results, or what BENCHMARK_RESULTS names."""
    return Path(os.environ.get(FOLDER_VARIABLE) or RESULTS)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
