"""Batches of real images from a pyramid: only the level that is needed, block-shuffled, mirrored, read ahead.

The image at a position of the run depends on (seed, position) alone. uint8 crosses the border between processes, a
quarter of the bytes of float32; scaling and fading happen on the device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from celebahq_tools.errors import CelebAHQError
from celebahq_tools.store import PyramidReader
from celebahq_tools.store.blocks import shuffled_order
from pgan.config import CLASS, Config, NetworkConfig
from pgan.draws import MIRROR, ORDER, numpy_generator
from pgan.errors import DataError
from pgan.labels import LabelInfo, label_rows, labels_in
from pgan.networks.operators import fade_images
from pgan.parallel import World
from pgan.walk import Position, walk

READ_AHEAD = 8
"""Bundles each worker keeps ready."""
BUNDLE_BYTES = 128 << 10
BUNDLE_BATCHES = 32
"""Batches travel in bundles of up to so many bytes and batches: at 4² a step takes little longer than the way between
processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataInfo:
    """What a training set is.

    labels  the kinds of labels it has, the first is taken by default
    """

    path: Path
    n: int
    res: int
    levels: tuple[int, ...]
    labels: tuple[LabelInfo, ...]
    fingerprint: str

    def labelled(self, kind: str) -> LabelInfo | None:
        """Its labels of a kind; 'auto' is the first there is, 'none' none."""
        return next((one for one in self.labels if kind in ("auto", one.kind)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Images wanted: `count` of level `res` from position `nimg` on."""

    nimg: int
    res: int
    count: int


def inspect_data(path: Path) -> DataInfo:
    """Look at a pyramid. Raises DataError for anything that is none, is empty or has broken labels."""
    try:
        with PyramidReader(path) as reader:
            labels = labels_in(reader)
            fingerprint = reader.fingerprint()
            n, res, levels = len(reader), reader.resolution, reader.levels
    except (CelebAHQError, OSError) as error:
        raise DataError(str(error)) from None
    if n == 0:
        raise DataError(f"{path} holds no images")
    return DataInfo(
        path=path,
        n=n,
        res=res,
        levels=levels,
        labels=labels,
        fingerprint=fingerprint,
    )


def check_data(data: DataInfo, config: Config, resolutions: tuple[int, ...]) -> None:
    """Raise DataError unless the data has every level the run reads, at the final resolution, and its labels."""
    final = config.network.res
    if data.res != final and final not in data.levels:
        raise DataError(f"{data.path} has levels up to {data.res} pixels, the configuration wants {final}; set --res")
    for res in resolutions:
        if res not in data.levels:
            raise DataError(f"{data.path} has no level of {res} pixels, which the run needs; build it again with it")
    network = config.network
    found = data.labelled(network.label_kind)
    if network.label_size and (found is None or found.size != network.label_size):
        size = 0 if found is None else found.size
        what = "classes" if network.label_kind == CLASS else f"{network.label_kind} labels"
        raise DataError(f"{data.path} has {size} {what}, the configuration {network.label_size}")
    if network.label_size and found is not None and network.label_names and found.names != network.label_names:
        raise DataError(f"{data.path} has labels of other names, or in another order, than the configuration")


class PyramidBatches(Dataset[tuple[Tensor, Tensor]]):
    """Maps k alike Requests to (images (k, n, 3, r, r) uint8, labels (k, n, ...) as networks see them or (k, 0))."""

    def __init__(self, path: Path, *, seed: int, mirror: bool, network: NetworkConfig) -> None:
        self._reader = PyramidReader(path)
        self._seed, self._mirror = seed, mirror
        self._labels = label_rows(self._reader, network)
        self._epoch = -1
        self._order = np.zeros(0, np.int64)
        self._flips = np.zeros(0, np.bool_)

    def __getitem__(self, bundle: Sequence[Request]) -> tuple[Tensor, Tensor]:
        """Read batches; DataError when the file fails."""
        chosen = [self.numbers(request.nimg, request.count) for request in bundle]
        numbers, flips = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
        try:
            images = self._reader.read(numbers, bundle[0].res)
        except (CelebAHQError, OSError) as error:
            raise DataError(f"{self._reader.path}: {error}") from None
        images[flips] = images[flips][..., ::-1]
        shape = len(bundle), bundle[0].count
        labels = np.zeros((shape[0], 0), np.int64)
        if self._labels is not None:
            labels = self._labels[numbers].reshape(*shape, *self._labels.shape[1:])
        return torch.from_numpy(images.reshape(*shape, *images.shape[1:])), torch.from_numpy(labels)

    def numbers(self, nimg: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Image numbers at positions nimg .. nimg + count - 1, and which of them are mirrored."""
        total = len(self._reader)
        numbers, flips = np.empty(count, np.int64), np.zeros(count, np.bool_)
        done = 0
        while done < count:
            epoch, inside = divmod(nimg + done, total)
            if epoch != self._epoch:
                self._begin(epoch)
            here = min(count - done, total - inside)
            numbers[done : done + here] = self._order[inside : inside + here]
            flips[done : done + here] = self._flips[inside : inside + here]
            done += here
        return numbers, flips

    def _begin(self, epoch: int) -> None:
        total = len(self._reader)
        everything = np.arange(total, dtype=np.int64)
        self._order = shuffled_order(everything, numpy_generator(self._seed, ORDER, epoch))
        rng = numpy_generator(self._seed, MIRROR, epoch)
        self._flips = rng.random(total) < 0.5 if self._mirror else np.zeros(total, np.bool_)
        self._epoch = epoch


def requests(config: Config, position: Position, world: World) -> Iterator[Request]:
    """What one process reads from a position on: its share of every batch."""
    for iteration in walk(config, position):
        share = iteration.stage.batch // world.size
        for nimg in iteration.d_starts():
            yield Request(nimg=nimg + world.rank * share, res=iteration.stage.res, count=share)


def bundles(wanted: Iterator[Request]) -> Iterator[tuple[Request, ...]]:
    """Neighbouring requests of one resolution and count, together; see BUNDLE_BYTES."""
    for (res, count), alike in groupby(wanted, key=lambda request: (request.res, request.count)):
        size = min(max(BUNDLE_BYTES // (3 * res * res * count), 1), BUNDLE_BATCHES)
        while bundle := tuple(islice(alike, size)):
            yield bundle


class _Sampler(torch.utils.data.Sampler[tuple[Request, ...]]):
    def __init__(self, config: Config, position: Position, world: World) -> None:
        self._arguments = config, position, world

    def __iter__(self) -> Iterator[tuple[Request, ...]]:
        return bundles(requests(*self._arguments))


def open_batches(path: Path, config: Config, position: Position, world: World) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's batches from a position on, read ahead by `workers` processes."""
    dataset = PyramidBatches(path, seed=config.train.seed, mirror=config.train.mirror, network=config.network)
    workers = config.train.workers
    loader = DataLoader(
        dataset,
        sampler=_Sampler(config, position, world),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=READ_AHEAD if workers else None,
        multiprocessing_context="forkserver" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return unbundled(iter(loader))


def unbundled(loaded: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of bundles, one by one."""
    for images, labels in loaded:
        yield from zip(images, labels, strict=True)


def to_device(images: Tensor, device: torch.device, fade: float) -> Tensor:
    """(n, 3, r, r) uint8 -> float32 in [-1, 1] on the device, faded like the networks."""
    moved = images.to(device, non_blocking=True).float() / 127.5 - 1.0
    return fade_images(moved, fade)
