"""Descriptors computed by a cluster."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metrics
from metrics.errors import ImageSetError, UsageError
from metrics.sliced.config import SwdConfig

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def address() -> Any:
    """The address of a cluster of two workers."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def stored(natural_images: Any, tmp_path: Path) -> tuple[str, str]:
    """Two sets as files, longer than a task."""
    paths = []
    for seed, role in enumerate(("real", "fake")):
        path = tmp_path / f"{role}.npy"
        np.save(path, natural_images(75, 32, seed=seed))
        paths.append(str(path))
    return paths[0], paths[1]


def test_a_cluster_gives_the_result_of_one_machine(stored: tuple[str, str], address: str) -> None:
    alone, together = metrics.swd(*stored).to_json(), metrics.swd(*stored, dask=address).to_json()
    del alone["run"], together["run"]
    assert together == alone


def test_errors_of_workers_arrive(stored: tuple[str, str], address: str, natural_images: Any) -> None:
    with pytest.raises(UsageError, match="one sequence"):
        metrics.swd(*stored, config=SwdConfig(protocol="reference"), dask=address)
    with pytest.raises(UsageError, match="no path"):
        metrics.swd(natural_images(8, 16), natural_images(8, 16), dask=address)


def test_a_file_that_vanishes_is_named(stored: tuple[str, str], address: str) -> None:
    from metrics.sources import open_image_set

    with open_image_set(stored[0]) as real, open_image_set(stored[1]) as fake:
        assert fake.fingerprint
        Path(stored[1]).unlink()
        with pytest.raises(ImageSetError, match=r"fake\.npy does not exist"):
            metrics.swd(real, fake, dask=address)
