"""The plain programs the benchmarks compare with compute the same metrics."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

import metrics
from metrics.msssim.similarity import ms_ssim_pair
from metrics.sliced.config import SwdConfig
from metrics.sliced.laplacian import laplacian_pyramid

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def plain(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pyramids_agree(natural_images: Any) -> None:
    image = natural_images(1, 64)[0]
    for one, other in zip(
        plain("plain_swd").laplacian(image.astype(np.float32)), laplacian_pyramid(image), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_values_agree_within_the_spread_of_seeds(natural_images: Any, tmp_path: Path) -> None:
    sets = natural_images(40, 32), natural_images(40, 32, seed=1)
    for name, images in zip(("a.h5", "b.h5"), sets, strict=True):
        with h5py.File(tmp_path / name, "w") as file:
            file["data32x32"] = images
    program = plain("plain_swd")
    theirs = [program.swd(tmp_path / "a.h5", tmp_path / "b.h5", 32, 40, seed)[-1] for seed in (0, 10, 20, 30)]
    config = [SwdConfig(seed=seed, interval_splits=0) for seed in range(4)]
    ours = [metrics.swd(*sets, config=one, floor=False).value for one in config]
    error = np.hypot(np.std(theirs, ddof=1), np.std(ours, ddof=1)) / 2
    assert abs(np.mean(theirs) - np.mean(ours)) < 4 * error
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.1)


@pytest.mark.parametrize("res", [32, 64, 256])
def test_ms_ssim_agrees(res: int, natural_images: Any) -> None:
    first, second = natural_images(2, res)
    mixed = (0.6 * first + 0.4 * second).astype(np.uint8)
    assert plain("plain_ms_ssim").ms_ssim(first, mixed) == pytest.approx(ms_ssim_pair(first, mixed), abs=3e-6)
