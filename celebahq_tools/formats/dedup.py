"""Duplicates in a pyramid: the same pixels, and pictures that look the same.

Look-alikes are found by a 64-bit perceptual hash: the signs of the 8x8 lowest frequencies of the DCT of the luma at
32x32, about their median (the usual "pHash"; Zauner 2010, section 3.2). Hashes within `distance` bits of each other
are candidates; a pair counts only if the 32x32 pictures, brightness apart, differ little as well, so that plain
pictures with hashes of noise do not pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from celebahq_tools.errors import UsageError
from celebahq_tools.manifest import HQIndex
from celebahq_tools.store import PyramidReader

ProgressFn = Callable[[int, int], None]

HASH_RES = 32
HASH_SIDE = 8
DEFAULT_DISTANCE = 6
MAX_DISTANCE = 16
MAX_MEAN_DIFFERENCE = 12.0
"""Mean absolute difference of luma, of 255, up to which two pictures of near hashes look the same."""

BATCH = 512
BLOCK = 2048
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """Groups of image numbers, each ascending, ordered by their first.

    exact     images with the same pixels
    alike     images that look the same; a group may hold exact ones, but never only those
    """

    exact: tuple[tuple[int, ...], ...]
    alike: tuple[tuple[int, ...], ...]

    def superfluous(self, *, perceptual: bool = True) -> list[int]:
        """All images of each group but its first."""
        groups = (*self.exact, *self.alike) if perceptual else self.exact
        return sorted({number for group in groups for number in group[1:]})


def find_duplicates(
    reader: PyramidReader, *, distance: int | None = DEFAULT_DISTANCE, progress: ProgressFn | None = None
) -> Duplicates:
    """Exact duplicates by checksum, look-alikes by perceptual hash; `distance` None looks for exact ones only.

    Raises UsageError for a file without checksums or a distance outside 0..16.
    """
    if not reader.has_index:
        raise UsageError(f"{reader.path}: has no checksums; `celebahq import hdf5` makes a pyramid with them")
    exact = _groups_of_equal([digest.tobytes() for digest in reader.index.sha256])
    if distance is None:
        return Duplicates(exact=exact, alike=())
    if not 0 <= distance <= MAX_DISTANCE:
        raise UsageError(f"--distance {distance}: expected 0 to {MAX_DISTANCE} bits")
    small = _small(reader, progress)
    hashes = perceptual_hashes(small)
    links = _Links(len(reader))
    for a, b in near_pairs(hashes, distance):
        if mean_difference(small[a], small[b]) <= MAX_MEAN_DIFFERENCE:
            links.join(a, b)
    same = {number: place for place, group in enumerate(exact) for number in group}
    alike = tuple(group for group in links.groups() if len({same.get(number, -1 - number) for number in group}) > 1)
    return Duplicates(exact=exact, alike=alike)


def perceptual_hashes(luma: NDArray[np.float32]) -> NDArray[np.uint64]:
    """(N, 32, 32) luma to (N,) hashes of 64 bits."""
    spectrum = scipy.fft.dctn(luma, axes=(1, 2), norm="ortho")[:, :HASH_SIDE, :HASH_SIDE].reshape(len(luma), -1)
    bits = spectrum > np.median(spectrum[:, 1:], axis=1, keepdims=True)
    hashes: NDArray[np.uint64] = np.packbits(bits, axis=1).view(">u8").reshape(-1).astype(np.uint64)
    return hashes


def near_pairs(hashes: NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int]]:
    """Pairs a < b whose hashes differ in at most `distance` bits, block by block: no more than 32 MiB at a time."""
    for start in range(0, len(hashes), BLOCK):
        rows = hashes[start : start + BLOCK]
        for other in range(start, len(hashes), BLOCK):
            near = bit_counts(rows[:, None] ^ hashes[None, other : other + BLOCK]) <= distance
            for a, b in np.argwhere(near):
                if start + a < other + b:
                    yield int(start + a), int(other + b)


def bit_counts(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits are set in each value (Warren, Hacker's Delight, 5-1)."""
    x = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    with np.errstate(over="ignore"):
        counts: NDArray[np.uint8] = ((x * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
    return counts


def mean_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean absolute difference of two lumas, their means apart."""
    return float(np.abs((one - one.mean()) - (other - other.mean())).mean())


def known_duplicates(index: HQIndex) -> dict[str, list[tuple[int, ...]]]:
    """CelebA-HQ's own: groups of idx with the same crop before the delta (`proc_md5`), and the same final image."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for name, digests in (("proc_md5", index.proc_md5), ("final_md5", index.final_md5)):
        groups = _groups_of_equal([bytes(digest) for digest in digests])
        found[name] = [tuple(sorted(int(index.idx[row]) for row in group)) for group in groups]
    return found


def _small(reader: PyramidReader, progress: ProgressFn | None) -> NDArray[np.float32]:
    """Luma of all images at 32x32: 4 KiB an image."""
    res = max((level for level in reader.levels if level <= HASH_RES), default=reader.levels[-1])
    small = np.empty((len(reader), HASH_RES, HASH_RES), np.float32)
    for start in range(0, len(reader), BATCH):
        images = reader.read(slice(start, start + BATCH), res)
        luma = np.tensordot(images, _LUMA, axes=([1], [0])).astype(np.float32)
        if res < HASH_RES:
            luma = luma.repeat(HASH_RES // res, axis=1).repeat(HASH_RES // res, axis=2)
        small[start : start + len(images)] = luma
        if progress is not None:
            progress(start + len(images), len(reader))
    return small


def _groups_of_equal(values: list[bytes]) -> tuple[tuple[int, ...], ...]:
    places: dict[bytes, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    return tuple(tuple(group) for group in places.values() if len(group) > 1)


class _Links:
    """Which images belong together, by union of pairs."""

    def __init__(self, count: int) -> None:
        self._root = list(range(count))

    def _find(self, number: int) -> int:
        while self._root[number] != number:
            self._root[number] = self._root[self._root[number]]
            number = self._root[number]
        return number

    def join(self, a: int, b: int) -> None:
        """Put two groups together, under the smaller number."""
        a, b = sorted((self._find(a), self._find(b)))
        self._root[b] = a

    def groups(self) -> list[tuple[int, ...]]:
        """Groups of two and more, ascending."""
        members: dict[int, list[int]] = {}
        for number in range(len(self._root)):
            members.setdefault(self._find(number), []).append(number)
        return [tuple(group) for group in members.values() if len(group) > 1]
