"""A stored generator as a set of images, so that every metric takes it where it takes a pyramid.

`metrics` finds `open_generator` through an entry point and imports nothing of this package by itself.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.pyramid import build_levels
from metrics.errors import ImageSetError
from metrics.sources.base import ImageSet, replicate_channels, resize_chw
from pgan.errors import PganError
from pgan.generate import StoredGenerator, read_generator
from pgan.sampling import Sample, check_label, inputs_of
from pgan.snapshots import digest_of

NOMINAL_IMAGES = 65_536
"""A generator has no last image; more than any metric takes by default, so that the real set decides."""

BATCH = 16

PYRAMID = "pyramid"
CLASS_MARK = "class="


class GeneratorSet(ImageSet):
    """Samples of a generator by number: number k of a seed is the same whatever else is read (batches of another
    size may round a pixel to the neighbouring value).

    Images come at the final resolution, or resized to `res`: by a filter named in metrics.sources.RESIZERS, or by
    PYRAMID, the rule by which the levels of a training set are made.
    """

    kind = "checkpoint"
    threads = False

    def __init__(
        self,
        generator: StoredGenerator,
        *,
        res: int | None = None,
        resizer: str | None = None,
        seed: int = 0,
        n: int = NOMINAL_IMAGES,
        label: str | None = None,
    ) -> None:
        final = generator.config.network.res
        if res is not None and res != final and resizer is None:
            raise ImageSetError(
                f"{generator.path}: the generator makes {final}x{final} images, asked for {res}; "
                "name a filter with --resizer"
            )
        if n < 1:
            raise ImageSetError(f"{generator.path}: {n} images asked for, expected 1 or more")
        self.generator = generator
        self.wish = None if label is None else label.removeprefix(CLASS_MARK)
        check_label(generator, self.wish)
        self.label = str(generator.path) + ("" if label is None else f"::{label}")
        self.where = label
        self.seed, self.n = seed, n
        self.res = final if res is None else res
        self._filter = resizer
        self.resizer = None
        if self.res != final:
            self.resizer = "pyramid-level" if resizer == PYRAMID else f"pillow-{resizer}"

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Samples number `indices`, in that order."""
        numbers = [int(number) for number in indices]
        out = np.empty((len(numbers), 3, self.res, self.res), np.uint8)
        for start in range(0, len(numbers), BATCH):
            images = self._samples(numbers[start : start + BATCH])
            if self.resizer is not None:
                images = np.stack([self._resized(image) for image in images])
            out[start : start + len(images)] = replicate_channels(images)
        return out

    def _samples(self, numbers: list[int]) -> NDArray[np.uint8]:
        if self.wish is None:
            return self.generator.samples(self.seed, numbers)
        named = [Sample(seed=self.seed, number=number, name="") for number in numbers]
        return self.generator.images(*inputs_of(self.generator, named, self.wish))

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert self._filter is not None
        if self._filter == PYRAMID:
            return build_levels(image, self.res)[self.res]
        return resize_chw(image, self.res, self._filter)

    def _fingerprint(self) -> str:
        stored = self.generator
        weights = digest_of(stored.network.state_dict())
        label = "" if self.wish is None else f" label {self.wish}"
        return sha256(f"{weights} lod {stored.lod!r} seed {self.seed}{label}".encode()).hexdigest()

    def close(self) -> None:
        """Nothing is open."""


def open_generator(
    path: Path, res: int | None = None, resizer: str | None = None, label: str | None = None
) -> ImageSet:
    """The samples of a network file, a checkpoint, or the newest network of a run directory.

    label  of all of them, as for `pgan sample`, or class=NAME

    Raises ImageSetError for what cannot be used.
    """
    try:
        return GeneratorSet(read_generator(path), res=res, resizer=resizer, label=label)
    except PganError as error:
        raise ImageSetError(str(error)) from error
