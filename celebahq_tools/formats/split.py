"""Divide a pyramid into parts: by the partition it knows, or at random with a seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.annotations import parse_partition
from celebahq_tools.archives import MAX_MEMBER_BYTES
from celebahq_tools.errors import SourceError, UsageError
from celebahq_tools.formats.collection import Collection

PART_NAMES = ("train", "validation", "test")
Together = Literal["none", "identity", "label"]


def official_parts(collection: Collection, partition_file: Path | None = None) -> dict[str, NDArray[np.int64]]:
    """Numbers of the images of each part of the official partition, parts without images left out.

    partition_file  CelebA's list_eval_partition.txt, for sets whose index does not have it; images are found by
                    the names of their files
    Raises UsageError when the partition is not known for every image.
    """
    count = len(collection)
    if partition_file is None:
        partition = collection.columns.partition
        parts = np.full(count, -1) if partition is None else partition
    else:
        parts = _from_file(collection, partition_file)
    unknown = np.flatnonzero(~np.isin(parts, range(len(PART_NAMES))))
    if len(unknown):
        raise UsageError(
            f"{collection.root}: no official part is known for {len(unknown):,} of {count:,} images; name "
            "--partition-file list_eval_partition.txt, or use --fractions"
        )
    return {
        name: np.flatnonzero(parts == number).astype(np.int64)
        for number, name in enumerate(PART_NAMES)
        if (parts == number).any()
    }


def random_parts(
    collection: Collection, fractions: Mapping[str, float], seed: int, together: Together = "none"
) -> dict[str, NDArray[np.int64]]:
    """Parts of about these fractions, the same for the same seed, images in their order.

    together  `identity` keeps all images of a person in one part; `label` gives every class its share in each
    Raises UsageError for fractions that do not add up to 1, or when there are no identities or labels.
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise UsageError(f"--fractions: expected positive numbers that add up to 1, found {dict(fractions)}")
    rng = np.random.default_rng(seed)
    everything = np.arange(len(collection))
    shares = list(fractions.values())
    if together == "identity":
        persons, which = np.unique(_known(collection.columns.identity, "identities", collection), return_inverse=True)
        pieces = [np.flatnonzero(np.isin(which, part)) for part in _cut(rng.permutation(len(persons)), shares)]
    elif together == "label":
        labels = _known(collection.columns.labels, "labels", collection)
        cuts = [_cut(rng.permutation(np.flatnonzero(labels == label)), shares) for label in np.unique(labels)]
        pieces = [np.concatenate([cut[place] for cut in cuts]) for place in range(len(shares))]
    else:
        pieces = _cut(rng.permutation(everything), shares)
    parts = {name: np.sort(piece).astype(np.int64) for name, piece in zip(fractions, pieces, strict=True)}
    empty = [name for name, piece in parts.items() if not len(piece)]
    if empty:
        raise UsageError(f"{collection.root}: no images for {', '.join(empty)}; there are {len(collection)} in all")
    return parts


def _cut(order: NDArray[np.int64], shares: Sequence[float]) -> list[NDArray[np.int64]]:
    ends = np.rint(np.cumsum(shares)[:-1] * len(order)).astype(int)
    return np.split(order, ends)


def _known(column: NDArray[np.int64] | None, what: str, collection: Collection) -> NDArray[np.int64]:
    if column is None or (column == -1).any():
        raise UsageError(f"{collection.root}: {what} are not known for every image")
    return column


def _from_file(collection: Collection, path: Path) -> NDArray[np.int64]:
    try:
        if path.stat().st_size > MAX_MEMBER_BYTES:
            raise SourceError(f"{path}: too large for a list of partitions")
        table = parse_partition(path.read_bytes(), str(path))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    rows = [table.row(file.rpartition("/")[2]) for file in collection.files]
    return np.array([-1 if row is None else int(table.values[row, 0]) for row in rows])
