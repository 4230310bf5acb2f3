"""Random draws: patch positions and projection directions.

Default protocol: counter-based. Every (seed, set, image) has its own Philox stream, of which the coarsest level
takes the first numbers, the next one the following and so on: a descriptor does not depend on batches, threads,
shards, finer levels or which other images are measured.
Reference protocol: one legacy generator used in the authors' order (reals batch by batch, level by level;
directions drawn and dropped once; fakes likewise; directions).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.sliced.config import DESCRIPTOR_VALUES, PATCH, RADIUS, SwdConfig

REAL, FAKE = "real", "fake"
ROLES = (REAL, FAKE)
_STREAMS = {REAL: 0, FAKE: 1, "directions": 2, "selection": 3, "blocks": 4, "pairs": 5}
"""Second half of the Philox key: what the draws are for."""

Corners = list[NDArray[np.int64]]
"""Per level (k, P) flat index of the top-left pixel of every patch of k images."""


def _philox_state(seed: int, purpose: str, item: int) -> Any:
    """State of the bit generator of one (seed, purpose, item) before its first number."""
    return {
        "bit_generator": "Philox",
        "state": {
            "counter": np.array([0, 0, 0, item], np.uint64),
            "key": np.array([seed, _STREAMS[purpose]], np.uint64),
        },
        "buffer": np.zeros(4, np.uint64),
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }


def keyed_generator(seed: int, purpose: str, item: int) -> np.random.Generator:
    """The generator of one (seed, purpose, item), independent of all others."""
    key = np.array([seed, _STREAMS[purpose]], np.uint64)
    counter = np.array([0, 0, 0, item], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def keyed_corners(
    config: SwdConfig, role: str, sizes: Sequence[int], images: Sequence[int] | NDArray[np.int64]
) -> Corners:
    """Positions of the patches of the images of these numbers: centres uniform in [3, r-3)².

    32 random bits are scaled to the r - 6 positions, which is uniform to 2e-7 at r = 1024.
    """
    stream, count = np.random.Philox(key=0), len(sizes) * 2 * config.patches
    drawn = np.empty((len(images), count // 2), np.uint64)
    for row, image in zip(drawn, images, strict=True):
        # Setting the state of one stream is a quarter of the work of making another.
        stream.state = _philox_state(config.seed, role, int(image))
        row[:] = stream.random_raw(count // 2)
    # x and y from the coarsest level on, low half of a number first: (k, levels, 2, P)
    bits = drawn.astype("<u8", copy=False).view("<u4").reshape(len(images), len(sizes), 2, config.patches)
    side = np.array(sizes, np.int64)[::-1, None]
    places = np.multiply(bits, (side - (PATCH - 1))[..., None], dtype=np.int64)
    places >>= 32
    x, y = places[:, :, 0], places[:, :, 1]
    return list((y * side + x).swapaxes(0, 1)[::-1])


def keyed_directions(config: SwdConfig, size: int) -> NDArray[np.float32]:
    """Unit directions of the level of side `size`: (D, 147) float32."""
    rng = keyed_generator(config.seed, "directions", size)
    drawn = rng.standard_normal((config.all_directions, DESCRIPTOR_VALUES))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float32)


def keyed_order(seed: int, available: int) -> NDArray[np.int64]:
    """A permutation of the image numbers of a set: the first n are a random sample of n."""
    return keyed_generator(seed, "selection", 0).permutation(available)


class ReferenceDraws:
    """The authors' sequence of draws for one comparison. Call in this order: `corners` for all batches of the
    reals, `close_reals`, `corners` for all batches of the fakes, `directions` per level from the finest.
    """

    def __init__(self, config: SwdConfig, sizes: Sequence[int]) -> None:
        self._config = config
        self._sizes = sizes
        # The order of draws of the legacy generator IS the reference protocol.
        self._random = np.random.RandomState(config.seed)

    def corners(self, images: int) -> Corners:
        """Positions for the next batch of `images` images."""
        per_level = []
        count = images * self._config.patches
        for size in self._sizes:
            x = self._random.randint(RADIUS, size - RADIUS, size=count) - RADIUS
            y = self._random.randint(RADIUS, size - RADIUS, size=count) - RADIUS
            per_level.append((y * size + x).astype(np.int64).reshape(images, -1))
        return per_level

    def close_reals(self) -> None:
        """The reals are compared with themselves when they are complete: directions are drawn and dropped."""
        for _ in self._sizes:
            self.directions()

    def directions(self) -> NDArray[np.float32]:
        """Unit directions of the next level: (D, 147) float32, repeats one after the other."""
        repeats = []
        for _ in range(self._config.repeats):
            drawn = self._random.randn(DESCRIPTOR_VALUES, self._config.directions)
            drawn /= np.sqrt(np.sum(np.square(drawn), axis=0, keepdims=True))
            repeats.append(drawn.astype(np.float32).T)
        return np.ascontiguousarray(np.concatenate(repeats))
