"""One pass of a set of images through a feature network, and the file its features are kept in.

Legend: N images, D channels of a layer.
"""

import json
import os
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError
from metrics.extractors.base import Extractor, ExtractorStamp, check_layers
from metrics.protocol import SetStamp
from metrics.sources.base import ImageSet

Features = NDArray[np.float32]
ProgressFn = Callable[[int, int], None]
Observer = Callable[[NDArray[np.int64], NDArray[np.uint8]], None]
"""Called with each batch in the order of reading: image numbers (k,), images (k, 3, R, R) uint8."""

_Loaded = tuple[NDArray[np.int64], NDArray[np.uint8] | None, NDArray[Any] | None]
"""Image numbers, the images if somebody else wants them, and the network's input if any has features."""

FORMAT = "celebahq-tools/features"
FORMAT_VERSION = 1
META_KEY = "__meta__"
DEFAULT_BATCH = 16
"""On CPUs activations of larger batches fall out of the cache: 32 is a third slower than 16."""
DEFAULT_WORKERS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class PassTiming:
    """Where the time of a pass went: images, wall seconds in all, and those inside the network."""

    nimg: int
    total_sec: float
    network_sec: float
    batch: int
    workers: int
    device: str

    @property
    def network_share(self) -> float:
        """Share of the wall time in which the network was computing."""
        return self.network_sec / self.total_sec if self.total_sec > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSet:
    """Features of one set of images by one extractor.

    layers         {name: (N, D) float32}, rows in the order of the images
    extractor      the network they come from
    images         the set they were taken of
    feature_layer  layer of FID, KID, precision and recall
    logit_layer    layer of the inception score, or None
    timing         of the pass, or None when read from a file
    """

    layers: Mapping[str, Features]
    extractor: ExtractorStamp
    images: SetStamp
    feature_layer: str
    logit_layer: str | None
    timing: PassTiming | None = None

    @property
    def n(self) -> int:
        """N, the number of images."""
        return len(next(iter(self.layers.values())))

    def layer(self, name: str) -> Features:
        """(N, D) float32 of one layer; ImageSetError, listing the layers there are, if it is not there."""
        if name not in self.layers:
            raise ImageSetError(
                f"{self.images.label} has no features of layer {name}, only {', '.join(self.layers)}; "
                "compute them again with --layers"
            )
        return self.layers[name]

    def subset(self, rows: NDArray[np.integer], selection: str) -> "FeatureSet":
        """The features of the images at `rows`; `selection` says in words which those are."""
        stamp = {**self.images.to_json(), "n": len(rows), "selection": selection}
        return FeatureSet(
            layers={name: values[rows] for name, values in self.layers.items()},
            extractor=self.extractor,
            images=SetStamp(**stamp),
            feature_layer=self.feature_layer,
            logit_layer=self.logit_layer,
        )


def extract_features(
    images: ImageSet,
    extractor: Extractor,
    layers: Sequence[str] | None = None,
    *,
    batch: int = DEFAULT_BATCH,
    workers: int = DEFAULT_WORKERS,
    indices: NDArray[np.integer] | None = None,
    selection: str = "all",
    reading: NDArray[np.integer] | None = None,
    observers: Sequence[Observer] = (),
    progress: ProgressFn | None = None,
) -> FeatureSet:
    """Run every image through the extractor once, reading and resizing ahead in `workers` threads.

    layers     None: what the extractor's metrics need (features and, if it has them, logits)
    indices    which images, in the order of the result's rows; None: all. `selection` says so in words
    reading    image numbers in the order they are read, `indices` among them; None: just those, in order.
               Images that are not in `indices` are read for the observers alone
    observers  other consumers of the same single read, such as accumulators of SWD or MS-SSIM

    Memory: the features, and `workers` + 2 batches of images. Raises UsageError for unknown layers and
    whatever error reading an image raises.
    """
    names = tuple(layers) if layers is not None else default_layers(extractor)
    wanted = frozenset(names)
    check_layers(extractor, wanted)
    chosen = (np.arange(images.n) if indices is None else np.asarray(indices)).astype(np.int64)
    numbers = chosen if reading is None else np.asarray(reading).astype(np.int64)
    row_of = _row_numbers(images, chosen, numbers)
    found = {
        name: np.empty((len(chosen), width), np.float32) for name, width in extractor.layers.items() if name in wanted
    }
    started = time.perf_counter()
    network_sec = 0.0
    done = 0
    for batch_numbers, pixels, prepared in _prefetch(
        images, extractor, numbers, row_of, batch, workers, keep=bool(observers)
    ):
        if prepared is not None:
            before = time.perf_counter()
            computed = extractor.run(prepared, wanted)
            network_sec += time.perf_counter() - before
            rows = row_of[batch_numbers]
            for name, values in computed.items():
                found[name][rows[rows >= 0]] = values
        for observe in observers:
            assert pixels is not None
            observe(batch_numbers, pixels)
        done += len(batch_numbers)
        if progress is not None:
            progress(done, len(numbers))
    total_sec = time.perf_counter() - started
    return FeatureSet(
        layers={name: found[name] for name in names},
        extractor=extractor.stamp,
        images=images.stamp(used=len(chosen), selection=selection),
        feature_layer=extractor.feature_layer,
        logit_layer=extractor.logit_layer,
        timing=PassTiming(
            nimg=len(chosen),
            total_sec=total_sec,
            network_sec=network_sec,
            batch=batch,
            workers=workers,
            device=extractor.device,
        ),
    )


def default_layers(extractor: Extractor) -> tuple[str, ...]:
    """The layers the extractor's metrics are computed from."""
    logits = () if extractor.logit_layer is None else (extractor.logit_layer,)
    return (extractor.feature_layer, *logits)


def _row_numbers(images: ImageSet, chosen: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """(images.n,) row of the result each image belongs to, -1 for none; checks that each is read once."""
    for name, values in (("selection", chosen), ("order of reading", numbers)):
        if len(values) == 0 or values.min() < 0 or values.max() >= images.n or len(np.unique(values)) != len(values):
            raise ImageSetError(f"{images.label}: a {name} must name some of its {images.n} images, each once")
    if not np.isin(chosen, numbers).all():
        raise ImageSetError(f"{images.label}: the order of reading leaves out images of the selection")
    row_of = np.full(images.n, -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    return row_of


def _prefetch(
    images: ImageSet,
    extractor: Extractor,
    numbers: NDArray[np.int64],
    row_of: NDArray[np.int64],
    batch: int,
    workers: int,
    *,
    keep: bool,
) -> Iterator[_Loaded]:
    """Yield batches in order, read and prepared ahead in threads."""
    if batch < 1 or workers < 1:
        raise ImageSetError(f"batch and workers must be at least 1, found {batch} and {workers}")

    def load(chunk: NDArray[np.int64]) -> _Loaded:
        pixels = images.read(chunk)
        featured = row_of[chunk] >= 0
        prepared = None
        if featured.any():
            prepared = extractor.prepare(pixels if featured.all() else pixels[featured])
        return chunk, (pixels if keep else None), prepared

    waiting: deque[Future[_Loaded]] = deque()
    workers = workers if images.threads else 1
    with ThreadPoolExecutor(workers, thread_name_prefix="features") as pool:
        try:
            for start in range(0, len(numbers), batch):
                waiting.append(pool.submit(load, numbers[start : start + batch]))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def is_feature_file(path: Path) -> bool:
    """Whether `path` is an .npz written by `save_features`, of whatever version."""
    meta = read_meta(path)
    return meta is not None and meta.get("format") == FORMAT


def save_features(features: FeatureSet, path: Path) -> None:
    """Store one array per layer, named like the layer, and the stamps as JSON under `__meta__`.

    Written beside `path` as `.partial`, then renamed. The name should end in .npz.
    """
    meta = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "extractor": features.extractor.to_json(),
        "images": features.images.to_json(),
        "feature_layer": features.feature_layer,
        "logit_layer": features.logit_layer,
        "layers": list(features.layers),
    }
    arrays: dict[str, Any] = {META_KEY: np.array(json.dumps(meta)), **features.layers}
    partial = path.with_name(path.name + ".partial")
    try:
        write_npz(partial, arrays)
        partial.replace(path)
    except OSError as error:
        raise ImageSetError(f"cannot write {path}: {error.strerror}; choose another place with --out") from None


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An uncompressed .npz of arrays under any names, synced to disk."""
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def load_features(path: Path) -> FeatureSet:
    """Features stored by `save_features`.

    Nothing in the file is executed, and nothing compressed is accepted. ImageSetError for a damaged file,
    another format or a version this program does not know.
    """
    meta = read_meta(path)
    if meta is None or meta.get("format") != FORMAT:
        raise ImageSetError(f"{path} is not a features file; expected an .npz written by `metrics features`")
    if meta.get("version") != FORMAT_VERSION:
        raise ImageSetError(f"{path} has features version {meta.get('version')!r}, this program reads {FORMAT_VERSION}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            layers = {str(name): stored[str(name)] for name in meta["layers"]}
        loaded = FeatureSet(
            layers=layers,
            extractor=ExtractorStamp(**meta["extractor"]),
            images=SetStamp(**meta["images"]),
            feature_layer=str(meta["feature_layer"]),
            logit_layer=meta["logit_layer"],
        )
    except (OSError, KeyError, TypeError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ImageSetError(f"{path} is damaged: {error}; compute the features again") from None
    for name, rows in layers.items():
        if rows.ndim != 2 or rows.dtype != np.float32 or len(rows) != loaded.images.n:
            raise ImageSetError(
                f"{path}: layer {name} is {rows.dtype} {rows.shape}, expected float32 ({loaded.images.n}, D)"
            )
    return loaded


def read_meta(path: Path) -> dict[str, Any] | None:
    """The JSON under `__meta__`, or None for anything that is not an uncompressed .npz with one."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                return None
            if f"{META_KEY}.npy" not in archive.namelist():
                return None
        with np.load(path, allow_pickle=False) as stored:
            meta = json.loads(str(stored[META_KEY]))
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
        return None
    return meta if isinstance(meta, dict) else None
