"""SIGKILL at random moments: nothing is lost but what was in flight, and the result is the same file."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

KILLS = 20
PICTURES = 30
RES = 512

SLOW_BUILD = """
import sys, time
from pathlib import Path
from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.pipeline.build import build_pyramid
from celebahq_tools.pipeline.job import face_job
from celebahq_tools.sources import open_source
src, out, jobs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = BuildConfig(recipe="plain", res=int(sys.argv[4]))
options = RunOptions(jobs=jobs)
print("started", flush=True)
build_pyramid(face_job(open_source(src), config, options), options, out, lambda stage, done, total: None)
"""


def datasets(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with h5py.File(path, "r") as file:

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = item[()].tobytes()

        file.visititems(visit)
    return found


def start(root: Path, out: Path, jobs: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SLOW_BUILD, str(root), str(out), str(jobs), str(RES)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def finished_slots(partial: Path) -> int:
    try:
        with h5py.File(partial, "r", locking=False) as file:
            return int(np.any(file["index/sha256"][()], axis=1).sum())
    except (FileNotFoundError, KeyError):
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_at_random_moments_the_result_is_the_same(
    tmp_path: Path, make_celeba: Callable[..., Path], jobs: int
) -> None:
    root = make_celeba(PICTURES)
    with start(root, tmp_path / "whole.h5", jobs) as whole:
        began = time.monotonic()
        assert whole.wait() == 0
    duration = time.monotonic() - began
    expected = datasets(tmp_path / "whole.h5")

    rng = random.Random(jobs)
    out = tmp_path / "killed.h5"
    partial = tmp_path / "killed.h5.partial"
    kills = 0
    progressed = 0
    while kills < KILLS // 2:
        before = finished_slots(partial)
        with start(root, out, jobs) as process:
            try:
                assert process.wait(timeout=rng.uniform(0.05, 0.8) * duration) == 0
                out.unlink()
                continue
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        kills += 1
        if out.exists():  # killed after the rename
            assert datasets(out) == expected
            out.unlink()
            continue
        after = finished_slots(partial)
        assert after >= before
        progressed += after > before
    assert progressed > 0, "no kill landed while slots were being filled"
    with start(root, out, jobs) as process:
        assert process.wait() == 0
    assert datasets(out) == expected
    assert not partial.exists()
