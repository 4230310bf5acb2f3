"""A training run as it would lie on disk, of noise with the spectrum of photographs: for tests and benchmarks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import metrics
from benchmarks.random_images import random_image
from celebahq_tools.store import PyramidReader
from metrics.protocol import write_json

GRID = (8, 8)
KIMG_SEC = 12.0


def images_of(count: int, res: int, seed: int) -> np.ndarray:
    """(count, 3, res, res) uint8."""
    rng = np.random.default_rng(seed)
    return np.stack([random_image(res, rng) for _ in range(count)])


def write_grid(path: Path, images: np.ndarray, columns: int) -> None:
    """A picture of images (rows columns, 3, R, R) uint8 in rows of `columns`."""
    count, _, side, _ = images.shape
    sheet = images.reshape(count // columns, columns, 3, side, side).transpose(0, 3, 1, 4, 2)
    Image.fromarray(sheet.reshape(count // columns * side, columns * side, 3)).save(path)


def write_run(
    folder: Path,
    data: Path,
    *,
    kimgs: Sequence[int] = (10, 20, 30),
    seed: int = 0,
    res: int = 32,
    n: int = 64,
    measure: bool = True,
    labels: Sequence[str] = (),
) -> Path:
    """Write config.json, log.jsonl, grids and (by the real `metrics`, if `measure`) result files for each of `kimgs`.

    data  the pyramid that was "trained" on; its first images are the reals
    """
    folder.mkdir(parents=True)
    (folder / "metrics").mkdir()
    columns, rows = GRID
    with PyramidReader(data) as reader:
        fingerprint, count = reader.fingerprint(), len(reader)
        reals = reader.read(np.arange(columns * rows) % count, res)
    write_grid(folder / "reals.png", reals, columns)
    versions = {"python": "3.11", "torch": "2.13"}
    config: dict[str, Any] = {
        "schema": "celebahq-tools/pgan-run",
        "schema_version": 1,
        "preset": "cifar10",
        "config": {"network": {"fmap_base": 4096}, "train": {"grid": list(GRID), "seed": seed, "batch": 16}},
        "data": {
            "path": str(data),
            "fingerprint": fingerprint,
            "n": count,
            "res": res,
            "label_names": list(labels),
        },
        "versions": versions,
        "machine": "x86_64 linux, 2 cores",
        "started": "2026-11-25T10:00:00+00:00",
    }
    (folder / "config.json").write_text(json.dumps(config))
    log: list[dict[str, Any]] = [{"kind": "start", "nimg": 0, "device": "cpu", "world": 1, "versions": versions}]
    for place, kimg in enumerate(kimgs):
        fakes = images_of(columns * rows, res, 1000 * seed + place)
        strength = 1 / (place + 1)
        noise = np.random.default_rng(place).normal(0, 40 * strength, fakes.shape)
        fakes = np.clip(fakes + noise, 0, 255).astype(np.uint8)
        write_grid(folder / f"fakes{kimg:06d}.png", fakes, columns)
        tick_sec = KIMG_SEC * (kimg - (kimgs[place - 1] if place else 0))
        log.append(
            {
                "kind": "tick",
                "tick": place + 1,
                "nimg": kimg * 1000,
                "kimg": float(kimg),
                "lod": max(0.0, 2.0 - place),
                "res": res,
                "batch": 16,
                "sec_per_kimg": KIMG_SEC,
                "tick_sec": tick_sec,
                "train_sec": KIMG_SEC * kimg,
                "maintenance_sec": 1.5,
                "loss_g": -1.0 + strength,
                "loss_d": 2.0 * strength,
                "peak_gib": 0.5,
            }
        )
        if measure:
            log.append(_measure(folder, kimg, reals, fakes, n))
    log.append({"kind": "stop", "nimg": kimgs[-1] * 1000, "reason": "finished"})
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log))
    return folder


def _measure(folder: Path, kimg: int, reals: np.ndarray, fakes: np.ndarray, n: int) -> dict[str, Any]:
    swd = metrics.swd(reals[:n], fakes[:n], n=n)
    similar = metrics.ms_ssim(fakes[:n], n=n)
    files = []
    for result in (swd, similar):
        name = f"{kimg:06d}-{result.metric}.json"
        write_json(result.to_json(), folder / "metrics" / name)
        files.append(f"metrics/{name}")
    values = {"swd": swd.value, "ms-ssim": similar.value}
    values |= {f"swd/{level}": value for level, value in (swd.levels or {}).items()}
    return {"kind": "metrics", "nimg": kimg * 1000, "kimg": float(kimg), "values": values, "files": files}
