"""From features to results: inception score, FID, KID, precision and recall, each with its protocol,
interval, noise floor and warnings.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from metrics import inception_score as is_core
from metrics import kid as kid_core
from metrics import prdc as pr_core
from metrics.errors import ImageSetError
from metrics.feature_floors import fid_floor, kid_floor, precision_floor
from metrics.feature_results import (
    INTERVAL_LEVEL,
    Side,
    common_network,
    feature_protocol,
    fid_sample_warnings,
    finished_run,
    network_warnings,
    normal_interval,
    set_warnings,
    sides_with,
    timing_details,
    wilson_interval,
)
from metrics.feature_stats import FeatureStatistics
from metrics.features import FeatureSet
from metrics.fid import Extrapolation, Gaussian, extrapolated_fid, frechet_distance_with_std, gaussian_of
from metrics.moments import moments_of
from metrics.protocol import Interval, Result

ProgressFn = Callable[[int, int], None]

PUBLISHED_IS_IMAGES = 50_000
PUBLISHED_PR_IMAGES = 50_000


def inception_score_result(
    features: FeatureSet,
    *,
    splits: int = is_core.DEFAULT_SPLITS,
    shuffle: bool = True,
    layer: str | None = None,
    seed: int = 0,
) -> Result:
    """Inception score of one set; `shuffle` False splits the images in their own order."""
    started = time.perf_counter()
    name = features.logit_layer if layer is None else layer
    if name is None:
        raise ImageSetError(
            f"extractor {features.extractor.name} has no classes, so no inception score; it has layers "
            f"{', '.join(features.layers)}"
        )
    rng = np.random.default_rng(seed) if shuffle else None
    score = is_core.inception_score(features.layer(name), splits=splits, rng=rng)
    warnings = network_warnings(features.extractor)
    if features.n < PUBLISHED_IS_IMAGES:
        warnings.append(
            f"inception score of {features.n} images: published ones take {PUBLISHED_IS_IMAGES}, and fewer "
            "images per split score lower"
        )
    interval = None
    if splits > 1:
        from scipy import stats

        error = float(score.splits.std(ddof=1) / math.sqrt(splits))
        half = float(stats.t.ppf((1 + INTERVAL_LEVEL) / 2, splits - 1)) * error
        interval = Interval(
            low=score.mean - half,
            high=score.mean + half,
            level=INTERVAL_LEVEL,
            method="Student t over the splits",
            standard_error=error,
        )
    return Result(
        metric="is",
        value=score.mean,
        unit="inception score",
        protocol=feature_protocol(
            "is",
            {"layer": name, "splits": splits, "shuffle": shuffle},
            {"set": features.images},
            features.extractor,
            seed,
        ),
        run=finished_run(started, features),
        std=score.std,
        interval=interval,
        details={"splits": score.splits.tolist(), **timing_details(set=features)},
        warnings=tuple(warnings),
    )


def fid_result(
    real: Side,
    fake: Side,
    *,
    layer: str | None = None,
    floor: bool = True,
    infinity: bool = False,
    seed: int = 0,
) -> Result:
    """FID between two sets, given as features or statistics; `infinity` adds FID-infinity of the fakes."""
    started = time.perf_counter()
    name, extractor = common_network(real, fake, layer)
    first, second = _gaussian(real, name), _gaussian(fake, name)
    rows = [side.layer(name) if isinstance(side, FeatureSet) and name else None for side in (real, fake)]
    value, error = frechet_distance_with_std(first, second, rows[0], rows[1])
    warnings = [*network_warnings(extractor), *set_warnings(real.images, fake.images)]
    warnings += fid_sample_warnings(real, fake, len(first.mean))
    interval = None
    if any(side is not None for side in rows):
        interval = normal_interval(value, error, "delta method over the images of " + sides_with(rows), 0.0)
    else:
        warnings.append("no interval: statistics alone do not tell how images vary")
    noise = fid_floor(real, fake, name, seed) if floor else None
    details: dict[str, Any] = timing_details(real=real, fake=fake)
    if infinity:
        details["fid_infinity"] = _extrapolation(first, rows[1], seed)
    return Result(
        metric="fid",
        value=value,
        unit="FID",
        protocol=feature_protocol(
            "fid", {"layer": name, "ddof": 1}, {"real": real.images, "fake": fake.images}, extractor, seed
        ),
        run=finished_run(started, real, fake),
        std=None if interval is None else error,
        interval=interval,
        noise_floor=noise,
        details=details,
        warnings=tuple(warnings),
    )


def kid_result(
    real: FeatureSet,
    fake: FeatureSet,
    *,
    subsets: int = kid_core.DEFAULT_SUBSETS,
    subset_size: int = kid_core.DEFAULT_SUBSET_SIZE,
    layer: str | None = None,
    floor: bool = True,
    seed: int = 0,
) -> Result:
    """KID between two sets of features: mean and standard deviation over subsets."""
    started = time.perf_counter()
    name, extractor = common_network(real, fake, layer)
    assert name is not None
    x, y = real.layer(name), fake.layer(name)
    rng = np.random.default_rng(seed)
    found = kid_core.kernel_inception_distance(x, y, rng=rng, subsets=subsets, subset_size=subset_size)
    sampling = kid_core.kid_standard_error(x, y, rng=rng, references=subset_size)
    error = math.hypot(sampling, found.std / math.sqrt(subsets))
    warnings = [*network_warnings(extractor), *set_warnings(real.images, fake.images)]
    if subset_size < kid_core.DEFAULT_SUBSET_SIZE:
        warnings.append(
            f"subsets of {subset_size} images: published KIDs take {kid_core.DEFAULT_SUBSET_SIZE}; the mean "
            "is unbiased, the std is larger"
        )
    return Result(
        metric="kid",
        value=found.mean,
        unit="squared MMD",
        protocol=feature_protocol(
            "kid",
            {
                "layer": name,
                "subsets": subsets,
                "subset_size": subset_size,
                "kernel": f"(<x, y> / {x.shape[1]} + 1)^3",
            },
            {"real": real.images, "fake": fake.images},
            extractor,
            seed,
        ),
        run=finished_run(started, real, fake),
        std=found.std,
        interval=normal_interval(found.mean, error, "U-statistic over images, and subsets drawn", None),
        noise_floor=kid_floor(real, fake, name, subsets, subset_size, seed) if floor else None,
        details=timing_details(real=real, fake=fake),
        warnings=tuple(warnings),
    )


def precision_recall_result(
    real: FeatureSet,
    fake: FeatureSet,
    *,
    neighbours: int = pr_core.DEFAULT_NEIGHBOURS,
    layer: str | None = None,
    floor: bool = True,
    seed: int = 0,
    progress: ProgressFn | None = None,
) -> Result:
    """Improved precision (the value) and recall (in the details) between two sets of features."""
    started = time.perf_counter()
    name, extractor = common_network(real, fake, layer)
    assert name is not None
    x, y = real.layer(name), fake.layer(name)
    found = pr_core.precision_recall(x, y, neighbours=neighbours, progress=progress)
    warnings = [*network_warnings(extractor), *set_warnings(real.images, fake.images)]
    if min(real.n, fake.n) < PUBLISHED_PR_IMAGES:
        warnings.append(
            f"precision and recall of {real.n} against {fake.n} images: published ones take "
            f"{PUBLISHED_PR_IMAGES} of each; compare only values at equal n"
        )
    method = "Wilson score, given the manifold of the other set"
    precision_interval = wilson_interval(found.precision, fake.n, found.precision_std, method)
    recall_interval = wilson_interval(found.recall, real.n, found.recall_std, method)
    return Result(
        metric="pr",
        value=found.precision,
        unit="precision (share of generated images)",
        protocol=feature_protocol(
            "pr",
            {"layer": name, "neighbours": neighbours},
            {"real": real.images, "fake": fake.images},
            extractor,
            seed,
        ),
        run=finished_run(started, real, fake),
        std=found.precision_std,
        interval=precision_interval,
        noise_floor=precision_floor(real, name, fake.n, neighbours, seed) if floor else None,
        details={
            "precision": found.precision,
            "recall": found.recall,
            "recall_std": found.recall_std,
            "recall_interval": recall_interval.to_json(),
            **timing_details(real=real, fake=fake),
        },
        warnings=tuple(warnings),
    )


def _gaussian(side: Side, layer: str | None) -> Gaussian:
    if isinstance(side, FeatureStatistics):
        return side.gaussian
    assert layer is not None
    return gaussian_of(moments_of(side.layer(layer)))


def _extrapolation(reference: Gaussian, rows: Any, seed: int) -> dict[str, Any]:
    if rows is None:
        raise ImageSetError("FID-infinity needs the generated images or their features, not statistics")
    found: Extrapolation = extrapolated_fid(reference, rows, rng=np.random.default_rng(seed))
    return {
        "value": found.value,
        "std": found.std,
        "sizes": list(found.sizes),
        "fids": list(found.fids),
        "method": "line through FID over 1/n of the generated images, at 1/n = 0",
    }
