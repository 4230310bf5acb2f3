"""What results of feature metrics share: the network's identity, warnings, intervals, protocol and run."""

import math
import time
from collections.abc import Mapping
from typing import Any

from metrics.errors import BatchError, UnlikeProtocolsError
from metrics.extractors.base import ExtractorStamp
from metrics.feature_stats import FeatureStatistics
from metrics.features import FeatureSet
from metrics.fid import SMALL_SAMPLE
from metrics.protocol import Interval, Protocol, RunStamp, SetStamp, run_stamp

Side = FeatureSet | FeatureStatistics

INTERVAL_LEVEL = 0.95
NORMAL_QUANTILE = 1.959964
PACKAGES = ("numpy", "scipy", "torch")
INCEPTION_NAME = "inception-2015"


def network_warnings(extractor: ExtractorStamp | None) -> list[str]:
    """Sentences that keep a number of another network from being taken for a published one."""
    if extractor is None:
        return ["the statistics do not name their network; the value means something only if it is the same"]
    warnings = []
    if extractor.name != INCEPTION_NAME:
        warnings.append(f"features of extractor {extractor.name}: not comparable with published values")
    elif not extractor.standard:
        warnings.append(
            f"weights are not the standard file (sha256 {extractor.weights_sha256}): not comparable with "
            "published values"
        )
    if extractor.precision != "fp32":
        warnings.append(f"the network ran in {extractor.precision}, which shifts values slightly")
    return warnings


def stamp_differences(
    first_name: str, first: ExtractorStamp, second_name: str, second: ExtractorStamp
) -> tuple[str, ...]:
    """One line for each field in which two networks differ."""
    left, right = first.to_json(), second.to_json()
    return tuple(
        f"extractor {key}: {first_name} {left[key]}, {second_name} {right[key]}"
        for key in left
        if left[key] != right[key]
    )


def common_network(real: Side, fake: Side, layer: str | None) -> tuple[str | None, ExtractorStamp | None]:
    """Layer and extractor of both sides; UnlikeProtocolsError, listing differences, when they differ."""
    stamps = [side.extractor for side in (real, fake) if side.extractor is not None]
    if len(stamps) == 2 and stamps[0] != stamps[1]:
        raise UnlikeProtocolsError(stamp_differences("real", stamps[0], "fake", stamps[1]))
    names = []
    for side in (real, fake):
        if isinstance(side, FeatureSet):
            names.append(side.feature_layer if layer is None else layer)
        elif side.layer is not None:
            names.append(side.layer)
    if len(set(names)) > 1:
        raise UnlikeProtocolsError((f"layer: real {names[0]}, fake {names[1]}",))
    unknown = len(stamps) < 2 and any(
        isinstance(side, FeatureStatistics) and side.extractor is None for side in (real, fake)
    )
    if unknown:
        return (names[0] if names else None), None
    return (names[0] if names else None), stamps[0]


def set_warnings(real: SetStamp, fake: SetStamp) -> list[str]:
    """A sentence if the two sets were handed out at different sizes."""
    if real.res is not None and fake.res is not None and real.res != fake.res:
        return [f"real images have {real.res} pixels, generated ones {fake.res}: a difference in itself"]
    return []


def fid_sample_warnings(real: Side, fake: Side, dim: int) -> list[str]:
    """Sentences on FID's bias, a singular covariance of `dim` channels, and unknown numbers of images."""
    counts = {"real": real.images.n, "generated": fake.images.n}
    warnings = []
    small = [f"{n} {name}" for name, n in counts.items() if 0 < n < SMALL_SAMPLE]
    if small:
        warnings.append(
            f"FID with {' and '.join(small)} images is biased upwards, by about the noise floor; compare only "
            f"values at equal n, take {SMALL_SAMPLE} or more, or extrapolate with --infinity"
        )
    singular = [name for name, n in counts.items() if 0 < n <= dim]
    if singular:
        warnings.append(
            f"not more images than the {dim} channels ({' and '.join(singular)}): the covariance is singular "
            "and the interval rough"
        )
    unknown = [name for name, n in counts.items() if n == 0]
    if unknown:
        warnings.append(f"the number of {' and '.join(unknown)} images is unknown, and so is their bias")
    return warnings


def normal_interval(value: float, error: float, method: str, least: float | None) -> Interval:
    """Normal interval about `value`, cut off at `least`."""
    low = value - NORMAL_QUANTILE * error
    return Interval(
        low=low if least is None else max(low, least),
        high=value + NORMAL_QUANTILE * error,
        level=INTERVAL_LEVEL,
        method=method,
        standard_error=error,
    )


def wilson_interval(share: float, n: int, error: float, method: str) -> Interval:
    """Wilson 1927: the interval of a share, which stays inside [0, 1]."""
    z2 = NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_QUANTILE / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(
        low=max(centre - half, 0.0),
        high=min(centre + half, 1.0),
        level=INTERVAL_LEVEL,
        method=method,
        standard_error=error,
    )


def sides_with(rows: list[Any]) -> str:
    """The names of the sides (real, generated) that are there."""
    return " and ".join(name for name, side in zip(("real", "generated"), rows, strict=True) if side is not None)


def timing_details(**sides: Side) -> dict[str, Any]:
    """Speed of the passes that were made for this result."""
    found = {}
    for role, side in sides.items():
        timing = side.timing if isinstance(side, FeatureSet) else None
        if timing is not None and timing.total_sec > 0:
            found[role] = {
                "images_per_sec": round(timing.nimg / timing.total_sec, 3),
                "network_share": round(timing.network_share, 4),
                "batch": timing.batch,
            }
    return {"feature_pass": found} if found else {}


def finished_run(started: float, *sides: Side) -> RunStamp:
    """Stamp of a computation begun at perf_counter `started`, the passes made for it included."""
    passes = [side.timing for side in sides if isinstance(side, FeatureSet) and side.timing is not None]
    return run_stamp(
        seconds=time.perf_counter() - started + sum(timing.total_sec for timing in passes),
        jobs=passes[0].workers if passes else 1,
        packages=PACKAGES,
        device=passes[0].device if passes else "cpu",
    )


def feature_protocol(
    metric: str,
    settings: Mapping[str, Any],
    sets: Mapping[str, SetStamp],
    extractor: ExtractorStamp | None,
    seed: int,
) -> Protocol:
    """Protocol of a feature metric; `extractor` None is a network nobody named."""
    if extractor is None:
        name, weights, more = "unknown", None, {}
    else:
        odd = extractor.name == INCEPTION_NAME and not extractor.standard
        name = f"{extractor.name} (non-standard weights)" if odd else extractor.name
        weights = extractor.weights_sha256
        more = {"resize": extractor.resize, "precision": extractor.precision}
        if extractor.input_range is not None:
            more["input_range"] = extractor.input_range
    return Protocol(
        metric=metric,
        name="default",
        settings={**settings, **more},
        sets=sets,
        extractor=name,
        weights_sha256=weights,
        seed=seed,
    )


def check_counts(counts: Mapping[str, int], *, subset_size: int | None = None, neighbours: int | None = None) -> None:
    """BatchError, before any pass is made, for sets too small for the settings.

    `counts` maps 'real' and 'fake' to their images; 'real' alone will be cut into halves.
    """
    least = min(counts.values()) if len(counts) > 1 else counts["real"] // 2
    found = " and ".join(str(count) for count in counts.values())
    halves = "" if len(counts) > 1 else ", to be cut into halves"
    if subset_size is not None and least < subset_size:
        raise BatchError(
            f"KID subsets of {subset_size} need sets of at least that many images, found {found}{halves}; "
            "name a smaller --subset-size"
        )
    if neighbours is not None and least <= neighbours:
        raise BatchError(f"{neighbours} neighbours need more than {neighbours} images per set, found {found}{halves}")
