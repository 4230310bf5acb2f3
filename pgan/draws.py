"""Random draws that depend on nothing but what they are for: (seed, purpose, position).

No generator lives on from step to step, so resuming needs no random state, measuring cannot disturb training, and any
number of processes draw the same numbers for the same images.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

LATENTS, INTERPOLATES, NOISE, LABELS, WEIGHTS, ORDER, MIRROR = (
    "latents",
    "interpolates",
    "noise",
    "labels",
    "weights",
    "order",
    "mirror",
)
SAMPLES = "samples"
TABLE = "label table"


def key(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit number for (seed, purpose, position)."""
    text = " ".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, purpose: str, *position: int) -> torch.Generator:
    """A CPU generator: the same numbers on every device and machine."""
    return torch.Generator().manual_seed(key(seed, purpose, *position))


def numpy_generator(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """A NumPy generator."""
    return np.random.default_rng(key(seed, purpose, *position))


def sample_latents(seed: int, numbers: list[int], latent: int) -> Tensor:
    """The latents of numbered samples, whatever batch they are in: (n, L) float32, CPU."""
    rows = [torch.randn(latent, generator=torch_generator(seed, SAMPLES, number)) for number in numbers]
    return torch.stack(rows) if rows else torch.zeros(0, latent)


def sample_labels(seed: int, numbers: list[int], classes: int) -> Tensor | None:
    """The classes of numbered samples, (n,) int64, or None for unconditional networks."""
    if not classes:
        return None
    drawn = [int(numpy_generator(seed, LABELS, number).integers(classes)) for number in numbers]
    return torch.tensor(drawn, dtype=torch.int64)
