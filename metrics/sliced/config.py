"""Parameters of the sliced Wasserstein distance and the levels of a resolution."""

from dataclasses import dataclass

from metrics.errors import UsageError

PATCH = 7
"""Side of a descriptor's neighbourhood in pixels."""
RADIUS = PATCH // 2
CHANNELS = 3
VALUES_PER_CHANNEL = PATCH * PATCH
DESCRIPTOR_VALUES = CHANNELS * VALUES_PER_CHANNEL
MIN_LEVEL = 16
"""The coarsest level: the low-pass that is left."""
PAPER_IMAGES = 16_384
MAX_SEED = 2**63 - 1

DEFAULT = "default"
REFERENCE = "reference"
PROTOCOLS = (DEFAULT, REFERENCE)

MAX_SPLITS = 15
"""Rows of a Hadamard matrix of 16 that are balanced."""
REFERENCE_MAX_SEED = 2**32 - 1
"""Largest seed of NumPy's legacy generator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SwdConfig:
    """Parameters of the metric; the defaults are the paper's.

    protocol          'default': draws keyed by image, float64 moments; 'reference': the authors' order of
                      draws and float32 moments
    seed              of all draws
    patches           descriptors per image and level
    repeats           groups of directions ...
    directions        ... and directions in each
    batch             images per batch; decides the order of draws of the reference protocol and nothing else
    interval_splits   splits into halves from which the interval is estimated, 0 (no interval) to 15
    split_directions  directions used in each split
    floor_directions  directions used for the noise floor
    """

    protocol: str = DEFAULT
    seed: int = 0
    patches: int = 128
    repeats: int = 4
    directions: int = 128
    batch: int = 128
    interval_splits: int = 8
    split_directions: int = 16
    floor_directions: int = 128

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"protocol {self.protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
        limit = REFERENCE_MAX_SEED if self.protocol == REFERENCE else MAX_SEED
        if not 0 <= self.seed <= limit:
            raise UsageError(f"seed is {self.seed}, expected 0..{limit}")
        for name in ("patches", "repeats", "directions", "batch", "split_directions", "floor_directions"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not 0 <= self.interval_splits <= MAX_SPLITS:
            raise UsageError(f"interval_splits is {self.interval_splits}, expected 0..{MAX_SPLITS}")

    @property
    def all_directions(self) -> int:
        """Directions per level, over all repeats."""
        return self.repeats * self.directions

    @property
    def is_reference(self) -> bool:
        """Whether the authors' draws and moments are reproduced."""
        return self.protocol == REFERENCE


def level_sizes(res: int) -> tuple[int, ...]:
    """Sides of the levels, finest first: every power of two from `res` down to 16.

    Raises UsageError unless `res` is a power of two of at least 16.
    """
    if res < MIN_LEVEL or res & (res - 1):
        raise UsageError(
            f"images are {res}x{res}; the Laplacian pyramid needs a power of two of at least {MIN_LEVEL}: "
            "name a size with --res and a resizer with --resizer"
        )
    return tuple(1 << power for power in range(res.bit_length() - 1, MIN_LEVEL.bit_length() - 2, -1))
