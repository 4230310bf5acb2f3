"""Are two data sets the same? In their order, and by content whatever the order."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import PictureError
from celebahq_tools.formats.collection import Collection

ProgressFn = Callable[[int, int], None]
MAX_LISTED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What `compare_sets` found.

    images           how many each set has
    equal            pairs at the same place with the same pixels
    different        pairs at the same place that differ, those of other sizes and unreadable ones included
    max_difference   largest difference of a value, over pairs of one size
    mean_difference  mean absolute difference of values, over pairs of one size
    matched          images of A that are in B wherever, each image of B being used once
    only_a, only_b   how many are in one set alone
    repeated         images that the set holds a second time, of each set
    labels_differ    pairs at the same place whose class numbers differ
    first            places of the first pairs that differ, in words
    """

    images: tuple[int, int]
    equal: int
    different: int
    max_difference: int
    mean_difference: float
    matched: int
    only_a: int
    only_b: int
    repeated: tuple[int, int]
    labels_differ: int
    first: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Same images in the same order with the same labels."""
        return self.images[0] == self.images[1] == self.equal and self.labels_differ == 0

    @property
    def same_content(self) -> bool:
        """Same images in whatever order."""
        return self.only_a == self.only_b == 0


def compare_sets(a: Collection, b: Collection, progress: ProgressFn | None = None) -> Comparison:
    """Read both sets once, image by image; memory is 32 bytes an image."""
    seen: tuple[Counter[bytes], Counter[bytes]] = (Counter(), Counter())
    equal = largest = labels_differ = values = 0
    total = 0.0
    first: list[str] = []
    count = max(len(a), len(b))
    for place in range(count):
        one, other = _digested(a, place, seen[0]), _digested(b, place, seen[1])
        if place < min(len(a), len(b)):
            labels_differ += a.entry(place).label != b.entry(place).label
            problem, difference = _difference(one, other)
            if problem is None:
                equal += 1
            elif len(first) < MAX_LISTED:
                first.append(f"image {place} ({a.keys[place]} | {b.keys[place]}): {problem}")
            if difference is not None:
                largest = max(largest, int(difference.max()))
                total += float(difference.sum(dtype=np.float64))
                values += difference.size
        if progress is not None:
            progress(place + 1, count)
    matched = sum((seen[0] & seen[1]).values())
    return Comparison(
        images=(len(a), len(b)),
        equal=equal,
        different=min(len(a), len(b)) - equal,
        max_difference=largest,
        mean_difference=total / values if values else 0.0,
        matched=matched,
        only_a=len(a) - matched,
        only_b=len(b) - matched,
        repeated=(len(a) - len(seen[0]), len(b) - len(seen[1])),
        labels_differ=labels_differ,
        first=tuple(first),
    )


def _digested(collection: Collection, place: int, seen: Counter[bytes]) -> NDArray[np.uint8] | PictureError | None:
    """The image at a place, counted by its content; an unreadable one is content of its own."""
    if place >= len(collection):
        return None
    try:
        image = collection.image(place)
    except PictureError as error:
        seen[f"{id(collection)} {place}".encode()] += 1
        return error
    seen[hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()] += 1
    return image


def _difference(
    one: NDArray[np.uint8] | PictureError | None, other: NDArray[np.uint8] | PictureError | None
) -> tuple[str | None, NDArray[np.int16] | None]:
    for image in (one, other):
        if isinstance(image, PictureError):
            return str(image), None
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    if one.shape != other.shape:
        return f"{one.shape[1]}x{one.shape[0]} and {other.shape[1]}x{other.shape[0]} pixels", None
    difference: NDArray[np.int16] = np.abs(one.astype(np.int16) - other)
    if not difference.any():
        return None, difference
    return f"differ by up to {difference.max()}, on average {difference.mean():.3f}", difference
