"""An import that is killed goes on, one whose pictures turn out damaged drops them, and memory stays bounded."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import CelebAHQError, FormatError
from celebahq_tools.formats.arrays import open_numpy
from celebahq_tools.formats.job import collection_job
from celebahq_tools.formats.pictures import open_pictures
from celebahq_tools.pipeline.build import build_pyramid
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.quality import quality_score
from celebahq_tools.store import PyramidReader

COUNT = 240
RES = 128

IMPORT = """
import sys
from celebahq_tools.cli import main
print("started", flush=True)
main(sys.argv[1:])
"""


def silent(stage: str, done: int, total: int) -> None:
    pass


def job_of(path: Path, res: int = RES, **options: object) -> object:
    opened = open_numpy(path) if path.suffix == ".npy" else open_pictures(path)
    return collection_job(opened, BuildConfig(recipe="images", res=res, **options))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_killed_import_goes_on_where_it_was(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, RES, RES, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    out = tmp_path / "o.h5"
    partial = BuildPaths.beside(out).partial
    command = [sys.executable, "-c", IMPORT, "import", "numpy", str(tmp_path / "a.npy"), "--out", str(out), "-q"]
    finished: list[int] = []
    for _ in range(40):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                done = written(partial)
                if done > (finished[-1] if finished else 0):
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.01)
            process.wait()
        if out.exists():
            break
        finished.append(written(partial))
        if len(finished) == 3:
            break
    assert len(finished) >= 2, "no kill landed while images were being stored"
    assert finished == sorted(finished)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with PyramidReader(out) as reader:
        np.testing.assert_array_equal(reader.read(slice(None)), pixels.transpose(0, 3, 1, 2))
    assert not partial.exists()


def written(partial: Path) -> int:
    try:
        with PyramidReader(partial, allow_partial=True) as reader:
            return int(reader.index.sha256.any(axis=1).sum())
    except CelebAHQError:
        return 0


def test_damaged_pictures_are_left_out_and_listed(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    for k in range(12):
        file = folder / "ab"[k % 2] / f"{k}.png"
        Image.fromarray(np.full((16, 16, 3), k, np.uint8)).save(file)
        if k in (3, 8):
            file.write_bytes(file.read_bytes()[:40])
    out = tmp_path / "o.h5"
    summary = build_pyramid(job_of(folder, 16), RunOptions(jobs=2), out, silent)  # type: ignore[arg-type]
    assert (summary.num_images, len(summary.rejects)) == (10, 2)
    with PyramidReader(out) as reader:
        values = [int(image[0, 0, 0]) for image in reader.read(slice(None))]
        assert values == [0, 2, 4, 6, 10, 1, 5, 7, 9, 11]
        assert reader.label_names == ("a", "b")
        assert reader.index.label.tolist() == [value % 2 for value in values]
    rejects = [json.loads(line) for line in BuildPaths.beside(out).rejects.read_text().splitlines()]
    assert sorted(item["key"] for item in rejects) == ["a/8.png", "b/3.png"]
    again = build_pyramid(job_of(folder, 16), RunOptions(), out, silent)  # type: ignore[arg-type]
    assert again.already_complete
    with pytest.raises(CelebAHQError, match="--strict"):
        build_pyramid(job_of(folder, 16), RunOptions(strict=True), tmp_path / "s.h5", silent)  # type: ignore[arg-type]


def test_an_unfinished_import_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 16, 16, 3), np.uint8))
    np.save(tmp_path / "b.npy", np.ones((4, 16, 16, 3), np.uint8))
    out = tmp_path / "o.h5"

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "verify":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pyramid(job_of(tmp_path / "a.npy", 16), RunOptions(), out, stop)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="other options or another source"):
        build_pyramid(job_of(tmp_path / "b.npy", 16), RunOptions(), out, silent)  # type: ignore[arg-type]
    build_pyramid(job_of(tmp_path / "b.npy", 16), RunOptions(overwrite=True), out, silent)  # type: ignore[arg-type]
    assert PyramidReader(out).read(slice(None)).min() == 1


def test_the_best_are_kept_by_quality(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.stack([rng.integers(0, 8 * k + 8, (64, 64, 3), dtype=np.uint8) for k in range(6)])
    scores = [quality_score(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in pixels]
    assert len(set(scores)) == 6
    np.save(tmp_path / "a.npy", pixels)
    build_pyramid(job_of(tmp_path / "a.npy", 64, keep=3), RunOptions(), tmp_path / "o.h5", silent)  # type: ignore[arg-type]
    with PyramidReader(tmp_path / "o.h5") as reader:
        assert [str(key) for key in reader.index.key] == [f"{k:05d}" for k in sorted(np.argsort(scores)[-3:])]
        assert reader.index.quality.tolist() == [scores[k] for k in sorted(np.argsort(scores)[-3:])]


PEAK = """
import sys
from celebahq_tools.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""


def peak_mib(*command: str) -> float:
    done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_size(tmp_path: Path) -> None:
    """Twenty times the images, 49 MB of them, cost little more memory: names and labels, no pixels."""
    peaks: dict[str, list[float]] = {"import": [], "npy": [], "tfrecords": []}
    for count in (800, 16_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        array = np.lib.format.open_memmap(folder / "a.npy", "w+", np.uint8, (count, 32, 32, 3))
        array[:] = (np.arange(count) % 256).reshape(-1, 1, 1, 1)
        del array
        peaks["import"].append(peak_mib("import", "numpy", f"{folder}/a.npy", "--out", f"{folder}/o.h5", "-q"))
        peaks["npy"].append(peak_mib("export", f"{folder}/o.h5", "--to", f"{folder}/b.npy", "-q"))
        export = ("export", f"{folder}/o.h5", "--to", f"{folder}/t", "--format", "tfrecords", "--limit", "12000", "-q")
        peaks["tfrecords"].append(peak_mib(*export))
    for name, (few, many) in peaks.items():
        assert many - few < 40, name
