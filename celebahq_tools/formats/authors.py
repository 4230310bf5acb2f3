"""The authors' own files: TFRecords, one file per level, and HDF5 pyramids; pyramids of this program, too."""

import dataclasses
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError, PictureError, SourceError
from celebahq_tools.formats.arrays import to_rgb
from celebahq_tools.formats.collection import Collection, Columns, digest_of, file_digest, numbered, repeated
from celebahq_tools.formats.labels import vector_columns
from celebahq_tools.formats.levels import ReadLevel, level_notes
from celebahq_tools.formats.tfrecord import parse_example, read_record, scan
from celebahq_tools.names import one_line, printable
from celebahq_tools.store import PyramidReader

SHUFFLE_SEED = 123
"""The authors shuffle the order of images with numpy's RandomState(123)."""

LEVEL_FILE = re.compile(r"(.+)-r([0-9]{2})\.tfrecords")
MAX_LABEL_BYTES = 8 << 30


class RecordImages:
    """Images of TFRecord files; the position is the byte offset of the record."""

    def __init__(self, root: Path, res: int) -> None:
        self._root, self._res = root, res

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        path = self._root / file
        try:
            with path.open("rb") as opened:
                payload = read_record(opened, position, path)
            features = parse_example(payload, f"{path}, byte {position}")
        except OSError as error:
            raise PictureError("unreadable", f"{path}: cannot be read ({one_line(error)})") from None
        except FormatError as error:
            raise PictureError("corrupt", str(error)) from None
        shape, data = features.get("shape"), features.get("data")
        expected = [3, self._res, self._res]
        grey = [1, self._res, self._res]
        if shape not in (expected, grey) or not data or not isinstance(data[0], bytes):
            raise PictureError("corrupt", f"{path}, byte {position}: expected shape {expected}, found {shape}")
        if len(data[0]) != shape[0] * self._res**2:
            raise PictureError("corrupt", f"{path}, byte {position}: {len(data[0])} bytes of pixels for {shape}")
        return to_rgb(np.frombuffer(data[0], np.uint8).reshape([int(size) for size in shape]))


def open_tfrecords(path: Path, res: int | None = None, *, unshuffle: bool = False) -> Collection:
    """The authors' folder of `NAME-r02.tfrecords` ... `NAME-r10.tfrecords`: level `res`, the finest by default.

    unshuffle  undo the authors' shuffling, so that images are in the order before it
    Raises SourceError when there is no such folder or level, FormatError for damaged files.
    """
    files = _level_files(path)
    res = max(files) if res is None else res
    if res not in files:
        raise SourceError(f"{path}: no level {res}; it has {', '.join(map(str, sorted(files)))}")
    file = files[res]
    offsets = np.fromiter(scan(path / file), np.int64)
    if not len(offsets):
        raise SourceError(f"{path / file}: no records in it")
    match = LEVEL_FILE.fullmatch(file)
    assert match is not None
    labels = path / f"{match[1]}-rxx.labels"
    columns = vector_columns(_labels(labels, len(offsets))) if labels.is_file() else Columns()
    order = np.arange(len(offsets))
    if unshuffle:
        np.random.RandomState(SHUFFLE_SEED).shuffle(order)
        order = np.argsort(order)
    return Collection(
        kind="tfrecords",
        root=path,
        digest=digest_of("tfrecords", file, file_digest(path / file), offsets.tobytes(), int(unshuffle)),
        keys=numbered(len(offsets)),
        files=repeated(file, len(offsets)),
        positions=offsets[order],
        reader=RecordImages(path, res),
        natural_res=res,
        lossless=True,
        columns=_reordered(columns, order),
        notes=_record_notes(path, files, offsets) if res == max(files) else (),
    )


def _record_notes(path: Path, files: dict[int, str], offsets: NDArray[np.int64]) -> tuple[str, ...]:
    """What is to be said of the coarser levels beside the finest one, whose records are at `offsets`."""

    def reader_of(res: int, places: NDArray[np.int64]) -> ReadLevel:
        images = RecordImages(path, res)
        return lambda number: images.image(files[res], int(places[number])).transpose(2, 0, 1)

    finest, *others = sorted(files, reverse=True)
    coarser: dict[int, ReadLevel] = {}
    notes = []
    for res in others:
        try:
            places = np.fromiter(scan(path / files[res]), np.int64)
        except FormatError as error:
            notes.append(f"its level {res}x{res} is derived anew: {error}")
            continue
        if len(places) == len(offsets):
            coarser[res] = reader_of(res, places)
        else:
            notes.append(
                f"{files[res]} has {len(places):,} images, {files[finest]} {len(offsets):,}: it is derived anew"
            )
    return (*notes, *level_notes(len(offsets), reader_of(finest, offsets), coarser))


def _level_files(path: Path) -> dict[int, str]:
    if not path.is_dir():
        raise SourceError(f"{path}: no such folder of TFRecords")
    found: dict[int, str] = {}
    for item in sorted(path.iterdir()):
        match = LEVEL_FILE.fullmatch(item.name)
        if match is not None and int(match[2]) <= 12:
            res = 1 << int(match[2])
            if res in found:
                raise SourceError(f"{path}: two sets of TFRecords, {found[res]} and {item.name}; separate them")
            found[res] = item.name
    if not found:
        raise SourceError(f"{path}: expected files such as {printable(path.name)}-r10.tfrecords, found none")
    return found


def _labels(path: Path, count: int) -> NDArray[np.float32]:
    if path.stat().st_size > MAX_LABEL_BYTES:
        raise FormatError(f"{path}: too large for labels")
    try:
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise FormatError(f"{path}: no .npy array of labels ({one_line(error)})") from None
    if values.ndim != 2 or len(values) < count or values.dtype.kind not in "fiu":
        raise FormatError(f"{path}: expected labels ({count}, L), found {values.dtype} {values.shape}")
    return np.asarray(values[:count], np.float32)


def _reordered(columns: Columns, order: NDArray[np.int64]) -> Columns:
    return dataclasses.replace(
        columns,
        labels=None if columns.labels is None else columns.labels[order],
        attributes=None if columns.attributes is None else columns.attributes[order],
        vectors=None if columns.vectors is None else columns.vectors[order],
    )


class PyramidImages:
    """Images of one level of a pyramid file."""

    def __init__(self, reader: PyramidReader, res: int) -> None:
        self._reader, self._res = reader, res

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        try:
            return np.ascontiguousarray(self._reader.read(position, self._res).transpose(1, 2, 0))
        except (FormatError, OSError) as error:
            raise PictureError("corrupt", f"{self._reader.path}: image {position}: {one_line(error)}") from None


def open_hdf5(path: Path, res: int | None = None) -> Collection:
    """The authors' HDF5 files and pyramids of this program: level `res`, the finest by default.

    Coarser levels are derived anew, by the same rule. Raises SourceError, FormatError.
    """
    reader = PyramidReader(path)
    res = reader.resolution if res is None else res
    if res not in reader.levels:
        raise SourceError(f"{path}: no level {res}; it has {', '.join(map(str, reader.levels))}")
    count = len(reader)
    if reader.has_index:
        index = reader.index
        columns = Columns(
            labels=index.label,
            label_names=reader.label_names,
            attributes=index.attributes if reader.attribute_names else None,
            attribute_names=reader.attribute_names,
            vectors=reader.vectors,
            vector_names=reader.vector_names,
            partition=index.partition,
            identity=index.identity,
            quality=index.quality if res == reader.resolution else None,
            landmarks=index.landmarks,
            quad=index.quad,
        )
    else:
        labels = reader.labels
        columns = Columns() if labels is None else vector_columns(np.asarray(labels, np.float32))
    return Collection(
        kind="hdf5",
        root=path,
        digest=digest_of("hdf5", reader.fingerprint(), res),
        keys=[str(key) for key in reader.index.key] if reader.has_index else numbered(count),
        files=[str(file) for file in reader.index.file] if reader.has_index else repeated(path.name, count),
        positions=range(count),
        reader=PyramidImages(reader, res),
        natural_res=res,
        lossless=True,
        columns=columns,
        notes=() if reader.has_index or res != reader.resolution else _hdf5_notes(reader),
    )


def _hdf5_notes(reader: PyramidReader) -> tuple[str, ...]:
    """What is to be said of the coarser levels of a file that another program wrote."""

    def reader_of(res: int) -> ReadLevel:
        images = PyramidImages(reader, res)
        return lambda number: images.image("", number).transpose(2, 0, 1)

    finest, *others = sorted(reader.levels, reverse=True)
    return level_notes(len(reader), reader_of(finest), {res: reader_of(res) for res in others})
