"""How fast `metrics swd` is against the plain transcription, by stages, and what the full protocol takes.

    python -m benchmarks.swd [--res 256] [--images 1024] [--rounds 3] [--rows-log2 21] [--feed-res 1024]
                             [--feed-images 128] [--jobs 2] [--skip end distance feed]

end       both programs from HDF5 pyramids to the value, each run in a process of its own, interleaved
distance  one level of random descriptors: ours in memory, ours from a temporary file, the plain sort along axis 0
feed      milliseconds per image of random pixels, from memory
The last two are measured with the loops in C, where they were built, and by NumPy alone.
The full protocol (16,384 + 16,384 images of 1024², seven levels) is extrapolated from the last two and marked so.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_images import random_image, write_random_pyramid
from benchmarks.record import Spread, write_results
from metrics.sliced.acceleration import have_native

PAPER_IMAGES, PAPER_LEVELS, PAPER_ROWS, PAPER_DIRECTIONS = 16_384, 7, 1 << 21, 512
PATCHES, VALUES, REPEATS = 128, 147, 4
GIB = 1 << 30


def peak_gib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def in_child(stage: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run one stage in a process of its own; adds its wall seconds from start to end."""
    command = [sys.executable, "-m", "benchmarks.swd", "--child", stage, json.dumps(options)]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    return {"process_seconds": seconds, **json.loads(done.stdout.splitlines()[-1])}


def child_plain_end(options: dict[str, Any]) -> dict[str, Any]:
    """The plain program, from files to the value."""
    from benchmarks.plain_swd import swd

    return {"value": swd(Path(options["real"]), Path(options["fake"]), options["res"], options["n"])[-1]}


def child_ours_end(options: dict[str, Any]) -> dict[str, Any]:
    """Ours, from files to the value; with `full` also the interval and the noise floor."""
    import metrics
    from metrics.sliced.config import SwdConfig

    config = SwdConfig() if options["full"] else SwdConfig(interval_splits=0)
    result = metrics.swd(options["real"], options["fake"], config=config, floor=options["full"], jobs=options["jobs"])
    return {"value": result.value}


def child_ours_distance(options: dict[str, Any]) -> dict[str, Any]:
    """Our distance stage on random descriptors, twice: the first level of a run also gets the memory."""
    from metrics.sliced.config import SwdConfig
    from metrics.sliced.distance import Moments, Side
    from metrics.sliced.draws import keyed_directions
    from metrics.sliced.projections import Projections, sliced_distances
    from metrics.sliced.store import DescriptorStore

    images = options["rows"] // PATCHES
    folder = Path(options["folder"]) if options["folder"] else None
    moments = Moments(mean=np.zeros(3), std=np.ones(3))
    sides = []
    for seed in range(2):
        rng, store = np.random.default_rng(seed), DescriptorStore(images, PATCHES, folder)
        for start in range(0, images, 128):
            store.write(start, rng.standard_normal((min(128, images - start), VALUES, PATCHES), np.float32))
        sides.append(Side(store=store, moments=moments, slots=np.arange(images)))
    directions, projections = keyed_directions(SwdConfig(), 1024), Projections()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        distances = sliced_distances(
            *sides, directions, jobs=options["jobs"], native=options["native"], projections=projections
        )
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds[1], "first_seconds": seconds[0], "value": 1e3 * float(distances.mean())}


def child_plain_distance(options: dict[str, Any]) -> dict[str, Any]:
    """The plain distance stage: one repeat of 128 directions is measured, four are the stage."""
    from benchmarks.plain_swd import sliced_distance

    rows = options["rows"]
    real, fake = (np.random.default_rng(seed).standard_normal((rows, VALUES), np.float32) for seed in range(2))
    started = time.perf_counter()
    value = sliced_distance(real, fake, np.random.default_rng(2), repeats=1)
    return {"seconds": REPEATS * (time.perf_counter() - started), "value": 1e3 * value}


def child_feed(options: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds per image of feeding an accumulator that spills."""
    from metrics.sliced.accumulator import SwdAccumulator

    rng, n = np.random.default_rng(0), options["images"]
    images = np.stack([random_image(options["res"], rng) for _ in range(16)])
    with SwdAccumulator(
        res=options["res"],
        n=n + len(images),
        jobs=options["jobs"],
        native=options["native"],
        spill=Path(options["folder"]),
        memory=0,
    ) as accumulator:
        accumulator.feed(images)
        started = time.perf_counter()
        for start in range(0, n, len(images)):
            accumulator.feed(images[: n - start])
        seconds = time.perf_counter() - started
        accumulator.close()
    return {"ms": 1e3 * seconds / n}


CHILDREN = {
    "plain_end": child_plain_end,
    "ours_end": child_ours_end,
    "plain_distance": child_plain_distance,
    "ours_distance": child_ours_distance,
    "feed": child_feed,
}


def interleaved(stages: dict[str, tuple[str, dict[str, Any]]], rounds: int, key: str) -> dict[str, Any]:
    """Every stage once a round; per name the readings, their spread and the peak memory."""
    readings: dict[str, list[dict[str, Any]]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, (stage, options) in stages.items():
            readings[name].append(in_child(stage, options))
    return {
        name: {
            "readings": [reading[key] for reading in runs],
            "peak_gib": max(run["peak_gib"] for run in runs),
            "first_readings": [run["first_seconds"] for run in runs if "first_seconds" in run],
            "value": runs[0].get("value"),
        }
        for name, runs in readings.items()
    }


def show(title: str, results: dict[str, Any], unit: str, against: str | None) -> None:
    """One table; ratios are round by round."""
    print(f"\n{title}")
    base = results[against]["readings"] if against else None
    for name, result in results.items():
        spread = Spread.of(result["readings"])
        ratios = [one / two for one, two in zip(base, result["readings"], strict=True)] if base else []
        ratio = f"{Spread.of(ratios).text():>18s} x" if base else ""
        value = "" if result["value"] is None else f"  value {result['value']:.3f}"
        first = result["first_readings"]
        getting = f"  first level of a run {Spread.of(first).text()}" if first else ""
        print(f"  {name:28s} {spread.text()} {unit:3s} {ratio}  peak {result['peak_gib']:.2f} GiB{value}{getting}")


def bench_end(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """From pyramids to the value."""
    n, res = arguments.images, arguments.res
    files = {
        role: str(write_random_pyramid(folder / f"{role}.h5", n=n, res=res, seed=seed))
        for seed, role in enumerate(("real", "fake"))
    }
    shared = {**files, "res": res, "n": n, "jobs": arguments.jobs}
    results = interleaved(
        {
            "plain": ("plain_end", shared),
            "ours": ("ours_end", {**shared, "full": False}),
            "ours, interval and floor": ("ours_end", {**shared, "full": True}),
        },
        arguments.rounds,
        "process_seconds",
    )
    show(f"end to end, {n} + {n} images of {res}², HDF5, processes from start to end", results, "s", "plain")
    return results


def bench_distance(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One level."""
    rows = 1 << arguments.rows_log2
    shared = {"rows": rows, "jobs": arguments.jobs, "native": have_native()}
    results = interleaved(
        {
            "plain (1 of 4 repeats, x4)": ("plain_distance", shared),
            "ours, in memory": ("ours_distance", {**shared, "folder": None}),
            "ours, from a file": ("ours_distance", {**shared, "folder": str(folder)}),
            "NumPy alone, in memory": ("ours_distance", {**shared, "folder": None, "native": False}),
        },
        arguments.rounds,
        "seconds",
    )
    show(f"distance of one level, 2^{arguments.rows_log2} x 512", results, "s", "plain (1 of 4 repeats, x4)")
    return results


def bench_feed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One image."""
    shared = {"res": arguments.feed_res, "images": arguments.feed_images, "folder": str(folder)}
    ways = {"NumPy alone": False, "ours": have_native()}
    stages = {
        f"{way}, {jobs} threads": ("feed", {**shared, "jobs": jobs, "native": native})
        for way, native in ways.items()
        for jobs in (1, arguments.jobs)
    }
    results = interleaved(stages, arguments.rounds, "ms")
    show(f"feeding images of {arguments.feed_res}²", results, "ms", None)
    return results


def extrapolate(feed: dict[str, Any], distance: dict[str, Any], rows: int) -> dict[str, float]:
    """Compute seconds of the full protocol, both sets, from the measured stages."""
    feed_ms = Spread.of(list(feed.values())[-1]["readings"]).median
    filed = distance["ours, from a file"]
    level, first = (Spread.of(filed[key]).median * PAPER_ROWS / rows for key in ("readings", "first_readings"))
    total = {
        "feeding_sec": 2 * PAPER_IMAGES * feed_ms / 1e3,
        "distances_sec": first + (PAPER_LEVELS - 1) * level,
    }
    total["all_sec"] = sum(total.values())
    print("\nfull protocol, EXTRAPOLATED: 2 x 16,384 images of 1024², 7 levels, reading not included")
    print("  " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in total.items()) + "  (target 150)")
    return total


def main() -> None:
    """Run the stages and write benchmarks/results/swd.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--res", type=int, default=256)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows-log2", type=int, default=21)
    parser.add_argument("--feed-res", type=int, default=1024)
    parser.add_argument("--feed-images", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--skip", nargs="*", default=[], choices=["end", "distance", "feed"])
    parser.add_argument("--folder", type=Path, help="for temporary files, on a disk")
    arguments = parser.parse_args()
    if arguments.child:
        stage, options = arguments.child
        print(json.dumps({**CHILDREN[stage](json.loads(options)), "peak_gib": peak_gib()}))
        return
    results: dict[str, Any] = {"config": {k: str(v) for k, v in vars(arguments).items() if k != "child"}}
    stages = {"end": bench_end, "distance": bench_distance, "feed": bench_feed}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, stage in stages.items():
            if name not in arguments.skip:
                results[name] = stage(arguments, Path(folder))
    if "feed" in results and "distance" in results and arguments.feed_res == 1024:
        rows = 1 << arguments.rows_log2
        results["full_protocol_extrapolated"] = extrapolate(results["feed"], results["distance"], rows)
    print(f"\nwritten to {write_results('swd', results)}")


if __name__ == "__main__":
    main()
