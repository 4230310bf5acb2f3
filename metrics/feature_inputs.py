"""From what a user names (images, a features file, a statistics file) to features, with one pass per set."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.errors import CacheError, ImageSetError, UnlikeProtocolsError, UsageError
from metrics.extractors import open_extractor
from metrics.extractors.base import Extractor, ExtractorStamp, Precision, check_layers
from metrics.feature_results import Side, stamp_differences
from metrics.feature_stats import (
    FeatureStatistics,
    cached_statistics_path,
    is_statistics_file,
    load_statistics,
    save_statistics,
    statistics_of,
)
from metrics.features import (
    DEFAULT_BATCH,
    DEFAULT_WORKERS,
    FeatureSet,
    Observer,
    extract_features,
    is_feature_file,
    load_features,
)
from metrics.resize import ResizeMode
from metrics.sources import ImageSet, open_image_set, sample_indices

ProgressFn = Callable[[int, int], None]
ProgressFor = Callable[[str], ProgressFn | None]
"""Gives the progress function of the pass, or download, with this label."""

FEATURES = "features"
LOGITS = "logits"


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureConfig:
    """How sets are turned into features.

    extractor    'inception-2015', 'tiny' or 'onnx:PATH'
    weights      weights file of inception-2015, None: the cache
    resize       how images are brought to the network's input: 'legacy-tensorflow' or 'clean', None: the first
    precision    'fp32' or 'bf16'
    device       torch device
    input_range  scale of an ONNX network's float input, 'LOW:HIGH'
    layer        layer the metric is computed from, None: the extractor's own
    batch        images per forward pass
    workers      threads that read and resize ahead of the network
    threads      threads of the network on the CPU, None: torch's own choice
    res          side at which images are handed out, None: as they are
    resizer      filter for images of another side than `res`
    n            random images used of each set, None: all
    n_real       the same for the real set alone, over `n`
    seed         of all random draws
    download     whether missing weights may be fetched
    stats_cache  folder in which FID statistics of real sets are kept, None: nowhere
    """

    extractor: str = "inception-2015"
    weights: Path | None = None
    resize: ResizeMode | None = None
    precision: Precision = "fp32"
    device: str = "cpu"
    input_range: str | None = None
    layer: str | None = None
    batch: int = DEFAULT_BATCH
    workers: int = DEFAULT_WORKERS
    threads: int | None = None
    res: int | None = None
    resizer: str | None = None
    n: int | None = None
    n_real: int | None = None
    seed: int = 0
    download: bool = True
    stats_cache: Path | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "workers", "n", "n_real"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}, expected 1 or more")

    def count(self, role: str) -> int | None:
        """Images to use of the set in this role ('real', 'fake' or 'set'), None for all."""
        return self.n_real if role == "real" and self.n_real is not None else self.n


def no_progress(label: str) -> None:
    """A ProgressFor that shows nothing."""


def file_kind(path: str) -> str:
    """'features', 'statistics' or 'images', by the file's content."""
    where = Path(path)
    if where.suffix.lower() == ".npz" and where.is_file():
        if is_feature_file(where):
            return "features"
        if is_statistics_file(where):
            return "statistics"
    return "images"


def make_extractor(config: FeatureConfig, progress_for: ProgressFor = no_progress) -> Extractor:
    """The extractor the config names, its weights loaded."""
    return open_extractor(
        config.extractor,
        weights=config.weights,
        resize=config.resize,
        precision=config.precision,
        device=config.device,
        input_range=config.input_range,
        threads=config.threads,
        download=config.download,
        progress=progress_for("weights"),
    )


def select(available: int, n: int | None, seed: int) -> tuple[NDArray[np.int64] | None, str]:
    """Which images are used, ascending (None: all), and that in words."""
    if n is None or n == available:
        return None, "all"
    return sample_indices(available, n, np.random.default_rng(seed)), f"random {n}, seed {seed}"


def gather(
    paths: Mapping[str, str],
    config: FeatureConfig,
    *,
    needs: Sequence[str],
    statistics: bool = False,
    check: Callable[[Mapping[str, int]], None] | None = None,
    observers: Mapping[str, Sequence[Observer]] | None = None,
    progress_for: ProgressFor = no_progress,
) -> dict[str, Side]:
    """Features, or where `statistics` are enough statistics, of the sets in `paths` ({role: path}).

    needs      FEATURES, LOGITS or both: the layers the metrics will ask for
    check      called with {role: n} before anything is computed; may raise
    observers  per role, further consumers of the one read of its images

    What can be refused is refused before the first pass: files of another network, unknown layers, counts.
    """
    with ExitStack() as stack:
        opened: dict[str, Side | ImageSet] = {}
        for role, path in paths.items():
            opened[role] = open_side(path, role, config, statistics=statistics)
            item = opened[role]
            if isinstance(item, ImageSet):
                stack.enter_context(item)
        if check is not None:
            check({role: _count(item, config.count(role)) for role, item in opened.items()})
        extractor: Extractor | None = None
        wanted: tuple[str, ...] = ()
        if any(isinstance(item, ImageSet) for item in opened.values()):
            extractor = make_extractor(config, progress_for)
            wanted = needed_layers(extractor, config, needs)
            check_layers(extractor, frozenset(wanted))
        _check_stamps(paths, opened, extractor)
        found: dict[str, Side] = {}
        for role, item in opened.items():
            if not isinstance(item, ImageSet):
                found[role] = item
                continue
            assert extractor is not None
            watchers = () if observers is None else tuple(observers.get(role, ()))
            found[role] = _from_images(item, role, extractor, wanted, config, statistics, watchers, progress_for)
        return found


def gather_layers(
    path: str,
    config: FeatureConfig,
    layers: Sequence[str] | None,
    *,
    progress_for: ProgressFor = no_progress,
) -> FeatureSet:
    """The named layers (None: those the network's metrics need) of the images at `path`, in one pass."""
    if file_kind(path) != "images":
        raise ImageSetError(f"{path} holds {file_kind(path)} already, not images")
    with open_image_set(path, res=config.res, resizer=config.resizer) as images:
        indices, selection = select(images.n, config.count("set"), config.seed)
        extractor = make_extractor(config, progress_for)
        return extract_features(
            images,
            extractor,
            layers,
            batch=config.batch,
            workers=config.workers,
            indices=indices,
            selection=selection,
            progress=progress_for(images.label),
        )


def split_halves(features: Side, *, seed: int) -> dict[str, FeatureSet]:
    """Two disjoint random halves of one set, as `real` and `fake`: what the metric says of equal sets."""
    if not isinstance(features, FeatureSet):
        raise ImageSetError(f"{features.images.label} holds statistics; one set alone needs images or features")
    order = np.random.default_rng(seed).permutation(features.n)
    half = features.n // 2
    return {
        role: features.subset(np.sort(rows), f"{features.images.selection}; random half, seed {seed}")
        for role, rows in (("real", order[:half]), ("fake", order[half : 2 * half]))
    }


def open_side(path: str, role: str, config: FeatureConfig, *, statistics: bool) -> Side | ImageSet:
    """Images, features or (where `statistics` will do) statistics at `path`, by its content."""
    kind = file_kind(path)
    if kind == "images":
        return open_image_set(path, res=config.res, resizer=config.resizer)
    if kind == "statistics":
        if not statistics:
            raise ImageSetError(f"{path} holds statistics, which only FID can use; name images or features")
        if config.count(role) is not None:
            raise UsageError(f"{path} holds statistics: no number of images can be chosen from them")
        return load_statistics(Path(path))
    features = load_features(Path(path))
    rows, selection = select(features.n, config.count(role), config.seed)
    return features if rows is None else features.subset(rows, selection)


def describe(item: Side | ImageSet, n: int | None) -> dict[str, Any]:
    """Label, kind and number of images of one side, for people."""
    if isinstance(item, ImageSet):
        return {"label": item.label, "kind": item.kind, "n": _count(item, n), "res": item.res}
    kind = "features" if isinstance(item, FeatureSet) else "statistics"
    return {"label": item.images.label, "kind": kind, "n": item.images.n, "res": item.images.res}


def _count(item: Side | ImageSet, n: int | None) -> int:
    if isinstance(item, ImageSet):
        return item.n if n is None else n
    return item.images.n


def _check_stamps(paths: Mapping[str, str], opened: Mapping[str, Any], extractor: Extractor | None) -> None:
    """UnlikeProtocolsError if a file's network is not the one the images will go through."""
    if extractor is None:
        return
    for role, item in opened.items():
        stamp: ExtractorStamp | None = None if isinstance(item, ImageSet) else item.extractor
        if stamp is not None and stamp != extractor.stamp:
            left, right = f"{Path(paths[role]).name}", "this run"
            raise UnlikeProtocolsError(stamp_differences(left, stamp, right, extractor.stamp))


def needed_layers(extractor: Extractor, config: FeatureConfig, needs: Sequence[str]) -> tuple[str, ...]:
    """The layers for FEATURES, LOGITS or both; UsageError where the network has no logits."""
    layers = []
    if FEATURES in needs:
        layers.append(config.layer or extractor.feature_layer)
    if LOGITS in needs:
        name = config.layer if FEATURES not in needs and config.layer else extractor.logit_layer
        if name is None:
            raise UsageError(
                f"extractor {config.extractor} has no logits, so no inception score; it has layers "
                f"{', '.join(extractor.layers)}"
            )
        layers.append(name)
    return tuple(layers)


def _from_images(
    images: ImageSet,
    role: str,
    extractor: Extractor,
    layers: tuple[str, ...],
    config: FeatureConfig,
    statistics: bool,
    observers: tuple[Observer, ...],
    progress_for: ProgressFor,
) -> Side:
    indices, selection = select(images.n, config.count(role), config.seed)
    cached: Path | None = None
    if statistics and role == "real" and config.stats_cache is not None:
        stamp = images.stamp(used=images.n if indices is None else len(indices), selection=selection)
        cached = cached_statistics_path(config.stats_cache, stamp, extractor.stamp, layers[0], seed=config.seed)
        kept = _load_cached(cached, stamp.fingerprint)
        if kept is not None:
            return kept
    features: FeatureSet = extract_features(
        images,
        extractor,
        layers,
        batch=config.batch,
        workers=config.workers,
        indices=indices,
        selection=selection,
        observers=observers,
        progress=progress_for(images.label),
    )
    if cached is not None:
        save_statistics(statistics_of(features, layers[0], seed=config.seed), cached)
    return features


def _load_cached(path: Path, fingerprint: str) -> FeatureStatistics | None:
    """The cached statistics, or None; a damaged file or one of other images is removed and counts as none."""
    if not path.is_file():
        return None
    try:
        found = load_statistics(path)
    except CacheError:
        found = None
    if found is None or found.images.fingerprint != fingerprint:
        path.unlink(missing_ok=True)
        return None
    return found
