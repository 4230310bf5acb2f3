"""All metrics of two sets from one read of each: every image is decoded once and shared."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.errors import UsageError
from metrics.extractors.base import Extractor
from metrics.feature_inputs import (
    FEATURES,
    LOGITS,
    FeatureConfig,
    ProgressFor,
    describe,
    make_extractor,
    needed_layers,
    no_progress,
    select,
)
from metrics.feature_metrics import fid_result, inception_score_result, kid_result, precision_recall_result
from metrics.feature_plan import BASE_BYTES
from metrics.feature_results import check_counts
from metrics.features import FeatureSet, Observer, ProgressFn, extract_features
from metrics.inception_score import DEFAULT_SPLITS
from metrics.kid import DEFAULT_SUBSET_SIZE, DEFAULT_SUBSETS
from metrics.msssim.measure import PAPER_PAIRS
from metrics.prdc import DEFAULT_NEIGHBOURS
from metrics.protocol import Result
from metrics.shared_pixels import MsSsimGuest, SwdGuest, swd_result
from metrics.sliced.accumulator import MEMORY_BYTES
from metrics.sliced.config import PAPER_IMAGES, SwdConfig, level_sizes
from metrics.sliced.draws import FAKE, REAL
from metrics.sliced.plan import SwdPlan, plan_swd
from metrics.sliced.store import GIB, ROW_BYTES
from metrics.sources import ImageSet

METRIC_NAMES = ("swd", "ms-ssim", "is", "fid", "kid", "pr")
FEATURE_BYTES = (2048 + 1008) * 4
"""Features and logits of one image by inception-2015."""
PAIRWISE_FEATURES = ("fid", "kid", "pr")


@dataclass(frozen=True, kw_only=True, slots=True)
class AllConfig:
    """Settings of all metrics; the defaults are those of the single commands.

    features     how images are turned into features; its n, n_real and seed hold for the pixel metrics too
    metrics      which metrics, in the order of the results
    splits       of the inception score
    subsets      of KID, and their size
    neighbours   of precision and recall
    infinity     whether FID-infinity is added to FID
    floor        whether noise floors are measured
    jobs         threads of SWD and MS-SSIM
    """

    features: FeatureConfig
    metrics: tuple[str, ...] = METRIC_NAMES
    splits: int = DEFAULT_SPLITS
    subsets: int = DEFAULT_SUBSETS
    subset_size: int = DEFAULT_SUBSET_SIZE
    neighbours: int = DEFAULT_NEIGHBOURS
    infinity: bool = False
    floor: bool = True
    jobs: int = 1

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRIC_NAMES]
        if unknown or not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise UsageError(
                f"metrics {', '.join(self.metrics) or '(none)'}: name some of {', '.join(METRIC_NAMES)}, each once"
            )


def measure_all(
    real: ImageSet, fake: ImageSet, config: AllConfig, *, progress_for: ProgressFor = no_progress
) -> list[Result]:
    """Results in the order of `config.metrics`, from one read of each set.

    The real set is read in its own order, the generated one pair by pair of MS-SSIM, then the rest; the values
    are those of the single commands. Too few images, sizes no metric takes and missing weights are refused
    before the first read.
    """
    chosen = config.features
    check_all(real, fake, config)
    plan = _swd_plan(real, fake, config) if "swd" in config.metrics else None
    extractor = make_extractor(chosen, progress_for) if _needs(config) else None
    with ExitStack() as stack:
        swd: dict[str, SwdGuest] = {}
        if plan is not None:
            for role, images in ((REAL, real), (FAKE, fake)):
                swd[role] = SwdGuest(images, plan, role, jobs=config.jobs)
                stack.callback(swd[role].accumulator.close)
        ms_ssim = None
        if "ms-ssim" in config.metrics:
            ms_ssim = MsSsimGuest(fake, n=_even(chosen.n, fake.n), seed=chosen.seed, jobs=config.jobs)
        features = {
            role: _read(images, role, config, extractor, swd.get(role), ms_ssim if role == FAKE else None, progress_for)
            for role, images in ((REAL, real), (FAKE, fake))
        }
        results = []
        for name in config.metrics:
            if name == "swd":
                assert plan is not None
                sets = {REAL: real, FAKE: fake}
                results.append(swd_result(sets, swd, plan, jobs=config.jobs, progress=progress_for("swd")))
            elif name == "ms-ssim":
                assert ms_ssim is not None
                results.append(ms_ssim.result())
            else:
                results.append(_feature_result(name, features, config, progress_for))
        return results


def check_all(real: ImageSet, fake: ImageSet, config: AllConfig) -> None:
    """Refuse, before anything is read, sets that are too small for the metrics asked for."""
    for role, images in ((REAL, real), (FAKE, fake)):
        select(images.n, config.features.count(role), config.features.seed)
    counts = {role: config.features.count(role) or images.n for role, images in ((REAL, real), (FAKE, fake))}
    check_counts(
        counts,
        subset_size=config.subset_size if "kid" in config.metrics else None,
        neighbours=config.neighbours if "pr" in config.metrics else None,
    )
    if "is" in config.metrics and counts[FAKE] < config.splits:
        raise UsageError(f"{config.splits} splits need at least {config.splits} images, found {counts[FAKE]}")


def _needs(config: AllConfig) -> tuple[str, ...]:
    features = (FEATURES,) if any(name in PAIRWISE_FEATURES for name in config.metrics) else ()
    return (*features, LOGITS) if "is" in config.metrics else features


def _swd_plan(real: ImageSet, fake: ImageSet, config: AllConfig) -> SwdPlan:
    n = None if config.features.n is None else min(config.features.n, PAPER_IMAGES)
    return plan_swd(real, fake, config=SwdConfig(seed=config.features.seed), n=n, floor=config.floor)


def _even(n: int | None, available: int) -> int | None:
    """Images for MS-SSIM: n, at most the paper's and an even number; None: its own default."""
    if n is None:
        return None
    return min(n, available, 2 * PAPER_PAIRS) // 2 * 2


def _read(
    images: ImageSet,
    role: str,
    config: AllConfig,
    extractor: Extractor | None,
    swd: SwdGuest | None,
    ms_ssim: MsSsimGuest | None,
    progress_for: ProgressFor,
) -> FeatureSet | None:
    """The one read of a set: features, if any metric needs them, while the guests look on."""
    chosen = config.features
    observers = [guest.observe for guest in (swd, ms_ssim) if guest is not None]
    indices, selection = select(images.n, chosen.count(role), chosen.seed)
    needs = tuple(need for need in _needs(config) if need == FEATURES or role == FAKE)
    wanted = extractor is not None and len(needs) > 0
    numbers = np.zeros(0, np.int64)
    if wanted:
        numbers = np.arange(images.n) if indices is None else indices
    if swd is not None:
        numbers = np.union1d(numbers, swd.numbers)
    reading = ms_ssim.reading(numbers) if ms_ssim is not None else numbers
    if len(reading) == 0:
        return None
    progress = progress_for(images.label)
    if not wanted:
        _show(images, reading, chosen.batch, observers, progress)
        return None
    assert extractor is not None
    return extract_features(
        images,
        extractor,
        needed_layers(extractor, chosen, needs),
        batch=chosen.batch,
        workers=chosen.workers,
        indices=indices,
        selection=selection,
        reading=reading,
        observers=observers,
        progress=progress,
    )


def _show(
    images: ImageSet,
    reading: NDArray[np.int64],
    batch: int,
    observers: Sequence[Observer],
    progress: ProgressFn | None,
) -> None:
    """Read for the observers alone, without a network."""
    for start in range(0, len(reading), batch):
        numbers = reading[start : start + batch]
        pixels = images.read(numbers)
        for observe in observers:
            observe(numbers, pixels)
        if progress is not None:
            progress(start + len(numbers), len(reading))


def _feature_result(
    name: str, features: dict[str, FeatureSet | None], config: AllConfig, progress_for: ProgressFor
) -> Result:
    real, fake = features[REAL], features[FAKE]
    layer, seed = config.features.layer, config.features.seed
    assert fake is not None
    if name == "is":
        return inception_score_result(fake, splits=config.splits, seed=seed)
    assert real is not None
    if name == "fid":
        return fid_result(real, fake, layer=layer, floor=config.floor, infinity=config.infinity, seed=seed)
    if name == "kid":
        return kid_result(
            real,
            fake,
            subsets=config.subsets,
            subset_size=config.subset_size,
            layer=layer,
            floor=config.floor,
            seed=seed,
        )
    return precision_recall_result(
        real,
        fake,
        neighbours=config.neighbours,
        layer=layer,
        floor=config.floor,
        seed=seed,
        progress=progress_for("neighbours"),
    )


def plan_all(real: ImageSet, fake: ImageSet, config: AllConfig) -> dict[str, Any]:
    """What `measure_all` would do, as JSON: sets, metrics, images read, estimated memory and disk space."""
    check_all(real, fake, config)
    features = 0
    for role, images in ((REAL, real), (FAKE, fake)):
        features += config.features.count(role) or images.n
    plan = _swd_plan(real, fake, config) if "swd" in config.metrics else None
    swd_bytes = 0
    if plan is not None:
        rows = sum(len(numbers) for numbers in plan.numbers.values()) * plan.config.patches
        swd_bytes = rows * ROW_BYTES * len(level_sizes(plan.res))
    on_disk = swd_bytes > 2 * MEMORY_BYTES
    return {
        "metric": "all",
        "metrics": list(config.metrics),
        "sets": {role: describe(images, config.features.count(role)) for role, images in ((REAL, real), (FAKE, fake))},
        "extractor": config.features.extractor if _needs(config) else None,
        "batch": config.features.batch,
        "seed": config.features.seed,
        "memory_bytes": BASE_BYTES + features * FEATURE_BYTES + (2 * MEMORY_BYTES if on_disk else swd_bytes),
        "disk_bytes": swd_bytes if on_disk else 0,
    }


def plan_all_text(plain: Mapping[str, Any]) -> str:
    """The plan for people."""
    lines = [
        f"{role}: {stamp['label']} ({stamp['kind']}), {stamp['n']} images" for role, stamp in plain["sets"].items()
    ]
    lines.append(
        f"would measure {', '.join(plain['metrics'])} with one read of each set: about "
        f"{plain['memory_bytes'] / GIB:.1f} GiB memory, {plain['disk_bytes'] / GIB:.1f} GiB temporary disk space"
    )
    return "\n".join(lines)
