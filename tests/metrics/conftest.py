"""Image sets for the metrics' tests."""

import importlib
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

MakeImages = Callable[..., Any]


@pytest.fixture(scope="session")
def natural_images() -> MakeImages:
    """natural_images(n, res, seed=0, tint=0.0) -> (n, 3, res, res) uint8 with the 1/f spectrum of photographs.

    Images differ in contrast and brightness; `tint` adds that many grey levels to the first channel.
    """

    def make(n: int, res: int, seed: int = 0, tint: float = 0.0) -> Any:
        rng = np.random.default_rng(seed)
        frequencies = np.hypot(np.fft.fftfreq(res)[:, None], np.fft.rfftfreq(res)[None])
        frequencies[0, 0] = 1 / res
        phases = np.exp(2j * np.pi * rng.random((n, 3, *frequencies.shape)))
        waves = np.fft.irfft2(phases / frequencies, s=(res, res))
        waves -= waves.mean(axis=(2, 3), keepdims=True)
        waves /= waves.std(axis=(2, 3), keepdims=True)
        contrast = rng.uniform(20, 50, (n, 1, 1, 1))
        brightness = rng.uniform(90, 160, (n, 3, 1, 1))
        brightness[:, 0] += tint
        return np.clip(np.rint(brightness + contrast * waves), 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def synthetic_run() -> ModuleType:
    """The module benchmarks/synthetic_run.py."""
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    try:
        return importlib.import_module("benchmarks.synthetic_run")
    finally:
        sys.path.remove(str(root))


@pytest.fixture(scope="session")
def measured_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs are kept that several tests copy; measuring them once is enough."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def make_pyramid(tmp_path: Path, natural_images: MakeImages) -> Callable[..., Path]:
    """make_pyramid(name, n=24, res=32, seed=0, attributes=()) -> a pyramid with quality scores in tmp_path."""
    from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid

    def make(name: str, n: int = 24, res: int = 32, seed: int = 0, attributes: Sequence[str] = ()) -> Path:
        path = tmp_path / name
        rows = [
            IndexRow(
                key=str(slot),
                file=f"{slot}.png",
                quality=slot / n,
                attributes=tuple(1 if slot % 2 else -1 for _ in attributes) or None,
            )
            for slot in range(n)
        ]
        meta = PyramidMeta(build_config={"seed": seed})
        create_pyramid(path, res=res, rows=rows, meta=meta, attribute_names=attributes)
        with SlotWriter(path) as writer:
            for slot, image in enumerate(natural_images(n, res, seed)):
                writer.write(slot, image)
        return path

    return make


@pytest.fixture
def make_run(
    tmp_path: Path, measured_runs: Path, make_pyramid: Callable[..., Path], synthetic_run: ModuleType
) -> Callable[..., Path]:
    """make_run(name, kimgs=(10, 20), seed=0, res=32, n=64, measure=True, label=None) -> a run directory in tmp_path."""
    import json

    def make(
        name: str,
        kimgs: Sequence[int] = (10, 20),
        seed: int = 0,
        res: int = 32,
        n: int = 64,
        measure: bool = True,
        label: str | None = None,
    ) -> Path:
        data = tmp_path / f"data{res}.h5"
        if not data.exists():
            make_pyramid(data.name, res=res)
        kept = measured_runs / f"{list(kimgs)}-{seed}-{res}-{n}-{measure}"
        if not kept.exists():
            synthetic_run.write_run(kept, data, kimgs=kimgs, seed=seed, res=res, n=n, measure=measure)
        run = tmp_path / name
        shutil.copytree(kept, run)
        config = json.loads((run / "config.json").read_text())
        config["data"] |= {"path": str(data), "label_names": [label] if label else []}
        (run / "config.json").write_text(json.dumps(config))
        return run

    return make
