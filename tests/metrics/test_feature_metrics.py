import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metrics.errors import ImageSetError, UnlikeProtocolsError, UsageError
from metrics.extractors import CallableExtractor
from metrics.feature_inputs import FEATURES, LOGITS, FeatureConfig, file_kind, gather
from metrics.feature_metrics import fid_result, inception_score_result, kid_result, precision_recall_result
from metrics.feature_stats import load_statistics, save_statistics, statistics_of
from metrics.features import FeatureSet, extract_features, save_features
from metrics.fid import frechet_distance, gaussian_of
from metrics.moments import moments_of
from metrics.protocol import Result
from metrics.sources import as_image_set

TINY = FeatureConfig(extractor="tiny")


def pictures(n: int, seed: int = 0, spread: int = 120) -> np.ndarray:
    """Smooth coloured squares about mid-grey."""
    rng = np.random.default_rng(seed)
    colours = (128 + rng.integers(-spread, spread + 1, (n, 3, 4, 4))).astype(np.uint8)
    return colours.repeat(8, axis=2).repeat(8, axis=3)


@pytest.fixture
def npy(tmp_path: Path) -> Callable[..., str]:
    def write(pixels: np.ndarray, name: str) -> str:
        np.save(tmp_path / name, pixels)
        return str(tmp_path / f"{name}.npy")

    return write


@pytest.fixture
def pair(npy: Callable[..., str]) -> dict[str, str]:
    return {"real": npy(pictures(300), "real"), "fake": npy(pictures(200, 1, 90), "fake")}


def side(paths: dict[str, str], role: str, config: FeatureConfig = TINY) -> FeatureSet:
    found = gather({role: paths[role]}, config, needs=(FEATURES, LOGITS))[role]
    assert isinstance(found, FeatureSet)
    return found


def as_json(result: Result) -> dict[str, object]:
    plain = result.to_json()
    return dict(json.loads(json.dumps(plain, allow_nan=False)))


def comparable(result: Result) -> dict[str, object]:
    plain = as_json(result)
    plain.pop("run")
    plain["details"] = {k: v for k, v in plain["details"].items() if k != "feature_pass"}  # type: ignore[attr-defined]
    return plain


def test_fid_value_interval_floor_and_warnings(pair: dict[str, str]) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    result = fid_result(real, fake)
    expected = frechet_distance(*(gaussian_of(moments_of(s.layer("pool"))) for s in (real, fake)))
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.interval is not None
    assert result.interval.low < result.value < result.interval.high
    assert result.std == result.interval.standard_error
    assert result.noise_floor is not None
    assert 0 < result.noise_floor.value < result.value
    text = " ".join(result.warnings)
    assert "tiny: not comparable with published" in text
    assert "300 real and 200 generated is biased" in text.replace(" images", "")
    plain = as_json(result)
    assert plain["protocol"]["extractor"] == "tiny"  # type: ignore[index]
    assert plain["protocol"]["sets"]["fake"]["n"] == 200  # type: ignore[index]
    assert set(plain["details"]["feature_pass"]) == {"real", "fake"}  # type: ignore[index]


def test_fid_of_equal_sets_is_zero_and_of_halves_is_the_floor(pair: dict[str, str]) -> None:
    real = side(pair, "real")
    assert fid_result(real, real).value < 1e-9
    order = np.random.default_rng(0).permutation(300)
    halves = [real.subset(np.sort(part), "half") for part in (order[:150], order[150:])]
    floor = fid_result(real, halves[1]).noise_floor
    assert floor is not None
    assert floor.value == pytest.approx(fid_result(*halves, floor=False).value, rel=1e-9)
    assert (floor.n, floor.scaled) == (150, 1.0)


def test_the_floor_is_scaled_to_more_fakes_than_half_the_reals(pair: dict[str, str]) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    floor = fid_result(real, fake).noise_floor
    assert floor is not None
    assert floor.n == 150
    assert floor.scaled == pytest.approx((1 / 300 + 1 / 200) / (2 / 150))
    assert "scaled" in floor.method


def test_statistics_stand_for_a_side(pair: dict[str, str], tmp_path: Path) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    whole = fid_result(real, fake)
    save_statistics(statistics_of(real), tmp_path / "s.npz")
    kept = fid_result(load_statistics(tmp_path / "s.npz"), fake)
    assert kept.value == pytest.approx(whole.value, rel=1e-12)
    assert kept.interval is not None
    assert kept.interval.method.endswith("images of generated")
    assert kept.noise_floor is not None
    assert whole.noise_floor is not None
    assert kept.noise_floor.value == pytest.approx(whole.noise_floor.value)
    alone = fid_result(load_statistics(tmp_path / "s.npz"), statistics_of(fake))
    assert alone.interval is None
    assert any("no interval" in line for line in alone.warnings)


def test_published_statistics_say_what_is_not_known(pair: dict[str, str], tmp_path: Path) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    rows = real.layer("pool").astype(float)
    np.savez(tmp_path / "p.npz", mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    result = fid_result(load_statistics(tmp_path / "p.npz"), fake)
    assert result.value == pytest.approx(fid_result(real, fake).value, rel=1e-9)
    assert result.protocol.extractor == "unknown"
    assert result.noise_floor is None
    text = " ".join(result.warnings)
    assert "do not name their network" in text
    assert "number of real images is unknown" in text


def test_fid_infinity_is_below_fid_and_needs_images(pair: dict[str, str]) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    other = extract_features(as_image_set(pictures(200, 1)), _tiny())
    result = fid_result(real, other, infinity=True)
    assert result.details["fid_infinity"]["value"] < result.value
    with pytest.raises(ImageSetError, match="FID-infinity needs the generated images"):
        fid_result(real, statistics_of(fake), infinity=True)


def test_kid(pair: dict[str, str]) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    result = kid_result(real, fake, subsets=20, subset_size=100)
    assert result.interval is not None
    assert result.noise_floor is not None
    assert result.noise_floor.interval is not None
    assert abs(result.noise_floor.value) < result.value
    assert result.interval.low > 0
    assert any("subsets of 100" in line for line in result.warnings)
    assert comparable(result) == comparable(kid_result(real, fake, subsets=20, subset_size=100))
    assert kid_result(real, fake, subsets=20, subset_size=100, seed=1).value != result.value


def test_precision_and_recall_see_a_narrow_set(pair: dict[str, str]) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    result = precision_recall_result(real, fake)
    assert result.value == result.details["precision"] > result.details["recall"]
    assert result.interval is not None
    assert 0 <= result.interval.low <= result.value <= result.interval.high <= 1
    low, high = (result.details["recall_interval"][key] for key in ("low", "high"))
    assert low <= result.details["recall"] <= high
    assert result.noise_floor is not None
    assert result.noise_floor.value > 0.5


def test_inception_score(pair: dict[str, str]) -> None:
    real = side(pair, "real")
    result = inception_score_result(real)
    assert result.protocol.settings["layer"] == "logits_unbiased"
    assert result.interval is not None
    assert 1 < result.interval.low < result.value < result.interval.high
    assert len(result.details["splits"]) == 10
    assert any("50000" in line for line in result.warnings)
    few = np.concatenate([pictures(2, 5)] * 150)
    collapsed = extract_features(as_image_set(few), _tiny())
    assert inception_score_result(collapsed).value < result.value
    means = CallableExtractor(lambda images: images.mean((2, 3)), name="means", width=3)
    with pytest.raises(ImageSetError, match="means has no classes"):
        inception_score_result(extract_features(as_image_set(few), means))


def _tiny():  # type: ignore[no-untyped-def]
    from metrics.extractors import open_extractor

    return open_extractor("tiny")


def test_nonstandard_weights_and_bf16_are_marked_in_every_result(pair: dict[str, str]) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    odd = replace(real.extractor, name="inception-2015", weights_sha256="ab" * 32, standard=False, precision="bf16")
    real, fake = replace(real, extractor=odd), replace(fake, extractor=odd)
    results = [
        fid_result(real, fake),
        kid_result(real, fake, subsets=2, subset_size=50),
        precision_recall_result(real, fake),
        inception_score_result(real),
    ]
    for result in results:
        assert result.protocol.extractor == "inception-2015 (non-standard weights)"
        assert result.protocol.weights_sha256 == "ab" * 32
        assert result.protocol.settings["precision"] == "bf16"
        text = " ".join(result.warnings)
        assert "ab" * 32 in text
        assert "bf16" in text


def test_different_networks_are_not_compared(pair: dict[str, str]) -> None:
    real, fake = side(pair, "real"), side(pair, "fake")
    other = replace(fake, extractor=replace(fake.extractor, resize="clean", weights_sha256="0"))
    with pytest.raises(UnlikeProtocolsError) as caught:
        fid_result(real, other)
    assert len(caught.value.differences) == 2
    with pytest.raises(UnlikeProtocolsError, match="layer: real pool, fake logits"):
        fid_result(statistics_of(real), statistics_of(fake, "logits_unbiased"))


def test_files_stand_for_images_and_give_the_same_result(pair: dict[str, str], tmp_path: Path) -> None:
    config = replace(TINY, seed=4)
    direct = gather(pair, config, needs=(FEATURES,))
    for role, found in direct.items():
        assert isinstance(found, FeatureSet)
        save_features(found, tmp_path / f"{role}.npz")
    files = {role: str(tmp_path / f"{role}.npz") for role in pair}
    assert {file_kind(path) for path in files.values()} == {"features"}
    stored = gather(files, config, needs=(FEATURES,))
    mixed = gather({"real": files["real"], "fake": pair["fake"]}, config, needs=(FEATURES,))
    expected = comparable(kid_result(direct["real"], direct["fake"], subsets=3, subset_size=99))  # type: ignore[arg-type]
    for sides in (stored, mixed):
        found_json = comparable(kid_result(sides["real"], sides["fake"], subsets=3, subset_size=99))  # type: ignore[arg-type]
        assert found_json == expected


def test_n_takes_the_same_random_images_from_images_and_from_files(pair: dict[str, str], tmp_path: Path) -> None:
    save_features(side(pair, "real"), tmp_path / "f.npz")
    config = replace(TINY, n=50, seed=9)
    from_images = gather({"real": pair["real"]}, config, needs=(FEATURES,))["real"]
    from_file = gather({"real": str(tmp_path / "f.npz")}, config, needs=(FEATURES,))["real"]
    assert isinstance(from_images, FeatureSet)
    assert isinstance(from_file, FeatureSet)
    np.testing.assert_array_equal(from_images.layer("pool"), from_file.layer("pool"))
    assert from_images.images == from_file.images
    assert from_images.images.selection == "random 50, seed 9"
    whole_reals = gather(pair, replace(config, n_real=120), needs=(FEATURES,))
    assert [found.images.n for found in whole_reals.values()] == [120, 50]


def test_statistics_of_reals_are_cached_and_used(pair: dict[str, str], tmp_path: Path) -> None:
    config = replace(TINY, stats_cache=tmp_path / "cache")
    first = gather(pair, config, needs=(FEATURES,), statistics=True)
    passes: list[str] = []

    def note(label: str) -> None:
        passes.append(label)

    second = gather(pair, config, needs=(FEATURES,), statistics=True, progress_for=note)
    assert [label for label in passes if label != "weights"] == [pair["fake"]]
    one, two = (fid_result(found["real"], found["fake"]) for found in (first, second))
    assert one.value == pytest.approx(two.value, rel=1e-12)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(entry.read_bytes()[:-50])
    passes.clear()
    gather(pair, config, needs=(FEATURES,), statistics=True, progress_for=note)
    assert pair["real"] in passes
    assert load_statistics(entry).images.n == 300
    other_n = replace(config, n_real=100)
    gather(pair, other_n, needs=(FEATURES,), statistics=True)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_refusals_come_before_the_first_pass(pair: dict[str, str], tmp_path: Path) -> None:
    def never(label: str) -> None:
        assert label == "weights", "a pass was begun"

    save_features(side(pair, "real"), tmp_path / "f.npz")
    odd = replace(side(pair, "real"), extractor=replace(side(pair, "real").extractor, resize="clean"))
    save_features(odd, tmp_path / "odd.npz")
    save_statistics(statistics_of(odd), tmp_path / "s.npz")
    cases = [
        ({"fake": pair["fake"], "real": str(tmp_path / "odd.npz")}, TINY, UnlikeProtocolsError, "resize"),
        ({"set": str(tmp_path / "s.npz")}, TINY, ImageSetError, "only FID can use"),
        ({"set": pair["real"]}, replace(TINY, n=301), ImageSetError, "has 300 images, asked for 301"),
        ({"set": str(tmp_path / "none")}, TINY, ImageSetError, "does not exist"),
        ({"set": pair["real"]}, replace(TINY, layer="nose"), UsageError, "no layer nose"),
    ]
    for paths, config, error, message in cases:
        with pytest.raises(error, match=message):
            gather(paths, config, needs=(FEATURES,), progress_for=never)
    with pytest.raises(UsageError, match="batch is 0"):
        FeatureConfig(batch=0)


def test_what_is_done_to_images_moves_the_metrics_the_right_way() -> None:
    rng = np.random.default_rng(0)
    clean, other = pictures(300), pictures(300, 1)
    noise = rng.normal(size=other.shape)
    noisy = [np.clip(other + level * noise, 0, 255).astype(np.uint8) for level in (0, 25, 80)]
    dull = [(128 + share * (other - 128.0)).astype(np.uint8) for share in (1, 0.8, 0.5)]
    few_modes = pictures(300, 2)[np.arange(300) % 5]

    def measured(images: np.ndarray) -> FeatureSet:
        return extract_features(as_image_set(images), _tiny())

    real = measured(clean)
    for series in (noisy, dull):
        fids = [fid_result(real, measured(images), floor=False).value for images in series]
        kids = [kid_result(real, measured(images), subsets=10, subset_size=150, floor=False).value for images in series]
        assert fids[0] < fids[1] < fids[2]
        assert kids[0] < kids[1] < kids[2]
    good, dropped = (precision_recall_result(real, measured(images), floor=False) for images in (other, few_modes))
    assert dropped.details["recall"] < good.details["recall"] / 2
    assert precision_recall_result(real, measured(noisy[2]), floor=False).value < good.value
