"""A tiny run directory, a tiny pyramid, and what fills them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid
from pgan.config import Config, NetworkConfig, config_json
from pgan.generate import write_generator
from pgan.networks.build import build_generator
from pgan.presets import preset

TINY_RES = 16


def tiny_config(res: int = 16, label_size: int = 0) -> Config:
    network = NetworkConfig(res=res, fmap_base=64, fmap_max=8, latent=8, label_size=label_size)
    base = preset("demo")
    return replace(base, network=network, schedule=replace(base.schedule, start_res=4))


def write_tiny(path: Path, *, seed: int = 0, lod: float = 0.0, nimg: int = 30_000, label_size: int = 0) -> Path:
    config = tiny_config(label_size=label_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_generator(path, config, build_generator(config, seed), lod=lod, nimg=nimg)
    return path


def write_pyramid(path: Path, count: int, res: int = 16) -> Path:
    images = np.random.default_rng(1).integers(0, 256, (count, 3, res, res), dtype=np.uint8)
    rows = [IndexRow(key=f"{slot:05d}", file="made") for slot in range(count)]
    create_pyramid(path, res=res, rows=rows, meta=PyramidMeta())
    with SlotWriter(path) as writer:
        for slot, image in enumerate(images):
            writer.write(slot, image)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_generator() -> Callable[..., Path]:
    return write_tiny


@pytest.fixture
def make_pyramid() -> Callable[..., Path]:
    return write_pyramid


@pytest.fixture
def tiny_run(tmp_path: Path) -> Path:
    """A run directory with three networks (the first still growing) and its data beside it."""
    run = tmp_path / "run"
    data = write_pyramid(tmp_path / "data.h5", 24)
    for number, lod in enumerate((1.5, 0.0, 0.0)):
        write_tiny(run / "networks" / f"{10 * number:06d}.safetensors", seed=number, lod=lod, nimg=10_000 * number)
    plain = {
        "schema": "celebahq-tools/pgan-run",
        "schema_version": 1,
        "preset": "demo",
        "config": config_json(tiny_config()),
        "data": {"path": str(data), "fingerprint": "", "n": 24, "res": 16, "label_names": []},
    }
    (run / "config.json").write_text(json.dumps(plain))
    return run


def write_smooth(path: Path, *, n: int = 40, res: int = TINY_RES, classes: int = 0, seed: int = 0) -> Path:
    """A pyramid of random smooth pictures, with class labels if asked for."""
    rng = np.random.default_rng(seed)
    rows = [
        IndexRow(key=f"{number}", file=f"{number}.png", label=number % classes if classes else None)
        for number in range(n)
    ]
    create_pyramid(path, rows=rows, res=res, meta=PyramidMeta())
    with SlotWriter(path) as writer:
        for slot in range(n):
            coarse = rng.integers(0, 256, (3, 4, 4))
            image = np.kron(coarse, np.ones((1, res // 4, res // 4))).astype(np.uint8)
            writer.write(slot, image)
    return path


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., Path]:
    """Makes pyramids: make_data(n=, res=, classes=, name=)."""

    def make(*, n: int = 40, res: int = TINY_RES, classes: int = 0, seed: int = 0, name: str = "data.h5") -> Path:
        return write_smooth(tmp_path / name, n=n, res=res, classes=classes, seed=seed)

    return make


@pytest.fixture
def tiny() -> Config:
    """A configuration that grows from 4² to 16² within 0.3 kimg, four images a step."""
    base = preset("demo")
    return replace(
        base,
        network=replace(base.network, res=TINY_RES, fmap_base=64, fmap_max=8, latent=8),
        schedule=replace(
            base.schedule,
            training_kimg=0.04,
            transition_kimg=0.04,
            total_kimg=0.32,
            batch=4,
            batch_by_res=(),
            minibatch_repeats=2,
            tick_kimg=((4, 0.06), (8, 0.06), (16, 0.06)),
        ),
        train=replace(
            base.train, workers=0, grid=(2, 2), image_ticks=1, snapshot_ticks=1, network_ticks=2, keep=3, mirror=True
        ),
    )
