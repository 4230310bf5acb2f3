"""The resolution pyramid of one image: every level the 2x2 mean of the unrounded level above.

Karras et al. 2018, section 4 and appendix C; the rule is the one of the authors' data sets, to the bit:
a level is ((a00 + a01) + a10) + a11, times 0.25, in float32 (first index = row), computed from the unrounded
level above; what is stored is rounded half to even and clipped to uint8.

Legend: R is the finest resolution, r a level's, both powers of two; images are (..., R, R), channels first.

The first eight halvings are computed in integers. After k halvings a mean is S / 4^k with an integer
S <= 255 * 4^k, and every partial sum on the way there is a multiple of 4^-(k-1) below 2^10: for k <= 8 they
all fit the 24 bits of a float32, the float32 rule rounds nowhere and the integers give the same values.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

UIntArray = NDArray[np.unsignedinteger[Any]]

MIN_STORED_RES = 4
"""Coarsest level that is stored by default."""

EXACT_HALVINGS = 8
"""Halvings for which float32 means of uint8 values are exact (see the module's docstring)."""

_UINT16_HALVINGS = 4  # sums of 4^4 values of up to 255 still fit 16 bits


def level_resolutions(res: int, min_res: int = MIN_STORED_RES) -> tuple[int, ...]:
    """Resolutions of a pyramid, finest first: res, res/2, ..., min_res.

    Raises ValueError unless both are powers of two with 1 <= min_res <= res.
    """
    for name, value in (("res", res), ("min_res", min_res)):
        if value < 1 or value & (value - 1):
            raise ValueError(f"{name} must be a power of two, not {value}")
    if min_res > res:
        raise ValueError(f"min_res {min_res} is larger than res {res}")
    return tuple(res >> k for k in range((res // min_res).bit_length()))


def build_levels(image: NDArray[np.uint8], min_res: int = MIN_STORED_RES) -> dict[int, NDArray[np.uint8]]:
    """All levels of `image`, (..., R, R) uint8 [0, 255], as {r: (..., r, r) uint8}, finest first.

    The finest level is `image` itself, not a copy. Spec of the levels: see the module's docstring.
    Raises ValueError on another dtype, on images that are not square, and on sizes that are no power of two.
    """
    if image.dtype != np.uint8 or image.ndim < 2 or image.shape[-1] != image.shape[-2]:
        raise ValueError(f"expected square uint8 images (..., R, R), not {image.dtype} {image.shape}")
    resolutions = level_resolutions(image.shape[-1], min(min_res, image.shape[-1]))
    levels = {resolutions[0]: image}
    sums: UIntArray = np.ascontiguousarray(image)
    exact = resolutions[1 : EXACT_HALVINGS + 1]
    for k, res in enumerate(exact, start=1):
        sums = _sum_2x2(sums, np.uint16 if k <= _UINT16_HALVINGS else np.uint32)
        levels[res] = _divide_half_even(sums, 2 * k)
    rest = resolutions[EXACT_HALVINGS + 1 :]
    if rest:
        means = sums.astype(np.float32) * np.float32(4.0**-EXACT_HALVINGS)
        for res in rest:
            means = mean_2x2(means)
            levels[res] = round_to_uint8(means)
    return levels


def mean_2x2(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rule itself, (..., 2r, 2r) float32 -> (..., r, r): ((a00 + a01) + a10) + a11, times 0.25."""
    a00, a01 = image[..., 0::2, 0::2], image[..., 0::2, 1::2]
    a10, a11 = image[..., 1::2, 0::2], image[..., 1::2, 1::2]
    means: NDArray[np.float32] = (((a00 + a01) + a10) + a11) * np.float32(0.25)
    return means


def round_to_uint8(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round half to even, clip to [0, 255]."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def check_levels(levels: Mapping[int, NDArray[np.uint8]]) -> list[int]:
    """Resolutions of `levels` whose pixels differ from the ones recomputed from the finest level."""
    finest = max(levels)
    expected = build_levels(levels[finest], min(levels))
    return [res for res in levels if res not in expected or not np.array_equal(levels[res], expected[res])]


def _sum_2x2(values: UIntArray, dtype: type[np.uint16] | type[np.uint32]) -> UIntArray:
    """Sums of 2x2 blocks of a C-contiguous unsigned array, as `dtype`.

    Two neighbours are read as one integer of twice the width, whose halves are added: contiguous passes,
    several times faster than strided ones. It does not matter which half is which.
    """
    half_bits = 8 * values.dtype.itemsize
    if half_bits > 8:  # rows first while the sums still fit: half the work for the pairs
        rows: UIntArray = values[..., 0::2, :].astype(dtype)
        rows += values[..., 1::2, :]
        return _sum_pairs(rows).astype(dtype, copy=False)
    pairs = _sum_pairs(values)
    sums: UIntArray = pairs[..., 0::2, :] + pairs[..., 1::2, :]
    return sums


def _sum_pairs(values: UIntArray) -> UIntArray:
    """Sums of horizontal neighbours, (..., 2r) -> (..., r), in integers of twice the width."""
    itemsize = values.dtype.itemsize
    wide = values.view(f"u{2 * itemsize}")
    mask = wide.dtype.type((1 << (8 * itemsize)) - 1)
    pairs: UIntArray = wide & mask
    pairs += wide >> wide.dtype.type(8 * itemsize)
    return pairs


def _divide_half_even(sums: UIntArray, bits: int) -> NDArray[np.uint8]:
    """sums / 2^bits, rounded half to even, as uint8. Sums of at most 255 * 2^bits leave room to round up."""
    kind = sums.dtype.type
    rounded = sums >> kind(bits)
    rounded &= kind(1)
    rounded += kind((1 << (bits - 1)) - 1)
    rounded += sums
    rounded >>= kind(bits)
    levels: NDArray[np.uint8] = rounded.astype(np.uint8)
    return levels
