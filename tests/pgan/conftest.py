"""A small training set and small networks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from celebahq_tools.store import PyramidMeta, SlotWriter, create_pyramid
from celebahq_tools.store.schema import IndexRow
from pgan.config import Config
from pgan.presets import preset

TINY_RES = 16


def write_pyramid(path: Path, *, n: int = 40, res: int = TINY_RES, classes: int = 0, seed: int = 0) -> Path:
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
        return write_pyramid(tmp_path / name, n=n, res=res, classes=classes, seed=seed)

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
