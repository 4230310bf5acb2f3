"""Labels in files of their own: CSV (a header, the file name first) or JSON ({name: value} or dataset.json)."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import SourceError
from celebahq_tools.formats.collection import Columns, digest_of
from celebahq_tools.names import one_line, printable

MAX_LABEL_BYTES = 1 << 30
MAX_COLUMNS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """Labels by file name: `values` has one text or number per column for each name."""

    path: str
    columns: tuple[str, ...]
    values: dict[str, tuple[str | int | float, ...]]
    digest: str


def read_label_table(path: Path) -> LabelTable:
    """Read a label file. Raises SourceError naming the line or the name that is wrong."""
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise SourceError(f"{path}: more than {MAX_LABEL_BYTES >> 30} GiB are no label file")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None
    if path.suffix.lower() == ".json":
        return table_of_json(data, str(path))
    return _table_of_csv(data, str(path))


def table_of_json(data: bytes, path: str) -> LabelTable:
    """`{"name": 3}`, `{"name": [0.5, 1]}`, or StyleGAN's `{"labels": [["name", 3], ...]}`."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: no valid JSON ({one_line(error)})") from None
    pairs: Any = document
    if isinstance(document, dict) and "labels" in document:
        pairs = document["labels"] or []
    elif isinstance(document, dict):
        pairs = list(document.items())
    values: dict[str, tuple[str | int | float, ...]] = {}
    if not isinstance(pairs, list):
        raise SourceError(f"{path}: expected names with labels, found {type(pairs).__name__}")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise SourceError(f"{path}: expected [name, label], found {one_line(ValueError(str(pair)[:80]))}")
        row = tuple(pair[1]) if isinstance(pair[1], list) else (pair[1],)
        if not all(isinstance(value, (str, int, float)) for value in row):
            raise SourceError(f"{path}: the label of {printable(pair[0])} is no number, text or list of them")
        values[pair[0]] = row
    width = _one_width(values, path)
    return LabelTable(
        path=path, columns=tuple(f"label{k}" for k in range(width)), values=values, digest=digest_of(data)
    )


def _table_of_csv(data: bytes, path: str) -> LabelTable:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: no CSV in UTF-8 ({one_line(error)})") from None
    if not rows or len(rows[0]) < 2:
        raise SourceError(f"{path}, line 1: expected a header such as `file,label`")
    values: dict[str, tuple[str | int | float, ...]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(rows[0]):
            raise SourceError(f"{path}, line {number}: expected {len(rows[0])} cells, found {len(row)}")
        if row[0] in values:
            raise SourceError(f"{path}, line {number}: {printable(row[0])} occurs twice")
        values[row[0]] = tuple(row[1:])
    _one_width(values, path)
    return LabelTable(path=path, columns=tuple(rows[0][1:]), values=values, digest=digest_of(data))


def _one_width(values: dict[str, tuple[str | int | float, ...]], path: str) -> int:
    widths = {len(row) for row in values.values()}
    if len(widths) > 1 or max(widths, default=0) > MAX_COLUMNS or widths == {0}:
        raise SourceError(f"{path}: every name needs the same number of labels, 1 to {MAX_COLUMNS}; found {widths}")
    return widths.pop() if widths else 1


def label_columns(table: LabelTable, files: Sequence[str]) -> Columns:
    """Columns for `files`, found by path, else by name; files without a row have no label.

    One column of whole numbers or of words is a class; columns of -1 and 1 only are attributes; anything
    else is a continuous label. Raises SourceError when no file has a row, or a word stands where numbers do.
    """
    rows = [table.values.get(file) or table.values.get(file.rpartition("/")[2]) for file in files]
    known = [row for row in rows if row is not None]
    if files and not known:
        raise SourceError(f"{table.path}: names none of the pictures, such as {printable(files[0])}")
    if len(table.columns) == 1:
        classes = class_columns([None if row is None else row[0] for row in rows])
        if classes is not None:
            return classes
    numbers = np.full((len(files), len(table.columns)), np.nan, np.float32)
    for place, row in enumerate(rows):
        if row is not None:
            try:
                numbers[place] = [float(value) for value in row]
            except (ValueError, OverflowError):
                name = printable(files[place])
                raise SourceError(f"{table.path}: {name}: expected numbers, found {row!r:.80}") from None
    return vector_columns(numbers, table.columns)


def class_columns(values: Sequence[str | int | float | None]) -> Columns | None:
    """Class numbers of whole numbers from 0, or of words in their order; None for other numbers."""
    known = [value for value in values if value is not None]
    if not known:
        return Columns()
    if all(isinstance(value, int) or str(value).isdecimal() for value in known):
        labels = np.array([-1 if value is None else int(value) for value in values], np.int64)
        return None if (labels < -1).any() else Columns(labels=labels)
    if all(isinstance(value, str) and not _is_number(value) for value in known):
        names = sorted({str(value) for value in known})
        places = {name: place for place, name in enumerate(names)}
        labels = np.array([-1 if value is None else places[str(value)] for value in values], np.int64)
        return Columns(labels=labels, label_names=tuple(names))
    return None


def vector_columns(values: NDArray[np.float32], names: Sequence[str] | None = None) -> Columns:
    """(N, L) numbers: classes if one-hot, attributes if -1 and 1 only, else continuous labels; NaN unknown."""
    names = tuple(names or (f"label{k}" for k in range(values.shape[1])))
    known = values[~np.isnan(values).all(axis=1)]
    if not len(known):
        return Columns()
    one_hot = ((known == 0) | (known == 1)).all() and (known.sum(axis=1) == 1).all()
    if values.shape[1] > 1 and one_hot:
        missing = np.isnan(values).all(axis=1)
        labels = np.where(missing, -1, np.nan_to_num(values).argmax(axis=1)).astype(np.int64)
        return Columns(labels=labels, label_names=names)
    if (np.abs(known) == 1).all():
        return Columns(attributes=np.nan_to_num(values).astype(np.int8), attribute_names=names)
    return Columns(vectors=values.astype(np.float32), vector_names=names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
