"""Run all benchmarks at a chosen size and compare them with a stored baseline.

    python -m benchmarks [--quick] [--only NAME ...] [--out build/benchmarks] [--baseline benchmarks/results]

Each runs in a process of its own and writes NAME.json (command, configuration, versions, machine, readings, figures)
into the output folder, which `metrics report` renders, too. The table gives each figure's median and spread and, where
the baseline was measured by the same command, how many times better it is: below 1 is a regression.
`--update` stores what was measured as the baseline.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import FOLDER_VARIABLE, RESULTS

ROOT = Path(__file__).parents[1]
DEFAULT_OUT = Path("build/benchmarks")
EXIT_FAILED = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Options of a benchmark at both sizes; `needs` is what it cannot do without."""

    quick: str
    full: str = ""
    needs: str = ""


RUNS = {
    "build": Run(quick="--images 60 --rounds 1 --res 256"),
    "features": Run(quick="--images 16 --res 64 --rounds 1 --batches 16"),
    "formats": Run(quick="--images 200 --res 64 --rounds 1"),
    "geometry": Run(quick="--repeats 3"),
    "ms_ssim": Run(quick="--res 256 --pairs 8 --plain-pairs 2 --rounds 2"),
    "official": Run(quick="--rounds 1 --limit 2"),
    "pgan_step": Run(quick="--quick"),
    "quality_validation": Run(quick="--limit 2 --repeats 3"),
    "report": Run(quick="--rounds 2 --res 64"),
    "restoration": Run(
        quick="--size 64 --rounds 1 --windows 64 --context 32 --memory-size 0",
        full="--size 96 --rounds 2 --memory-size 0",
        needs="celebahq weights get realesrgan",
    ),
    "store_layout": Run(quick="--images 16 --reads 16 --rounds 2 --kills 2", full="--images 100 --reads 64 --rounds 3"),
    "swd": Run(quick="--images 128 --res 64 --rounds 2 --rows-log2 15 --feed-res 128 --feed-images 32"),
}
"""One line per benchmark."""


def main() -> None:
    """Run what was chosen, print the table; exit code 1 if any benchmark failed."""
    options = _arguments()
    size = "quick" if options.quick else "full"
    baseline: Path = options.baseline or (RESULTS / "quick" if options.quick else RESULTS)
    options.out.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    for name in options.only or RUNS:
        started = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{name}", *getattr(RUNS[name], size).split()]
        print(f"{name}: python {' '.join(command[1:])}", flush=True)
        environment = {**os.environ, FOLDER_VARIABLE: str(options.out.resolve())}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=not options.verbose, text=True)
        if done.returncode != 0:
            failed.append(name)
            hint = f"; it needs: {RUNS[name].needs}" if RUNS[name].needs else ""
            last = (done.stderr or "").strip().splitlines()[-1:] or ["no message"]
            print(f"  failed ({last[0]}){hint}", flush=True)
            continue
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        for line in table(options.out / f"{name}.json", baseline / f"{name}.json"):
            print(f"  {line}", flush=True)
        if options.update:
            baseline.mkdir(parents=True, exist_ok=True)
            shutil.copy(options.out / f"{name}.json", baseline / f"{name}.json")
    if failed:
        print(f"failed: {', '.join(failed)}")
        raise SystemExit(EXIT_FAILED)


def table(path: Path, baseline: Path) -> list[str]:
    """Figures of one record, with their ratio to the baseline where the commands are the same."""
    record = json.loads(path.read_text())
    base: dict[str, Any] = json.loads(baseline.read_text()) if baseline.is_file() else {}
    alike = base.get("command") == record["command"]
    lines = []
    for name, one in record["figures"].items():
        spread = f"{one['median']:.4g} ({one['smallest']:.4g}-{one['largest']:.4g}) {one['unit']}"
        change = ""
        before = base.get("figures", {}).get(name, {}).get("median")
        if alike and before and one["median"]:
            better = one["median"] / before if one["better"] == "higher" else before / one["median"]
            change = f"  {better:.2f} times the baseline's {before:.4g}"
        lines.append(f"{name:32s} {spread}{change}")
    if base and not alike:
        lines.append(f"no ratios: the baseline was measured by `{base.get('command')}`")
    elif alike and base.get("machine", {}).get("processor") != record["machine"]["processor"]:
        lines.append("the baseline is of another machine: only figures in x can be compared")
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes in all")
    parser.add_argument("--only", nargs="+", choices=sorted(RUNS), metavar="NAME", help=", ".join(sorted(RUNS)))
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--baseline", type=Path, help="folder of records; benchmarks/results, or its quick/")
    parser.add_argument("--update", action="store_true", help="store the records as the new baseline")
    parser.add_argument("--verbose", action="store_true", help="show what the benchmarks print")
    return parser.parse_args()


if __name__ == "__main__":
    main()
