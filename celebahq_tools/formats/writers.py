"""What a pyramid is written as: one writer per format, all fed by `export_set`.

A writer encodes images on threads and takes them in order; what it makes has its final name only when it is whole.
"""

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import UsageError
from celebahq_tools.formats.authors import SHUFFLE_SEED
from celebahq_tools.formats.collection import Columns
from celebahq_tools.formats.parquet import pyarrow_parquet
from celebahq_tools.formats.stylegan import LABELS_FILE, labels_json
from celebahq_tools.formats.tfrecord import example_of, framed
from celebahq_tools.store import PARTIAL_SUFFIX, PyramidReader
from celebahq_tools.store.create import disk_errors
from celebahq_tools.store.export import ProgressFn, chosen_images, encode_png, zip_entry
from celebahq_tools.store.workers import ordered_map

SetFormat = Literal["stylegan", "tfrecords", "npy", "parquet"]
GROUP_ROWS = 256
GROUP_BYTES = 64 << 20
"""Rows and bytes of pictures of a row group of a parquet file: what is held in memory at once."""


class SetWriter(Protocol):
    """Takes the images of a set one by one."""

    def encode(self, number: int, image: NDArray[np.uint8]) -> Any:
        """What `add` is given for the image, (3, r, r) uint8; called from threads."""

    def add(self, encoded: Any) -> None:
        """Store the next image."""

    def finish(self) -> None:
        """Complete the set and give it its name."""

    def abandon(self) -> None:
        """Remove what is unfinished."""


def export_set(
    reader: PyramidReader,
    kind: SetFormat,
    *,
    to: Path,
    res: int | None = None,
    ids: Sequence[int] | None = None,
    jobs: int = 1,
    progress: ProgressFn | None = None,
) -> int:
    """Write images `ids` (None: all) at level `res` (None: the finest) to `to`; returns how many.

    Memory is bounded by a few images a thread. What is there under the name is replaced only by a whole set.
    Raises UsageError for ids or levels that the file does not have, DiskSpaceError.
    """
    res, numbers = chosen_images(reader, res, ids)
    if kind not in get_args(SetFormat):
        raise UsageError(f"format {kind!r} is unknown: use one of {', '.join(get_args(SetFormat))}")
    order = shuffled(len(numbers)) if kind == "tfrecords" else np.arange(len(numbers))
    numbers = [numbers[int(place)] for place in order]
    to.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(to):
        writer = _writer(kind, reader, to, res, numbers)
        try:
            encoded = ordered_map(lambda n: writer.encode(n, reader.read(n, res)), numbers, jobs=jobs)
            for done, item in enumerate(encoded, start=1):
                writer.add(item)
                if progress is not None:
                    progress(done, len(numbers))
            writer.finish()
        finally:
            writer.abandon()
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


def _writer(kind: SetFormat, reader: PyramidReader, to: Path, res: int, numbers: list[int]) -> SetWriter:
    columns = columns_of(reader, numbers)
    if kind == "stylegan":
        return _StyleganZip(to, columns)
    if kind == "npy":
        return _Npy(to, (len(numbers), res, res, 3), columns)
    if kind == "parquet":
        return _Parquet(to, columns)
    return _Records(reader, to, res, columns)


class _StyleganZip:
    """00000/img00000000.png ... and dataset.json, stored uncompressed."""

    def __init__(self, to: Path, columns: Columns) -> None:
        if to.suffix.lower() != ".zip":
            raise UsageError(f"--to {to}: a StyleGAN data set is a file NAME.zip")
        self._to, self._partial = to, to.with_name(to.name + PARTIAL_SUFFIX)
        self._columns = columns
        self._names: list[str] = []
        self._archive = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_STORED)

    def encode(self, number: int, image: NDArray[np.uint8]) -> bytes:
        return encode_png(image)

    def add(self, encoded: bytes) -> None:
        place = len(self._names)
        self._names.append(f"{place // 1000:05d}/img{place:08d}.png")
        self._archive.writestr(zip_entry(self._names[-1]), encoded)

    def finish(self) -> None:
        text = json.dumps(labels_json(self._names, self._columns))
        self._archive.writestr(zip_entry(LABELS_FILE), text)
        self._archive.close()
        self._partial.replace(self._to)

    def abandon(self) -> None:
        self._archive.close()
        self._partial.unlink(missing_ok=True)


class _Npy:
    """(N, R, R, 3) uint8, and NAME-labels.npy: (N,) int64 or (N, L) float32."""

    def __init__(self, to: Path, shape: tuple[int, ...], columns: Columns) -> None:
        if to.suffix.lower() != ".npy":
            raise UsageError(f"--to {to}: expected a name ending in .npy")
        self._to, self._partial = to, to.with_name(to.name + PARTIAL_SUFFIX)
        self._columns = columns
        self._file = self._partial.open("wb")
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def encode(self, number: int, image: NDArray[np.uint8]) -> bytes:
        return bytes(image.transpose(1, 2, 0).tobytes())

    def add(self, encoded: bytes) -> None:
        self._file.write(encoded)

    def finish(self) -> None:
        _sync(self._file)
        columns = self._columns
        only_classes = columns.labels is not None and columns.vectors is None
        labels = columns.labels if only_classes else label_matrix(columns)
        if labels is not None:
            replace_array(self._to.with_name(f"{self._to.stem}-labels.npy"), labels)
        self._partial.replace(self._to)

    def abandon(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)


class _Records:
    """The authors' TFRecords: a file per level and NAME-rxx.labels, in a folder."""

    def __init__(self, reader: PyramidReader, to: Path, res: int, columns: Columns) -> None:
        if to.exists() and not to.is_dir():
            raise UsageError(f"--to {to}: TFRecords go into a folder")
        to.mkdir(exist_ok=True)
        self._reader, self._to, self._columns = reader, to, columns
        self._levels = [level for level in reader.levels if level <= res]
        self._paths = [to / f"{to.name}-r{level.bit_length() - 1:02d}.tfrecords" for level in self._levels]
        self._partials = [path.with_name(path.name + PARTIAL_SUFFIX) for path in self._paths]
        self._stack = contextlib.ExitStack()
        self._files = [self._stack.enter_context(partial.open("wb")) for partial in self._partials]

    def encode(self, number: int, image: NDArray[np.uint8]) -> list[bytes]:
        levels = [image, *(self._reader.read(number, level) for level in self._levels[1:])]
        return [framed(example_of(level.shape, level.tobytes())) for level in levels]

    def add(self, encoded: list[bytes]) -> None:
        for file, record in zip(self._files, encoded, strict=True):
            file.write(record)

    def finish(self) -> None:
        for file in self._files:
            _sync(file)
        labels = label_matrix(self._columns)
        if labels is not None:
            replace_array(self._to / f"{self._to.name}-rxx.labels", labels)
        for partial, path in zip(self._partials, self._paths, strict=True):
            partial.replace(path)

    def abandon(self) -> None:
        self._stack.close()
        for partial in self._partials:
            partial.unlink(missing_ok=True)


class _Parquet:
    """`image` {bytes, path}, `label` or `labels`, with HuggingFace's description of the features."""

    def __init__(self, to: Path, columns: Columns) -> None:
        import pyarrow as pa

        if to.suffix.lower() != ".parquet":
            raise UsageError(f"--to {to}: expected a name ending in .parquet")
        self._to, self._partial = to, to.with_name(to.name + PARTIAL_SUFFIX)
        self._rows: list[dict[str, Any]] = []
        self._done, self._bytes = 0, 0
        fields = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
        features: dict[str, Any] = {"image": {"_type": "Image"}}
        self._labels: list[Any] | None = None
        if columns.labels is not None and columns.vectors is None:
            self._labels = [None if label < 0 else label for label in columns.labels.tolist()]
            fields.append(("label", pa.int64()))
            features["label"] = {"_type": "Value", "dtype": "int64"}
            if columns.label_names:
                features["label"] = {"_type": "ClassLabel", "names": list(columns.label_names)}
        else:
            matrix = label_matrix(columns)
            if matrix is not None:
                self._labels = matrix.tolist()
                fields.append(("label", pa.list_(pa.float32())))
                features["label"] = {"_type": "Sequence", "feature": {"_type": "Value", "dtype": "float32"}}
        described = json.dumps({"info": {"features": features}})
        self._schema = pa.schema(fields, metadata={"huggingface": described})
        self._writer = pyarrow_parquet().ParquetWriter(self._partial, self._schema, compression="none")

    def encode(self, number: int, image: NDArray[np.uint8]) -> tuple[int, bytes]:
        return number, encode_png(image)

    def add(self, encoded: tuple[int, bytes]) -> None:
        number, data = encoded
        row: dict[str, Any] = {"image": {"bytes": data, "path": f"{number:08d}.png"}}
        if self._labels is not None:
            row["label"] = self._labels[self._done]
        self._rows.append(row)
        self._done += 1
        self._bytes += len(data)
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._bytes = [], 0

    def finish(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()
        self._partial.replace(self._to)

    def abandon(self) -> None:
        self._writer.close()
        self._partial.unlink(missing_ok=True)


def replace_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file whole or not at all."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)
            _sync(file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _sync(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())
