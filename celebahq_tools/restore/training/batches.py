"""Pairs of damaged and undamaged patches; a batch is a pure function of (seed, step), so that a run resumes exactly.

Legend: h = w = patch / scale; tensors are (N, 3, ., .) float32 RGB [0, 1] in channels-last memory.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from celebahq_tools.restore.training.config import TrainConfig
from celebahq_tools.restore.training.degrade import KERNELS, SCALE, compressed, noisy, shrink4
from celebahq_tools.restore.training.photos import Photo, Pixels, choose_place, octaves, probabilities

BATCH_STREAM = 1
ORIENTATIONS = 8


class Pair(NamedTuple):
    """`damaged` (N, 3, h, w) and what it should become, `target` (N, 3, patch, patch)."""

    damaged: Tensor
    target: Tensor


def oriented(pixels: Pixels, orientation: int) -> Pixels:
    """One of the eight ways to turn and mirror a picture."""
    if orientation & 4:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]
    return np.ascontiguousarray(pixels)


def to_tensor(pictures: Sequence[Pixels]) -> Tensor:
    """Pictures of one size, (H, W, 3) uint8 => (N, 3, H, W) float32 [0, 1]; a channels-last view of the stack."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


class PatchSource:
    """The photographs, in all sizes and (for enlargement) shrunk by all kernels."""

    def __init__(self, photos: Sequence[Photo], config: TrainConfig) -> None:
        self._config = config
        self._pictures = octaves(photos, config.patch)
        self._shares = probabilities(self._pictures)
        self._small: dict[str, list[Pixels]] = {}
        if config.network.scale > 1:
            self._small = {kernel: [shrink4(pixels, kernel) for pixels in self._pictures] for kernel in KERNELS}

    @property
    def pixels(self) -> int:
        """How many pixels patches are cut from, all sizes together."""
        return sum(pixels.shape[0] * pixels.shape[1] for pixels in self._pictures)

    def batch(self, step: int) -> Pair:
        """The batch of a step."""
        rng = np.random.default_rng((self._config.seed, BATCH_STREAM, step))
        pairs = [self._pair(rng) for _ in range(self._config.batch)]
        return Pair(to_tensor([damaged for damaged, _ in pairs]), to_tensor([target for _, target in pairs]))

    def _pair(self, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        config = self._config
        edge, scale = config.patch, config.network.scale
        number, x, y = (place := choose_place(self._pictures, self._shares, edge, scale, rng)).number, place.x, place.y
        orientation = int(rng.integers(ORIENTATIONS))
        target = oriented(self._pictures[number][y : y + edge, x : x + edge], orientation)
        if scale == 1:
            return compressed(target, config.degrade, rng), target
        kernel = KERNELS[0]
        if rng.random() >= config.degrade.bicubic:
            kernel = KERNELS[int(rng.integers(1, len(KERNELS)))]
        x, y, edge = x // SCALE, y // SCALE, edge // SCALE
        damaged = oriented(self._small[kernel][number][y : y + edge, x : x + edge], orientation)
        if rng.random() < config.degrade.noise:
            damaged = noisy(damaged, config.degrade, rng)
        if rng.random() < config.degrade.jpeg:
            damaged = compressed(damaged, config.degrade, rng)
        return damaged, target


def prefetched(source: PatchSource, start: int, stop: int) -> Iterator[Pair]:
    """The batches of steps [start, stop), each made in another thread while the one before it is used."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        waiting = executor.submit(source.batch, start)
        for step in range(start + 1, stop + 1):
            batch = waiting.result()
            if step < stop:
                waiting = executor.submit(source.batch, step)
            yield batch
