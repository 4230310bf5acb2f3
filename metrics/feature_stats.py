"""Statistics of a set for FID: mean and covariance in an `.npz` of ours, or as other tools publish them.

Ours holds `mu` (D,) and `sigma` (D, D) float64 (the names other tools use, so that they can read it too) and
stamps as JSON. Nothing in either kind of file is executed.

Legend: N images, D feature channels.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from metrics.errors import BatchError, CacheError
from metrics.extractors.base import ExtractorStamp
from metrics.features import META_KEY, FeatureSet, read_meta, write_npz
from metrics.fid import Gaussian, frechet_distance, gaussian_of
from metrics.moments import Moments, merge_all, moments_of
from metrics.protocol import SetStamp

FORMAT = "celebahq-tools/feature-statistics"
FORMAT_VERSION = 1
PUBLISHED_KEYS = ("mu", "sigma")
MAX_PUBLISHED_BYTES = 1 << 30
MAX_RATIO = 200
"""Members of a published file that claim to inflate by more than this are refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HalvesFloor:
    """FID between two disjoint random halves of one set: its value and the images in each half."""

    value: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStatistics:
    """What FID needs of a set.

    gaussian   mean and covariance (ddof 1)
    layer      name of the layer, or None when the file does not say
    extractor  the network, or None when the file does not say
    images     the set; n is 0 when the file does not say how many images there were
    floor      noise floor measured when the features were there, or None
    """

    gaussian: Gaussian
    layer: str | None
    extractor: ExtractorStamp | None
    images: SetStamp
    floor: HalvesFloor | None = None


def statistics_of(features: FeatureSet, layer: str | None = None, *, seed: int = 0) -> FeatureStatistics:
    """Statistics of one layer (None: the feature layer) with the floor of two random halves."""
    name = features.feature_layer if layer is None else layer
    rows = features.layer(name)
    floor = None
    half = len(rows) // 2
    if half >= 2:
        floor = halves_floor(features, name, half, seed=seed)
    return FeatureStatistics(
        gaussian=gaussian_of(moments_of(rows)),
        layer=name,
        extractor=features.extractor,
        images=features.images,
        floor=floor,
    )


def halves_floor(features: FeatureSet, layer: str, size: int, *, seed: int) -> HalvesFloor:
    """FID between two disjoint random subsets of `size` images each; CacheError if there are too few."""
    rows = features.layer(layer)
    if not 2 <= size <= len(rows) // 2:
        raise CacheError(f"two disjoint subsets of {size} need {2 * size} images, found {len(rows)}")
    order = np.random.default_rng(seed).permutation(len(rows))
    first, second = (gaussian_of(moments_of(rows[np.sort(part)])) for part in (order[:size], order[size : 2 * size]))
    return HalvesFloor(value=frechet_distance(first, second), n=size)


def merge_statistics(parts: Sequence[FeatureStatistics], *, label: str) -> FeatureStatistics:
    """Statistics of the union of disjoint shards, equal to those of the whole up to rounding.

    All shards must be of one network and layer and know their number of images; the floor is not merged.
    """
    if not parts:
        raise CacheError("no statistics to merge")
    first = parts[0]
    moments = []
    for part in parts:
        if (part.extractor, part.layer) != (first.extractor, first.layer):
            raise CacheError(f"{part.images.label} and {first.images.label} are not of one network and layer")
        n = part.images.n
        if n < 2:
            raise CacheError(f"{part.images.label} does not say of how many images it is; it cannot be merged")
        moments.append(Moments(n=n, mean=part.gaussian.mean, scatter=part.gaussian.covariance * (n - 1)))
    whole = merge_all(moments)
    fingerprints = "\n".join(sorted(part.images.fingerprint for part in parts))
    images = replace(
        first.images,
        label=label,
        kind="statistics",
        n=whole.n,
        available=whole.n,
        fingerprint=hashlib.sha256(fingerprints.encode()).hexdigest(),
        selection=f"{len(parts)} shards",
    )
    return replace(first, gaussian=gaussian_of(whole), images=images, floor=None)


def save_statistics(statistics: FeatureStatistics, path: Path) -> None:
    """Store as .npz, written beside `path` as `.partial`, then renamed; CacheError when that fails."""
    meta = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "layer": statistics.layer,
        "extractor": None if statistics.extractor is None else statistics.extractor.to_json(),
        "images": statistics.images.to_json(),
        "floor": None if statistics.floor is None else {"value": statistics.floor.value, "n": statistics.floor.n},
    }
    arrays: dict[str, Any] = {
        META_KEY: np.array(json.dumps(meta)),
        "mu": statistics.gaussian.mean,
        "sigma": statistics.gaussian.covariance,
    }
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(partial, arrays)
        partial.replace(path)
    except OSError as error:
        raise CacheError(f"cannot write statistics {path}: {error.strerror}") from None


def is_statistics_file(path: Path) -> bool:
    """Whether `path` is an .npz with `mu` and `sigma`, ours or another tool's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return all(f"{key}.npy" in names for key in PUBLISHED_KEYS)


def load_statistics(path: Path) -> FeatureStatistics:
    """Statistics stored by `save_statistics`, or `mu` and `sigma` another tool published.

    CacheError for a damaged file, an unknown version, unfitting shapes or values that are no covariance.
    """
    _check_sizes(path)
    meta = read_meta(path)
    ours = meta is not None and meta.get("format") == FORMAT
    if ours and meta is not None and meta.get("version") != FORMAT_VERSION:
        raise CacheError(f"{path} has statistics version {meta.get('version')!r}, this program reads {FORMAT_VERSION}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            mean, covariance = (np.asarray(stored[key], np.float64) for key in PUBLISHED_KEYS)
        if ours and meta is not None:
            return _from_meta(meta, Gaussian(mean=mean, covariance=covariance))
        gaussian = Gaussian(mean=mean, covariance=covariance)
    except (BatchError, OSError, KeyError, TypeError, EOFError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        raise CacheError(f"{path} is not a statistics file: {error}") from None
    scale = float(np.abs(covariance).max(initial=0.0))
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-5 * scale) or (covariance.diagonal() < 0).any():
        raise CacheError(f"{path}: sigma is not a covariance: it should be symmetric, its diagonal not negative")
    digest = hashlib.sha256(mean.tobytes() + covariance.tobytes()).hexdigest()
    images = SetStamp(
        label=str(path),
        kind="published-statistics",
        n=0,
        available=0,
        res=None,
        resizer=None,
        fingerprint=digest,
        selection="unknown",
    )
    return FeatureStatistics(gaussian=gaussian, layer=None, extractor=None, images=images)


def cached_statistics_path(folder: Path, images: SetStamp, extractor: ExtractorStamp, layer: str, *, seed: int) -> Path:
    """Where the statistics of this set by this network belong: the name hashes all that decides them."""
    identity = {
        "version": FORMAT_VERSION,
        "fingerprint": images.fingerprint,
        "n": images.n,
        "res": images.res,
        "resizer": images.resizer,
        "selection": images.selection,
        "extractor": extractor.to_json(),
        "layer": layer,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return folder / f"{extractor.name}-{layer}-{digest[:24]}.npz".replace("/", "_")


def _from_meta(meta: dict[str, Any], gaussian: Gaussian) -> FeatureStatistics:
    floor = meta["floor"]
    return FeatureStatistics(
        gaussian=gaussian,
        layer=meta["layer"],
        extractor=None if meta["extractor"] is None else ExtractorStamp(**meta["extractor"]),
        images=SetStamp(**meta["images"]),
        floor=None if floor is None else HalvesFloor(value=float(floor["value"]), n=int(floor["n"])),
    )


def _check_sizes(path: Path) -> None:
    """CacheError before anything is inflated whose declared size is out of proportion."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.file_size > MAX_PUBLISHED_BYTES or info.file_size > MAX_RATIO * info.compress_size + 4096:
                    raise CacheError(f"{path}: {info.filename} would inflate to {info.file_size} bytes; refused")
    except (OSError, zipfile.BadZipFile) as error:
        raise CacheError(f"cannot read statistics {path}: {error}") from None
