"""How fast `celebahq build` is: images per second and core, scaling with jobs, peak memory of a worker.

    python -m benchmarks.build [--images 240] [--rounds 3] [--restore]

The source is the shipped sample, linked many times under new names; the builds of one round are interleaved and
run as separate processes, so that start-up counts. `--restore` adds the recipe `paper` on a few images.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

from benchmarks.record import Spread, write_results

WORKER_LIMIT_GIB = 1.0

CHILD = """
import json, resource, sys, time
from pathlib import Path
from celebahq_tools.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print(json.dumps([resource.getrusage(kind).ru_maxrss / 2**20 for kind in kinds]))
"""


def make_source(folder: Path, images: int) -> Path:
    """A CelebA root of `images` pictures: the sample's, repeated under new names."""
    with resources.as_file(resources.files("celebahq_tools") / "sample" / "celeba") as sample:
        landmarks = (sample / "Anno" / "list_landmarks_celeba.txt").read_text().splitlines()
        rows = [line.split() for line in landmarks[2:]]
        (folder / "Anno").mkdir(parents=True)
        (folder / "img_celeba").mkdir()
        lines = [str(images), landmarks[1]]
        for number in range(images):
            name, *points = rows[number % len(rows)]
            copy = f"{number + 1:06d}.jpg"
            (folder / "img_celeba" / copy).write_bytes((sample / "img_celeba" / name).read_bytes())
            lines.append(" ".join([copy, *points]))
    (folder / "Anno" / "list_landmarks_celeba.txt").write_text("\n".join(lines) + "\n")
    return folder


def timed_build(source: Path, out: Path, *options: str) -> tuple[float, float, float]:
    """Wall seconds of one build in a process of its own, and peak GiB of it and of its largest worker."""
    command = [sys.executable, "-c", CHILD, "build", "--src", str(source), "--out", str(out), "--quiet", *options]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    own, workers = json.loads(done.stdout.splitlines()[-1])
    out.unlink()
    return seconds, own, workers


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--res", type=int, default=1024)
    parser.add_argument("--restore", action="store_true")
    parser.add_argument("--restore-images", type=int, default=4)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        results = geometry(Path(folder), options.images, options.rounds, options.res)
        if options.restore:
            results |= restoration(Path(folder), options.restore_images, options.res)
    print(f"results: {write_results('build', results)}")


def geometry(folder: Path, images: int, rounds: int, res: int) -> dict[str, Any]:
    """Recipe `plain`, whole command: 1 job and 2 jobs, and both on a tenth of the images for the fixed cost."""
    source = make_source(folder / "source", images)
    recipe = ("--recipe", "plain", "--res", str(res))
    tenth = images // 10
    one: list[float] = []
    two: list[float] = []
    small_one: list[float] = []
    small_two: list[float] = []
    memory: list[float] = []
    for _ in range(rounds):
        seconds, own, _none = timed_build(source, folder / "o.h5", *recipe, "--jobs", "1")
        one.append(seconds)
        memory.append(own)
        seconds, _own, worker = timed_build(source, folder / "o.h5", *recipe, "--jobs", "2")
        two.append(seconds)
        memory.append(worker)
        small_one.append(timed_build(source, folder / "o.h5", *recipe, "--limit", str(tenth))[0])
        small_two.append(timed_build(source, folder / "o.h5", *recipe, "--limit", str(tenth), "--jobs", "2")[0])
    rate = Spread.of([images / seconds for seconds in one])
    more_one = [whole - part for whole, part in zip(one, small_one, strict=True)]
    more_two = [whole - part for whole, part in zip(two, small_two, strict=True)]
    marginal = Spread.of([(images - tenth) / seconds for seconds in more_one])
    marginal_scaling = Spread.of([a / b for a, b in zip(more_one, more_two, strict=True)])
    scaling = Spread.of([a / b for a, b in zip(one, two, strict=True)])
    print(f"plain, {images} images at {res}², {rounds} rounds, median (smallest-largest)")
    print(f"  images per second, 1 job, start-up, survey and verification included   {rate.text()}")
    print(f"  images per second and core beyond the first {tenth:4d}                       {marginal.text()}")
    print(f"  speed of 2 jobs over 1 job, start-up of both included                   {scaling.text()}")
    print(f"  speed of 2 jobs over 1 job beyond the first {tenth:4d}                        {marginal_scaling.text()}")
    print(f"  peak memory of a process, GiB (limit {WORKER_LIMIT_GIB})                              {max(memory):.2f}")
    return {
        "images": images,
        "res": res,
        "rounds": rounds,
        "seconds_1_job": one,
        "seconds_2_jobs": two,
        "seconds_1_job_tenth": small_one,
        "seconds_2_jobs_tenth": small_two,
        "images_per_sec_1_job": vars_of(rate),
        "images_per_sec_marginal": vars_of(marginal),
        "speed_of_2_jobs": vars_of(scaling),
        "speed_of_2_jobs_marginal": vars_of(marginal_scaling),
        "peak_worker_gib": max(memory),
    }


def restoration(folder: Path, images: int, res: int) -> dict[str, Any]:
    """Recipe `paper` with realesrgan beside `plain` on the same few images, 1 job."""
    source = make_source(folder / "few", images)
    plain = timed_build(source, folder / "o.h5", "--recipe", "plain", "--res", str(res))[0]
    paper, own, _ = timed_build(
        source, folder / "o.h5", "--recipe", "paper", "--restorer", "realesrgan", "--res", str(res)
    )
    print(f"paper (realesrgan), {images} images at {res}²: {paper / images:.1f} s an image and core, {own:.2f} GiB;")
    print(f"  {paper / plain:.0f} times plain")
    return {"restore_images": images, "seconds_paper": paper, "seconds_plain_few": plain, "peak_paper_gib": own}


def vars_of(spread: Spread) -> dict[str, float]:
    """A spread as JSON values."""
    return {"smallest": spread.smallest, "median": spread.median, "largest": spread.largest}


if __name__ == "__main__":
    main()
