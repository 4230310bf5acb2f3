"""What a pyramid is written as: one layout per format, all fed by `export_set`.

Images are encoded on threads and appended in order to files that go on after a kill (`store/growing.py`); what is made
has its final name only when it is whole.
"""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import UsageError
from celebahq_tools.formats.authors import SHUFFLE_SEED
from celebahq_tools.formats.collection import Columns
from celebahq_tools.formats.parquet import pyarrow_parquet
from celebahq_tools.formats.parquet_write import write_parquet
from celebahq_tools.formats.stylegan import LABELS_FILE, labels_json
from celebahq_tools.formats.tfrecord import example_of, framed
from celebahq_tools.store import PARTIAL_SUFFIX, PyramidReader
from celebahq_tools.store.create import disk_errors
from celebahq_tools.store.export import ProgressFn, chosen_images, encode_png, export_header, fill
from celebahq_tools.store.growing import JOURNAL_SUFFIX, GrowingFiles
from celebahq_tools.store.stored_zip import finish_zip, stored_member

SetFormat = Literal["stylegan", "tfrecords", "npy", "parquet"]


class SetLayout(Protocol):
    """How a format lays out a set in files that grow image by image."""

    files: list[Path]
    journal: Path
    start: bytes

    def encode(self, place: int, number: int, image: NDArray[np.uint8]) -> list[bytes]:
        """What each file gets for image `number`, (3, r, r) uint8, the `place`-th of the set; called from threads."""

    def finish(self, grown: GrowingFiles) -> None:
        """Complete the set and give it its name."""


def export_set(
    reader: PyramidReader,
    kind: SetFormat,
    *,
    to: Path,
    res: int | None = None,
    ids: Sequence[int] | None = None,
    jobs: int = 1,
    progress: ProgressFn | None = None,
    overwrite: bool = False,
) -> int:
    """Write images `ids` (None: all) at level `res` (None: the finest) to `to`; returns how many.

    Memory is bounded by a few images a thread. What is there under the name is replaced only by a whole set. The same
    call goes on after the last whole image of one that was killed, and gives the same bytes.
    overwrite  drop what an unfinished export to this place with other arguments left
    Raises UsageError for ids or levels that the file does not have and for an unfinished export of other images,
    BusyError, DiskSpaceError.
    """
    res, numbers = chosen_images(reader, res, ids)
    if kind not in get_args(SetFormat):
        raise UsageError(f"format {kind!r} is unknown: use one of {', '.join(get_args(SetFormat))}")
    order = shuffled(len(numbers)) if kind == "tfrecords" else np.arange(len(numbers))
    numbers = [numbers[int(place)] for place in order]
    to.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(to):
        layout = _layout(kind, reader, to, res, numbers)
        header = export_header(reader, kind, res, numbers)
        with GrowingFiles(
            layout.files, layout.journal, header=header, start=layout.start, overwrite=overwrite
        ) as grown:
            fill(
                grown,
                lambda place: layout.encode(place, numbers[place], reader.read(numbers[place], res)),
                len(numbers),
                jobs=jobs,
                progress=progress,
            )
            layout.finish(grown)
    return len(numbers)


def shuffled(count: int) -> NDArray[np.int64]:
    """The authors' order of images in TFRecords."""
    order = np.arange(count)
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    return order


def columns_of(reader: PyramidReader, numbers: Sequence[int]) -> Columns:
    """Labels of images `numbers` of a pyramid."""
    if not reader.has_index:
        return Columns()
    index, places = reader.index, np.asarray(numbers)
    known = reader.labels is not None
    return Columns(
        labels=index.label[places] if known else None,
        label_names=reader.label_names,
        attributes=index.attributes[places] if reader.attribute_names else None,
        attribute_names=reader.attribute_names,
        vectors=None if reader.vectors is None else reader.vectors[places],
        vector_names=reader.vector_names,
    )


def label_matrix(columns: Columns) -> NDArray[np.float32] | None:
    """Labels as the authors store them, (N, L) float32: continuous ones, else one-hot classes, else attributes."""
    if columns.vectors is not None:
        return columns.vectors.astype(np.float32)
    if columns.labels is not None:
        count = max(len(columns.label_names), int(columns.labels.max()) + 1)
        matrix = np.zeros((len(columns.labels), count), np.float32)
        known = np.flatnonzero(columns.labels >= 0)
        matrix[known, columns.labels[known]] = 1
        return matrix
    return None if columns.attributes is None else columns.attributes.astype(np.float32)


def _layout(kind: SetFormat, reader: PyramidReader, to: Path, res: int, numbers: list[int]) -> SetLayout:
    columns = columns_of(reader, numbers)
    if kind == "stylegan":
        return _StyleganZip(to, columns, len(numbers))
    if kind == "npy":
        return _Npy(to, (len(numbers), res, res, 3), columns)
    if kind == "parquet":
        return _Parquet(to, columns, numbers)
    return _Records(reader, to, res, columns)


class _StyleganZip:
    """00000/img00000000.png ... and dataset.json, stored uncompressed."""

    def __init__(self, to: Path, columns: Columns, count: int) -> None:
        if to.suffix.lower() != ".zip":
            raise UsageError(f"--to {to}: a StyleGAN data set is a file NAME.zip")
        self.files, self.journal, self.start = [to], to.with_name(to.name + JOURNAL_SUFFIX), b""
        self._columns, self._count = columns, count

    def encode(self, place: int, number: int, image: NDArray[np.uint8]) -> list[bytes]:
        return [stored_member(self._name(place), encode_png(image))]

    def finish(self, grown: GrowingFiles) -> None:
        names = [self._name(place) for place in range(self._count)]
        text = json.dumps(labels_json(names, self._columns))
        finish_zip(grown.partial(), names, grown.ends(), (LABELS_FILE, text))
        grown.publish()

    @staticmethod
    def _name(place: int) -> str:
        return f"{place // 1000:05d}/img{place:08d}.png"


class _Npy:
    """(N, R, R, 3) uint8, and NAME-labels.npy: (N,) int64 or (N, L) float32."""

    def __init__(self, to: Path, shape: tuple[int, ...], columns: Columns) -> None:
        if to.suffix.lower() != ".npy":
            raise UsageError(f"--to {to}: expected a name ending in .npy")
        self.files, self.journal = [to], to.with_name(to.name + JOURNAL_SUFFIX)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        self.start = header.getvalue()
        self._to, self._columns = to, columns

    def encode(self, place: int, number: int, image: NDArray[np.uint8]) -> list[bytes]:
        return [image.transpose(1, 2, 0).tobytes()]

    def finish(self, grown: GrowingFiles) -> None:
        columns = self._columns
        only_classes = columns.labels is not None and columns.vectors is None
        labels = columns.labels if only_classes else label_matrix(columns)
        if labels is not None:
            replace_array(self._to.with_name(f"{self._to.stem}-labels.npy"), labels)
        grown.publish()


class _Records:
    """The authors' TFRecords: a file per level and NAME-rxx.labels, in a folder."""

    def __init__(self, reader: PyramidReader, to: Path, res: int, columns: Columns) -> None:
        if to.exists() and not to.is_dir():
            raise UsageError(f"--to {to}: TFRecords go into a folder")
        to.mkdir(exist_ok=True)
        self._reader, self._to, self._columns = reader, to, columns
        self._levels = [level for level in reader.levels if level <= res]
        self.files = [to / f"{to.name}-r{level.bit_length() - 1:02d}.tfrecords" for level in self._levels]
        self.journal, self.start = to / f"{to.name}{JOURNAL_SUFFIX}", b""

    def encode(self, place: int, number: int, image: NDArray[np.uint8]) -> list[bytes]:
        levels = [image, *(self._reader.read(number, level) for level in self._levels[1:])]
        return [framed(example_of(level.shape, level.tobytes())) for level in levels]

    def finish(self, grown: GrowingFiles) -> None:
        labels = label_matrix(self._columns)
        if labels is not None:
            replace_array(self._to / f"{self._to.name}-rxx.labels", labels)
        grown.publish()


class _Parquet:
    """`image` {bytes, path}, `label` or `labels`, with HuggingFace's description of the features.

    Row groups cannot be added to a file, so the pictures grow in a file of their own, from which the parquet file is
    made in the end.
    """

    def __init__(self, to: Path, columns: Columns, numbers: list[int]) -> None:
        if to.suffix.lower() != ".parquet":
            raise UsageError(f"--to {to}: expected a name ending in .parquet")
        pyarrow_parquet()
        self.files = [to.with_name(f"{to.name}.pictures")]
        self.journal, self.start = to.with_name(to.name + JOURNAL_SUFFIX), b""
        self._to, self._columns, self._numbers = to, columns, numbers

    def encode(self, place: int, number: int, image: NDArray[np.uint8]) -> list[bytes]:
        return [encode_png(image)]

    def finish(self, grown: GrowingFiles) -> None:
        columns = self._columns
        matrix = None if columns.labels is not None and columns.vectors is None else label_matrix(columns)
        partial = self._to.with_name(self._to.name + PARTIAL_SUFFIX)
        try:
            write_parquet(partial, grown.partial(), grown.ends(), self._numbers, columns, matrix)
            partial.replace(self._to)
        finally:
            partial.unlink(missing_ok=True)
        grown.discard()


def replace_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file whole or not at all."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
