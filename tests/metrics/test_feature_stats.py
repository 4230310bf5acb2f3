import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metrics.errors import CacheError
from metrics.extractors import CallableExtractor
from metrics.feature_stats import (
    cached_statistics_path,
    is_statistics_file,
    load_statistics,
    merge_statistics,
    save_statistics,
    statistics_of,
)
from metrics.features import FeatureSet, extract_features
from metrics.fid import frechet_distance, gaussian_of
from metrics.moments import moments_of
from metrics.sources import as_image_set

MEANS = CallableExtractor(lambda images: images.mean((2, 3)), name="channel-means", width=3)


def features(n: int = 40, seed: int = 0) -> FeatureSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3, 5, 5), dtype=np.uint8)
    return extract_features(as_image_set(pixels), MEANS, ["features"])


def test_a_file_gives_back_what_was_stored(tmp_path: Path) -> None:
    kept = statistics_of(features())
    path = tmp_path / "sub" / "s.npz"
    save_statistics(kept, path)
    assert is_statistics_file(path)
    loaded = load_statistics(path)
    np.testing.assert_array_equal(loaded.gaussian.mean, kept.gaussian.mean)
    np.testing.assert_array_equal(loaded.gaussian.covariance, kept.gaussian.covariance)
    assert (loaded.layer, loaded.extractor, loaded.images) == (kept.layer, kept.extractor, kept.images)
    assert loaded.floor == kept.floor
    assert [file.name for file in path.parent.iterdir()] == ["s.npz"]


def test_the_floor_is_fid_between_two_halves() -> None:
    found = features()
    rows = found.layer("features")
    order = np.random.default_rng(0).permutation(40)
    halves = [gaussian_of(moments_of(rows[part])) for part in (order[:20], order[20:])]
    floor = statistics_of(found).floor
    assert floor is not None
    assert floor.n == 20
    assert floor.value == pytest.approx(frechet_distance(*halves), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_published_mu_and_sigma_are_read(tmp_path: Path, dtype: type, save: object) -> None:
    x = np.random.default_rng(0).standard_normal((100, 6))
    mu, sigma = x.mean(0).astype(dtype), np.cov(x, rowvar=False).astype(dtype)
    save(tmp_path / "p.npz", mu=mu, sigma=sigma)  # type: ignore[operator]
    found = load_statistics(tmp_path / "p.npz")
    np.testing.assert_array_equal(found.gaussian.mean, mu.astype(np.float64))
    np.testing.assert_array_equal(found.gaussian.covariance, sigma.astype(np.float64))
    assert (found.layer, found.extractor, found.images.n) == (None, None, 0)
    assert found.images.kind == "published-statistics"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, "not a statistics file"),
        ({"mu": np.zeros(3), "sigma": np.full((3, 3), np.nan)}, "NaN"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 5.0], [0.0, 1.0]])}, "not a covariance"),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "not a covariance"),
        ({"mu": np.array([None, 1]), "sigma": np.eye(2)}, "not a statistics file"),
    ],
)
def test_what_is_no_statistics_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "p.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(CacheError, match=message):
        load_statistics(tmp_path / "p.npz")


def test_truncated_files_and_unknown_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    save_statistics(statistics_of(features()), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CacheError, match="cannot read statistics"):
        load_statistics(path)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    old, new = (f'"version": {number}'.encode("utf-32-le") for number in (1, 7))
    members["__meta__.npy"] = members["__meta__.npy"].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(CacheError, match="statistics version 7, this program reads 1"):
        load_statistics(path)


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3000, 3000)))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", b"x")
        archive.writestr("sigma.npy", buffer.getvalue())
    with pytest.raises(CacheError, match="would inflate to"):
        load_statistics(tmp_path / "bomb.npz")


def test_the_cache_name_depends_on_all_that_decides_the_statistics(tmp_path: Path) -> None:
    base = features()
    names = {
        cached_statistics_path(tmp_path, side.images, side.extractor, layer, seed=seed)
        for side, layer, seed in (
            (base, "features", 0),
            (features(seed=1), "features", 0),
            (base.subset(np.arange(5), "first 5"), "features", 0),
            (base, "other", 0),
            (base, "features", 1),
        )
    }
    assert len(names) == 5
    again = features()
    assert cached_statistics_path(tmp_path, again.images, again.extractor, "features", seed=0) in names


def test_merged_shards_equal_the_whole() -> None:
    whole = features(60)
    shards = [whole.subset(rows, "shard") for rows in np.split(np.arange(60), [7, 31])]
    merged = merge_statistics([statistics_of(shard) for shard in shards], label="shards")
    expected = statistics_of(whole)
    np.testing.assert_allclose(merged.gaussian.mean, expected.gaussian.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.gaussian.covariance, expected.gaussian.covariance, rtol=1e-9)
    assert merged.images.n == 60
    assert frechet_distance(merged.gaussian, expected.gaussian) < 1e-9


def test_shards_that_do_not_belong_together_are_not_merged() -> None:
    part = statistics_of(features())
    with pytest.raises(CacheError, match="not of one network and layer"):
        merge_statistics([part, replace(part, layer="other")], label="x")
    with pytest.raises(CacheError, match="does not say of how many"):
        merge_statistics([replace(part, images=replace(part.images, n=0))], label="x")
    with pytest.raises(CacheError, match="no statistics"):
        merge_statistics([], label="x")
