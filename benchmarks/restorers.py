"""What our restoration networks gain, and how fast they are beside Real-ESRGAN.

    python -m benchmarks.restorers --photos DIR [--weights FILE ...] [--limit N] [--edge 512] [--shrink 2]
        [--rounds 3] [--skip-speed]

Gains are means over the photographs, which must not be those of training: each is shrunk by `--shrink` so that the
artifacts of its own file are gone, and its middle of `--edge` pixels is damaged and restored. Only what ships is
judged, and `--weights FILE ...` of `train-restorer`. Speed is measured on a 178 x 218 face of the shipped sample, all
networks in the same number format, interleaved; the ratio is of pairs run back to back. A network's speed does not
depend on its weights, so all are timed with random ones. Needs `celebahq weights get realesrgan` for the ratio.
"""

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.record import Spread, write_results
from benchmarks.restoration import sample_pictures
from celebahq_tools.errors import MissingDependencyError
from celebahq_tools.restore import Restorer, RestorerConfig, open_restorer
from celebahq_tools.restore.modelfile import Model, encode_model
from celebahq_tools.restore.networks import TASKS, RestoreNetwork, TaskName, default_network
from celebahq_tools.restore.ours import OursRestorer
from celebahq_tools.restore.shipped import SHIPPED
from celebahq_tools.restore.training.photos import read_photos
from celebahq_tools.restore.training.validate import Score, centre, score

Pixels = NDArray[np.uint8]
FACE_SIZE = (178, 218)
TARGETS = {
    ("jpeg", "q10"): 1.0,
    ("jpeg", "q30"): 0.9,
    ("jpeg", "q50"): 0.8,
    ("jpeg", "q75"): 0.6,
    ("sr4", "bicubic"): 1.0,
    ("joint", "bicubic-q75"): 0.8,
}
MULTIPLE = 32


def open_ours(precision: Any, *, task: Any = "jpeg", weights: Path | None = None) -> OursRestorer:
    """A shipped network, or that of a file, in one number format."""
    opened = open_restorer(RestorerConfig(name="ours", task=task, precision=precision, weights=weights))
    assert isinstance(opened, OursRestorer)
    return opened


def random_weights(task: TaskName, folder: Path) -> Path:
    """A file of weights for a network of the size of a task."""
    network = default_network(task)
    model = Model(task=task, version="0", network=network, state=RestoreNetwork(network).state_dict(), card={})
    path = folder / f"{task}.safetensors"
    path.write_bytes(encode_model(model))
    return path


def measure_gains(
    photos: Path, weights: list[Path], limit: int | None, edge: int, shrink: float
) -> dict[str, list[Score]]:
    """Scores by task, float32."""
    pictures = [
        centre(photo.pixels, edge, MULTIPLE)
        for photo in read_photos(photos, shrink=shrink, progress=lambda done, total: None)[:limit]
    ]
    found: dict[str, list[Score]] = {}
    restorers = [open_ours("fp32", task=model.task) for model in SHIPPED]
    for restorer in restorers + [open_ours("fp32", weights=path) for path in weights]:
        found[restorer.task] = score(pictures, restorer.task, restorer.scale, restorer.restore)
    return found


def face() -> Pixels:
    """178 x 218 pixels around a face of the shipped sample."""
    pixels, landmarks = next(iter(sample_pictures().values()))
    width, height = FACE_SIZE
    x, y = (int(value) for value in landmarks.mean(axis=0))
    left = max(0, min(x - width // 2, pixels.shape[1] - width))
    top = max(0, min(y - height // 2, pixels.shape[0] - height))
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def seconds(restorer: Restorer, pixels: Pixels) -> float:
    """Wall time of one restoration."""
    started = time.perf_counter()
    restorer.restore(pixels)
    return time.perf_counter() - started


def measure_speed(rounds: int, folder: Path) -> dict[str, dict[str, Any]]:
    """By number format: seconds on the face, and how many times faster joint is than Real-ESRGAN."""
    pixels = face()
    rows: dict[str, dict[str, Any]] = {}
    for precision in ("fp32", "bf16"):
        ours = {task: open_ours(precision, weights=random_weights(task, folder)) for task in TASKS}
        teacher: Restorer | None
        try:
            teacher = open_restorer(RestorerConfig(name="realesrgan", precision=precision))
        except MissingDependencyError:
            teacher = None
        for restorer in ours.values():
            restorer.restore(pixels)  # loads the weights
        if teacher is not None:
            teacher.restore(pixels[:32, :32])
        times: dict[str, list[float]] = {task: [] for task in ours}
        theirs, ratios = [], []
        for _ in range(rounds):
            for task, restorer in ours.items():
                times[task].append(seconds(restorer, pixels))
            if teacher is not None:
                theirs.append(seconds(teacher, pixels))
                ratios.append(theirs[-1] / times["joint"][-1])
        rows[precision] = {
            "threads": torch.get_num_threads(),
            "seconds": {task: asdict(Spread.of(values)) for task, values in times.items()},
            "realesrgan_seconds": asdict(Spread.of(theirs)) if theirs else None,
            "joint_times_faster": asdict(Spread.of(ratios)) if ratios else None,
        }
    return rows


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="*", default=[])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--shrink", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-speed", action="store_true")
    options = parser.parse_args()
    gains = measure_gains(options.photos, options.weights, options.limit, options.edge, options.shrink)
    for task, scores in gains.items():
        for found in scores:
            wanted = TARGETS.get((task, found.case))
            verdict = "" if wanted is None else f"  (wanted {wanted:+.1f}: {found.psnr_gain >= wanted})"
            similar = "" if found.ms_ssim_gain is None else f", MS-SSIM {found.ms_ssim:.4f} ({found.ms_ssim_gain:+.4f})"
            print(f"{task:5} {found.case:12} {found.psnr:.2f} dB ({found.psnr_gain:+.2f}){similar}{verdict}")
    speed: dict[str, dict[str, Any]] = {}
    if not options.skip_speed:
        with tempfile.TemporaryDirectory() as folder:
            speed = measure_speed(options.rounds, Path(folder))
    for precision, row in speed.items():
        parts = [f"{task} {Spread(**spread).text(3)} s" for task, spread in row["seconds"].items()]
        if row["joint_times_faster"] is not None:
            parts.append(f"Real-ESRGAN {Spread(**row['realesrgan_seconds']).text()} s")
            parts.append(f"joint {Spread(**row['joint_times_faster']).text(1)} times faster")
        print(f"178x218, {precision}, {row['threads']} threads: {', '.join(parts)}")
    gains_json = {task: {found.case: asdict(found) for found in scores} for task, scores in gains.items()}
    print(
        write_results(
            "restorers",
            {
                "pictures": {"limit": options.limit, "edge": options.edge, "shrink": options.shrink},
                "gains": gains_json,
                "speed": speed,
            },
        )
    )


if __name__ == "__main__":
    main()
