from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import metrics
from metrics.errors import BatchError, ImageSetError, UsageError, WeightsError
from metrics.feature_inputs import FeatureConfig
from metrics.one_pass import METRIC_NAMES, AllConfig, measure_all, plan_all
from metrics.protocol import Result
from metrics.shared_pixels import MsSsimGuest
from metrics.sliced.config import SwdConfig
from metrics.sources import ImageSet, as_image_set, open_image_set

TINY = AllConfig(features=FeatureConfig(extractor="tiny", batch=7), subset_size=20, subsets=4)


def pictures(n: int, seed: int = 0, spread: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    colours = (128 + rng.integers(-spread, spread + 1, (n, 3, 8, 8))).astype(np.uint8)
    return colours.repeat(4, axis=2).repeat(4, axis=3)


class Counting(ImageSet):
    """Another set that counts how often each image is read."""

    def __init__(self, images: np.ndarray) -> None:
        self._inner = as_image_set(images)
        self.label, self.kind, self.n = "array", "array", self._inner.n
        self.res, self.resizer, self.threads = self._inner.res, None, False
        self.reads = np.zeros(self.n, int)

    def read(self, indices: Any) -> np.ndarray:
        np.add.at(self.reads, np.asarray(indices), 1)
        return self._inner.read(indices)

    def _fingerprint(self) -> str:
        return self._inner.fingerprint

    def close(self) -> None:
        self._inner.close()


def comparable(result: Result) -> dict[str, Any]:
    plain = result.to_json()
    for key in ("run", "details"):
        plain.pop(key)
    return plain


REAL, FAKE = pictures(61), pictures(45, 1, 90)


def test_each_image_is_read_once_for_all_metrics() -> None:
    real, fake = Counting(REAL), Counting(FAKE)
    results = measure_all(real, fake, TINY)
    assert [result.metric for result in results] == list(METRIC_NAMES)
    assert (real.reads == 1).all()
    assert (fake.reads == 1).all()


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_values_are_those_of_the_single_metrics(batch: int) -> None:
    config = replace(TINY, features=replace(TINY.features, batch=batch, seed=3))
    found = {r.metric: comparable(r) for r in measure_all(as_image_set(REAL), as_image_set(FAKE), config)}
    assert found["swd"] == comparable(metrics.swd(REAL, FAKE, config=SwdConfig(seed=3)))
    assert found["ms-ssim"] == comparable(metrics.ms_ssim(FAKE, seed=3))
    single = replace(config, metrics=("fid",))
    assert found["fid"] == comparable(measure_all(as_image_set(REAL), as_image_set(FAKE), single)[0])


def test_n_holds_for_all_metrics() -> None:
    config = replace(TINY, features=replace(TINY.features, n=31, n_real=50, seed=2))
    real, fake = Counting(REAL), Counting(FAKE)
    found = {result.metric: result for result in measure_all(real, fake, config)}
    assert found["fid"].protocol.sets["real"].n == 50
    assert found["fid"].protocol.sets["fake"].n == 31
    assert found["ms-ssim"].protocol.sets["set"].n == 30
    assert found["swd"].protocol.sets["real"].n == 31
    assert comparable(found["swd"]) == comparable(metrics.swd(REAL, FAKE, n=31, config=SwdConfig(seed=2)))
    assert real.reads.max() == fake.reads.max() == 1


@pytest.mark.parametrize("names", [("swd",), ("ms-ssim", "kid"), ("is",), ("pr", "fid")])
def test_only_the_metrics_asked_for_are_measured_and_only_what_they_need_is_read(names: tuple[str, ...]) -> None:
    real, fake = Counting(REAL), Counting(FAKE)
    results = measure_all(real, fake, replace(TINY, metrics=names))
    assert tuple(result.metric for result in results) == names
    assert real.reads.sum() == {"is": 0, "swd": 45}.get(names[0], 61)
    assert real.reads.max() <= 1
    assert fake.reads.max() == 1


def test_refusals_come_before_the_first_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("METRICS_WEIGHTS", str(tmp_path))
    inception = FeatureConfig(download=False)
    cases: list[tuple[AllConfig, type[Exception], str]] = [
        (replace(TINY, subset_size=46), BatchError, "name a smaller --subset-size"),
        (replace(TINY, splits=46), UsageError, "46 splits need at least 46 images, found 45"),
        (replace(TINY, neighbours=45), BatchError, "45 neighbours need more"),
        (replace(TINY, features=replace(TINY.features, n=62)), ImageSetError, "asked for 62"),
        (replace(TINY, features=inception), WeightsError, "pt_inception-2015-12-05-6726825d.pth is needed"),
    ]
    for config, error, message in cases:
        real, fake = Counting(REAL), Counting(FAKE)
        with pytest.raises(error, match=message):
            measure_all(real, fake, config)
        assert real.reads.sum() == fake.reads.sum() == 0
    with pytest.raises(UsageError, match="name some of swd, ms-ssim"):
        AllConfig(features=inception, metrics=("swd", "swd"))


def test_the_plan_counts_memory_and_refuses_the_same() -> None:
    plan = plan_all(as_image_set(REAL), as_image_set(FAKE), TINY)
    assert [plan["sets"][role]["n"] for role in ("real", "fake")] == [61, 45]
    assert plan["memory_bytes"] > 0
    with pytest.raises(BatchError, match="subset-size"):
        plan_all(as_image_set(REAL), as_image_set(FAKE), replace(TINY, subset_size=46))


def test_pairs_shown_in_another_order_are_refused() -> None:
    images = as_image_set(FAKE)
    guest = MsSsimGuest(images, n=4, seed=0, jobs=1)
    order = guest.reading(np.arange(45))
    assert sorted(order) == list(range(45))
    with pytest.raises(BatchError, match="another order"):
        guest.observe(order[1:3], FAKE[order[1:3]])
    guest.observe(order[:3], FAKE[order[:3]])
    with pytest.raises(BatchError, match="1 of 2 pairs"):
        guest.result()
    guest.observe(order[3:9], FAKE[order[3:9]])
    assert guest.result().details["pairs"] == 2


def test_folders_are_read_like_arrays(tmp_path: Any) -> None:
    from PIL import Image

    for number, image in enumerate(FAKE):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{number:03d}.png")
    config = replace(TINY, metrics=("kid", "swd"))
    with open_image_set(tmp_path) as folder:
        from_folder = measure_all(as_image_set(REAL), folder, config)
    from_array = measure_all(as_image_set(REAL), as_image_set(FAKE), config)
    assert [r.value for r in from_folder] == [r.value for r in from_array]
