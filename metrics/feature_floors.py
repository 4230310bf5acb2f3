"""Noise floors of feature metrics: what two disjoint random parts of the real set score."""

from typing import Any

import numpy as np

from metrics import kid as kid_core
from metrics import prdc as pr_core
from metrics.feature_results import Side, normal_interval
from metrics.feature_stats import HalvesFloor, halves_floor
from metrics.features import FeatureSet
from metrics.protocol import NoiseFloor


def fid_floor(
    real: Side,
    fake: Side,
    layer: str | None,
    seed: int,
) -> NoiseFloor | None:
    """FID of two disjoint random parts of the reals, at the n of the fakes where the reals suffice."""
    fake_n = fake.images.n
    found: HalvesFloor | None
    if isinstance(real, FeatureSet):
        assert layer is not None
        size = real.n // 2 if fake_n == 0 else min(fake_n, real.n // 2)
        if size < 2:
            return None
        found = halves_floor(real, layer, size, seed=seed)
    else:
        found = real.floor
    if found is None:
        return None
    # The bias of FID goes like 1/n on each side (Chong and Forsyth 2020, sec. 3).
    scale = 1.0
    if fake_n and found.n != fake_n and real.images.n:
        scale = (1 / real.images.n + 1 / fake_n) / (2 / found.n)
    return NoiseFloor(
        value=found.value * scale,
        n=found.n,
        scaled=scale,
        method="FID of two disjoint random parts of the real set" + _scaled_note(scale),
    )


def kid_floor(
    real: FeatureSet, fake: FeatureSet, layer: str, subsets: int, subset_size: int, seed: int
) -> NoiseFloor | None:
    """KID of two disjoint random parts of the reals; None where they are smaller than a subset."""
    size = min(fake.n, real.n // 2)
    if size < subset_size:
        return None
    first, second = _disjoint(real, layer, size, seed)
    rng = np.random.default_rng(seed)
    found = kid_core.kernel_inception_distance(first, second, rng=rng, subsets=subsets, subset_size=subset_size)
    return NoiseFloor(
        value=found.mean,
        n=size,
        scaled=1.0,
        method="KID of two disjoint random parts of the real set; its expectation is 0",
        interval=normal_interval(found.mean, found.std, "standard deviation over the subsets", None),
    )


def precision_floor(real: FeatureSet, layer: str, fake_n: int, neighbours: int, seed: int) -> NoiseFloor | None:
    """Precision of one random part of the reals against another; None where the reals are too few."""
    size = min(fake_n, real.n // 2)
    if size <= neighbours:
        return None
    first, second = _disjoint(real, layer, size, seed)
    radii = pr_core.squared_radii(first, neighbours=neighbours)
    return NoiseFloor(
        value=float(pr_core.inside_manifolds(second, first, None, radii)[0].mean()),
        n=size,
        scaled=1.0,
        method="precision of one random part of the real set against another: what perfect images would reach",
    )


def _disjoint(features: FeatureSet, layer: str, size: int, seed: int) -> tuple[Any, Any]:
    order = np.random.default_rng(seed).permutation(features.n)
    rows = features.layer(layer)
    return rows[np.sort(order[:size])], rows[np.sort(order[size : 2 * size])]


def _scaled_note(scale: float) -> str:
    return "" if scale == 1.0 else ", scaled by 1/n to the sizes of this result"
