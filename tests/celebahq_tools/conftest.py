"""Fixtures of the package's own tests."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid


@pytest.fixture
def store_images() -> Callable[..., np.ndarray]:
    """store_images(count, res, seed=0) -> (count, 3, res, res) uint8: noise on gradients."""

    def make(count: int, res: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        ramps = np.linspace(0, 200, res)[None, None, None, :] + 5 * np.arange(count)[:, None, None, None] % 40
        return (ramps + rng.integers(0, 16, (count, 3, res, res))).astype(np.uint8)

    return make


@pytest.fixture
def store_rows() -> Callable[[int], list[IndexRow]]:
    """store_rows(count): rows of which every other one knows everything, the rest nothing but its name."""

    def make(count: int) -> list[IndexRow]:
        rng = np.random.default_rng(count)
        rows = []
        for k in range(count):
            if k % 2:
                rows.append(IndexRow(key=f"plain {k}", file=f"plain {k}"))
                continue
            rows.append(
                IndexRow(
                    key=f"Ordner/é{k}.jpg#2",
                    file=f"Ordner/é{k}.jpg",
                    quad=rng.normal(100, 50, (4, 2)),
                    landmarks=rng.normal(100, 50, (5, 2)),
                    quality=k / 7,
                    identity=1000 + k,
                    attributes=(1, -1, 1) if k % 4 else (-1, -1, 1),
                    partition=k % 3,
                    label=k % 2,
                )
            )
        return rows

    return make


@pytest.fixture
def make_store(
    tmp_path: Path, store_images: Callable[..., np.ndarray], store_rows: Callable[[int], list[IndexRow]]
) -> Callable[..., tuple[Path, np.ndarray]]:
    """make_store(count=6, res=32, name="a.h5", seed=0) -> (path of a finished file, its images)."""

    def make(count: int = 6, res: int = 32, name: str = "a.h5", seed: int = 0) -> tuple[Path, np.ndarray]:
        path = tmp_path / name
        images = store_images(count, res, seed)
        create_pyramid(
            path,
            res=res,
            rows=store_rows(count),
            meta=PyramidMeta(
                build_config={"recipe": "plain", "res": res},
                manifest_sha256="ab" * 32,
                library_versions={"numpy": "2.0", "h5py": "3.0"},
            ),
            attribute_names=("Male", "Smiling", "Young"),
            label_names=("cat", "dog"),
        )
        with SlotWriter(path) as writer:
            for slot, image in enumerate(images):
                writer.write(slot, image)
        return path, images

    return make


@pytest.fixture
def make_authors_file(
    tmp_path: Path, store_images: Callable[..., np.ndarray]
) -> Callable[..., tuple[Path, np.ndarray]]:
    """make_authors_file(count=5, res=16, labels=None): the layout of the authors' own .h5 files, down to 1x1."""

    def make(count: int = 5, res: int = 16, labels: np.ndarray | None = None) -> tuple[Path, np.ndarray]:
        path = tmp_path / "celeba-hq.h5"
        images = store_images(count, res, 5)
        with h5py.File(path, "w") as file:
            for level, pixels in build_levels(images, 1).items():
                file.create_dataset(
                    f"data{level}x{level}",
                    data=pixels,
                    maxshape=(None, 3, level, level),
                    chunks=(-(-128 // (3 * level * level)), 3, level, level),
                    compression="gzip",
                    compression_opts=4,
                )
        if labels is not None:
            np.save(path.with_name("celeba-hq-labels.npy"), labels)
        return path, images

    return make
