"""Feed images, get statistics: usable inside a training loop.

reals = SwdAccumulator(res=256, n=4096, role="real")
for batch in batches:                # (k, 3, 256, 256) uint8
    reals.feed(batch)
statistics = reals.finish()
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError
from metrics.sliced.acceleration import have_native
from metrics.sliced.config import CHANNELS, DESCRIPTOR_VALUES, SwdConfig, level_sizes
from metrics.sliced.draws import REAL, ROLES, Corners, ReferenceDraws, keyed_corners
from metrics.sliced.patches import PatchExtractor, images_at_once
from metrics.sliced.statistics import SwdStatistics
from metrics.sliced.store import ROW_BYTES, DescriptorStore, check_space, spill_folder
from metrics.sources.base import ImageSet
from metrics.threads import one_blas_thread, one_opencv_thread

MEMORY_BYTES = 384 << 20
"""Descriptors of one set up to this size stay in memory; larger ones go to a temporary file."""

READ_AHEAD = 256
"""Images handed to the threads at a time."""

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]


class SwdAccumulator:
    """Collects the descriptors of n images of one set.

    config        parameters; two sets to be compared need equal ones
    res           side of the images
    n             images that will be fed
    role          'real' or 'fake': the two sets have independent patch positions
    reference     the draws of the comparison, for the reference protocol only
    jobs          threads
    native        whether to use the loops in C where they were built: the same descriptors, to the bit
    spill         folder for descriptors that do not fit `memory` bytes; None: METRICS_SPILL or the system's
    """

    def __init__(
        self,
        *,
        res: int,
        n: int,
        role: str = REAL,
        config: SwdConfig | None = None,
        reference: ReferenceDraws | None = None,
        jobs: int = 1,
        native: bool = True,
        spill: Path | None = None,
        memory: int = MEMORY_BYTES,
    ) -> None:
        self._config = config or SwdConfig()
        if role not in ROLES:
            raise BatchError(f"role is {role!r}, expected one of {', '.join(ROLES)}")
        if n < 1:
            raise BatchError(f"n is {n}, expected 1 or more")
        if self._config.is_reference != (reference is not None):
            raise BatchError("the reference protocol, and only it, takes ReferenceDraws")
        sizes = level_sizes(res)
        needed = n * self._config.patches * ROW_BYTES * len(sizes)
        folder = None
        if needed > memory:
            folder = spill_folder(spill)
            check_space(folder, needed)
        self._statistics = SwdStatistics(
            config=self._config,
            role=role,
            res=res,
            numbers=np.full(n, -1, np.int64),
            stores={size: DescriptorStore(n, self._config.patches, folder) for size in sizes},
            sums={size: np.zeros((n, CHANNELS, 2)) for size in sizes},
        )
        self._reference = reference
        self._jobs = jobs
        self._pool = ThreadPoolExecutor(jobs) if jobs > 1 else None
        self._native = native and have_native()
        self._local = local()
        self.done = 0

    def feed(
        self,
        images: NDArray[np.uint8],
        *,
        numbers: Sequence[int] | NDArray[np.integer] | None = None,
        slots: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> None:
        """Add a batch (k, 3, R, R) uint8.

        numbers   image numbers, which key the patch positions; by default counted on from 0
        slots     where the images belong, if not fed in order

        Raises BatchError for another shape or type, more images than announced, or a slot filled twice.
        """
        statistics = self._statistics
        checked = check_batch(images, statistics.res)
        count = len(checked)
        own = np.arange(self.done, self.done + count)
        places = own if slots is None else np.asarray(slots, np.int64)
        names = own if numbers is None else np.asarray(numbers, np.int64)
        if len(places) != count or len(names) != count:
            raise BatchError(f"{count} images came with {len(names)} numbers and {len(places)} slots")
        if self.done + count > statistics.n or (count and places.max() >= statistics.n):
            raise BatchError(f"announced {statistics.n} images, got more: {self.done} and then {count}")
        if (statistics.numbers[places] >= 0).any():
            raise BatchError(f"slot {places[statistics.numbers[places] >= 0][0]} was filled before")
        statistics.numbers[places] = names
        drawn = self._corners(count)

        def some(part: slice) -> None:
            self._extract(checked[part], names[part], places[part], _part(drawn, part))

        self._run(some, count)
        self.done += count

    def feed_set(self, images: ImageSet, numbers: NDArray[np.int64], *, progress: Progress | None = None) -> None:
        """Add the images `numbers` of a set, in that order; images are read and decoded in the threads."""
        if images.res != self._statistics.res:
            raise BatchError(f"{images.label} has {images.res} pixels, expected {self._statistics.res}")
        step = self._config.batch if self._reference is not None else READ_AHEAD
        for start in range(0, len(numbers), step):
            chosen = numbers[start : start + step]
            if images.threads:
                self._feed_reading(images, chosen)
            else:
                self.feed(images.read(chosen), numbers=chosen)
            if progress is not None:
                progress(start + len(chosen), len(numbers))

    def _feed_reading(self, images: ImageSet, numbers: NDArray[np.int64]) -> None:
        statistics = self._statistics
        places = np.arange(self.done, self.done + len(numbers))
        if places[-1] >= statistics.n:
            raise BatchError(f"announced {statistics.n} images, got more")
        drawn = self._corners(len(numbers))

        def some(part: slice) -> None:
            read = check_batch(images.read(numbers[part]), statistics.res)
            self._extract(read, numbers[part], places[part], _part(drawn, part))

        self._run(some, len(numbers))
        statistics.numbers[places] = numbers
        self.done += len(numbers)

    def _corners(self, count: int) -> Corners | None:
        """Positions that are drawn in the order of feeding; None where they are keyed by image."""
        return None if self._reference is None else self._reference.corners(count)

    def _run(self, some: Callable[[slice], None], count: int) -> None:
        """Call `some` for parts of `count` images, in the threads."""
        step = max(1, min(images_at_once(self._statistics.res), -(-count // self._jobs)))
        parts = [slice(start, min(start + step, count)) for start in range(0, count, step)]
        with one_opencv_thread(), one_blas_thread():
            if self._pool is None:
                for part in parts:
                    some(part)
            else:
                list(self._pool.map(some, parts))

    def _extract(
        self,
        images: NDArray[np.uint8],
        numbers: NDArray[np.int64],
        slots: NDArray[np.int64],
        corners: Corners | None,
    ) -> None:
        """Descriptors and sums of a few images, into their slots."""
        statistics, config, count = self._statistics, self._config, len(images)
        scratch: _Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = _Scratch(statistics.res, config, native=self._native)
        if corners is None:
            corners = keyed_corners(config, statistics.role, statistics.sizes, numbers)
        first, in_order = int(slots[0]), bool((np.diff(slots) == 1).all())
        blocks = []
        for size in statistics.sizes:
            kept = statistics.stores[size].in_memory(first, count) if in_order else None
            blocks.append(scratch.block(size, count) if kept is None else kept)
        scratch.extractor.extract(images, corners, blocks)
        for size, block in zip(statistics.sizes, blocks, strict=True):
            statistics.sums[size][slots] = scratch.extractor.channel_sums(block)
            if in_order:
                statistics.stores[size].write(first, block)
            else:
                for slot, one in zip(slots, block, strict=True):
                    statistics.stores[size].write(int(slot), one[None])

    def add_part(
        self,
        start: int,
        numbers: NDArray[np.int64],
        descriptors: Mapping[int, NDArray[np.float32]],
        sums: Mapping[int, NDArray[np.float64]],
    ) -> None:
        """Add images whose descriptors (k, 147, P) and sums per level were computed elsewhere, from `start` on."""
        statistics, patches = self._statistics, self._config.patches
        count = len(numbers)
        if start < 0 or start + count > statistics.n or (statistics.numbers[start : start + count] >= 0).any():
            raise BatchError(f"a part of {count} images does not fit into slots {start}.. of {statistics.n}")
        for size, store in statistics.stores.items():
            if descriptors[size].shape != (count, DESCRIPTOR_VALUES, patches):
                raise BatchError(f"a part of {count} images came with descriptors {descriptors[size].shape}")
            store.write(start, descriptors[size])
            statistics.sums[size][start : start + count] = sums[size]
        statistics.numbers[start : start + count] = numbers
        self.done += count

    def finish(self) -> SwdStatistics:
        """The statistics; raises BatchError if images are missing."""
        if self.done != self._statistics.n:
            raise BatchError(f"announced {self._statistics.n} images, got {self.done}")
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        return self._statistics

    def close(self) -> None:
        """Give up: stop the threads, free memory and disk space."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._statistics.close()

    def __enter__(self) -> "SwdAccumulator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.close()


def _part(corners: Corners | None, part: slice) -> Corners | None:
    return None if corners is None else [level[part] for level in corners]


class _Scratch:
    """What one thread works in."""

    def __init__(self, res: int, config: SwdConfig, *, native: bool) -> None:
        self.extractor = patch_extractor(res, config, native=native)
        self._shape = self.extractor.images, DESCRIPTOR_VALUES, config.patches
        self._blocks: dict[int, Float32] = {}

    def block(self, size: int, images: int) -> Float32:
        """Room for descriptors of a level that are on their way to a file: (images, 147, P)."""
        if size not in self._blocks:
            self._blocks[size] = np.empty(self._shape, np.float32)
        return self._blocks[size][:images]


def patch_extractor(res: int, config: SwdConfig, *, native: bool) -> PatchExtractor:
    """By the loops in C or by NumPy and OpenCV alone."""
    if not native:
        return PatchExtractor(res, config.patches, transposed=config.is_reference)
    from metrics.sliced.native_patches import NativePatchExtractor

    return NativePatchExtractor(res, config.patches, transposed=config.is_reference)


def check_batch(images: NDArray[np.uint8], res: int) -> NDArray[np.uint8]:
    """`images` as contiguous (k, 3, res, res) uint8, grayscale replicated; BatchError for anything else."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise BatchError(f"expected a batch of uint8 0..255, found {found}; a scale is not guessed: convert it")
    if images.ndim != 4 or images.shape[1] not in (1, CHANNELS) or images.shape[2:] != (res, res):
        raise BatchError(f"expected a batch (k, 3, {res}, {res}), found {images.shape}")
    if images.shape[1] == 1:
        images = np.repeat(images, CHANNELS, axis=1)
    return np.ascontiguousarray(images)
