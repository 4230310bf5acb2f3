"""CelebA's annotation files: landmarks, attributes, identities, partition.

Each is a table in plain text: a file name and integers, separated by spaces. Landmarks and attributes begin
with two header lines, the number of rows and the column names; identities and partition have no header.
Parsing is vectorised over the raw bytes (202,599 rows with 40 columns in about a second) and keeps numbers in
arrays, never in objects per row.

Legend: N rows, K number columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import SourceError
from celebahq_tools.names import printable

LANDMARK_COLUMNS = (
    "lefteye_x",
    "lefteye_y",
    "righteye_x",
    "righteye_y",
    "nose_x",
    "nose_y",
    "leftmouth_x",
    "leftmouth_y",
    "rightmouth_x",
    "rightmouth_y",
)

HEADER_LINES = 2
MAX_DIGITS = 9
"""Longest number read; all that fit are below 2^31."""

MAX_NAME_BYTES = 255
CHUNK_BYTES = 4 << 20
"""Bytes parsed at once: bounds the temporary arrays to some 100 MB."""

_SPACE, _NEWLINE, _MINUS, _PLUS, _ZERO = 32, 10, 45, 43, 48
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One annotation file.

    path     the file, for messages
    columns  names of the number columns, empty where the file has no header
    names    (N,) bytes, the file names sorted
    values   (N, K) int32, in the order of `names`
    """

    path: str
    columns: tuple[str, ...]
    names: NDArray[np.bytes_]
    values: NDArray[np.int32]

    def count_known(self, names: Sequence[str]) -> int:
        """How many of `names`, all different, have a row."""
        keys = np.array([name.encode("utf-8", "surrogateescape") for name in names])
        return int(np.isin(keys, self.names, assume_unique=True).sum())

    def row(self, name: str) -> int | None:
        """Row of the picture `name`, or None where it is not annotated."""
        key = name.encode("utf-8", "surrogateescape")
        if len(key) > self.names.dtype.itemsize:
            return None
        at = int(np.searchsorted(self.names, np.bytes_(key)))
        return at if at < len(self.names) and self.names[at] == key else None


def parse_landmarks(data: bytes, path: str) -> Table:
    """Parse `list_landmarks_celeba.txt`: ten columns, x and y of five points in whole pixels."""
    table = _parse_with_header(data, path, columns=len(LANDMARK_COLUMNS))
    if tuple(column.lower() for column in table.columns) != LANDMARK_COLUMNS:
        raise SourceError(
            f"{path}, line 2: expected the columns {' '.join(LANDMARK_COLUMNS)}, found"
            f" {_clip(' '.join(table.columns))}; take the file from CelebA's Anno folder"
        )
    return table


def parse_attributes(data: bytes, path: str) -> Table:
    """Parse `list_attr_celeba.txt`: one column per attribute, -1 or +1."""
    table = _parse_with_header(data, path, columns=None)
    _check_range(table, np.abs(table.values) == 1, "-1 or 1")
    return table


def parse_identities(data: bytes, path: str) -> Table:
    """Parse `identity_CelebA.txt`: the number of the person, from 1."""
    table = _parse_rows(_clean(data), path, columns=1, first_line=1)
    _check_range(table, table.values >= 1, "an identity number from 1")
    return table


def parse_partition(data: bytes, path: str) -> Table:
    """Parse `list_eval_partition.txt`: 0 train, 1 validation, 2 test."""
    table = _parse_rows(_clean(data), path, columns=1, first_line=1)
    _check_range(table, (table.values >= 0) & (table.values <= 2), "0 (train), 1 (validation) or 2 (test)")
    return table


def align_to(table: Table, names: NDArray[np.bytes_]) -> NDArray[np.int32]:
    """Values of `table` in the order of `names`, (len(names), K) int32; every name must be there."""
    at = np.searchsorted(table.names, names).clip(max=len(table.names) - 1)
    missing = np.flatnonzero(table.names[at] != names)
    if len(missing):
        first = printable(names[missing[0]].decode("utf-8", "surrogateescape"))
        raise SourceError(
            f"{table.path}: {len(missing):,} of {len(names):,} pictures with landmarks have no row, first"
            f" {first}; take the file from the same release, or remove it to go without"
        )
    values: NDArray[np.int32] = table.values[at]
    return values


def _parse_with_header(data: bytes, path: str, columns: int | None) -> Table:
    """Parse a table with a count line and a line of column names; `columns` is their expected number."""
    data = _clean(data)
    head = data.split(b"\n", HEADER_LINES)
    if len(head) <= HEADER_LINES:
        raise SourceError(
            f"{path}: expected a line with the number of pictures, a line of column names and the rows, found"
            f" {len(data.splitlines())} lines; the file is cut short, get it again"
        )
    count_text, column_text, body = head
    if not count_text.strip().isdigit():
        raise SourceError(
            f"{path}, line 1: expected the number of pictures, found {_quote(count_text)}; the first two"
            " lines must be the count and the column names"
        )
    found_columns = tuple(column_text.decode("utf-8", "replace").split())
    expected = len(found_columns) if columns is None else columns
    if len(found_columns) != expected or not found_columns:
        raise SourceError(
            f"{path}, line 2: expected {expected or 'some'} column names, found {len(found_columns)}:"
            f" {_quote(column_text)}"
        )
    table = _parse_rows(body, path, columns=expected, first_line=HEADER_LINES + 1, names=found_columns)
    announced = int(count_text)
    if announced != len(table.names):
        raise SourceError(
            f"{path}, line 1: the header announces {announced:,} pictures, but {len(table.names):,} rows"
            " follow; the file is cut short or was edited: get it again or correct the count"
        )
    return table


def _parse_rows(body: bytes, path: str, *, columns: int, first_line: int, names: tuple[str, ...] = ()) -> Table:
    """Parse rows of a name and `columns` integers; blank lines are skipped, anything else is an error."""
    blocks = [
        _parse_block(block, path, columns=columns, first_line=line) for block, line in _line_blocks(body, first_line)
    ]
    if not any(len(block[0]) for block in blocks):
        raise SourceError(f"{path}: expected at least one row, found none; get the file again")
    row_names = np.concatenate([block[0] for block in blocks])
    values = np.concatenate([block[1] for block in blocks])
    lines = np.concatenate([block[2] for block in blocks])
    order = np.argsort(row_names, kind="stable")
    row_names, values, lines = row_names[order], values[order], lines[order]
    repeated = np.flatnonzero(row_names[1:] == row_names[:-1])
    if len(repeated):
        at = repeated[0]
        raise SourceError(
            f"{path}, line {lines[at + 1]}: {_quote(row_names[at])} occurs twice, first in line {lines[at]};"
            " each picture must have one row"
        )
    return Table(path=path, columns=names, names=row_names, values=values)


def _line_blocks(body: bytes, first_line: int) -> Iterator[tuple[bytes, int]]:
    """Cut `body` into blocks of whole lines with the number of their first line."""
    start, line = 0, first_line
    while start < len(body):
        end = len(body)
        if end - start > CHUNK_BYTES:
            newline = body.rfind(b"\n", start, start + CHUNK_BYTES)
            end = newline + 1 if newline >= 0 else (body.find(b"\n", start) + 1 or len(body))
        block = body[start:end]
        yield block, line
        line += block.count(b"\n")
        start = end


def _parse_block(
    block: bytes, path: str, *, columns: int, first_line: int
) -> tuple[NDArray[np.bytes_], NDArray[np.int32], NDArray[np.int64]]:
    """Parse whole lines to names (n,), values (n, columns) and line numbers (n,)."""
    text = np.frombuffer(block + b"\n", dtype=np.uint8)
    blank = text <= _SPACE
    starts = np.flatnonzero(~blank & np.concatenate(([True], blank[:-1])))
    ends = np.flatnonzero(blank & np.concatenate(([False], ~blank[:-1])))
    line_of = np.searchsorted(np.flatnonzero(text == _NEWLINE), starts)
    tokens = np.bincount(line_of)
    lines = np.flatnonzero(tokens)
    wrong = np.flatnonzero((tokens != 0) & (tokens != columns + 1))
    if len(wrong):
        at = int(wrong[0])
        line = block.split(b"\n")[at]
        raise SourceError(
            f"{path}, line {first_line + at}: expected a file name and {columns}"
            f" number{'s' * (columns > 1)}, found {int(tokens[at])} fields: {_quote(line)}"
        )
    begin, end = starts.reshape(-1, columns + 1), ends.reshape(-1, columns + 1)
    values, bad = _parse_integers(text, begin[:, 1:], end[:, 1:])
    if bad.any():
        row, column = np.argwhere(bad)[0]
        token = block[begin[row, column + 1] : end[row, column + 1]]
        raise SourceError(
            f"{path}, line {first_line + int(lines[row])}: expected a whole number in field {column + 2},"
            f" found {_quote(token)}"
        )
    too_long = np.flatnonzero(end[:, 0] - begin[:, 0] > MAX_NAME_BYTES)
    if len(too_long):
        raise SourceError(
            f"{path}, line {first_line + int(lines[too_long[0]])}: expected a file name, found a word of more"
            f" than {MAX_NAME_BYTES} bytes"
        )
    return _gather_names(text, begin[:, 0], end[:, 0]), values, first_line + lines


def _parse_integers(
    text: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Decimal integers at text[starts:ends], and where the text is none; all arrays have the same shape."""
    lead = text[starts]
    signed = (lead == _MINUS) | (lead == _PLUS)
    length = ends - starts - signed
    bad = (length < 1) | (length > MAX_DIGITS)
    values = np.zeros(starts.shape, dtype=np.int32)
    first = starts + signed
    for place in range(min(int(length.max(initial=0)), MAX_DIGITS)):
        there = place < length
        digit = text[np.minimum(first + place, len(text) - 1)].astype(np.int32) - _ZERO
        bad |= there & ((digit < 0) | (digit > 9))
        values = np.where(there, values * 10 + digit, values)
    return np.where(lead == _MINUS, -values, values), bad


def _gather_names(text: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """Names at text[starts:ends] as a fixed-width bytes array (n,)."""
    length = ends - starts
    width = int(length.max(initial=1))
    place = np.arange(width)
    letters = text[np.minimum(starts[:, None] + place, len(text) - 1)]
    letters = np.where(place < length[:, None], letters, 0).astype(np.uint8)
    return np.ascontiguousarray(letters).view(f"S{width}").reshape(-1)


def _check_range(table: Table, good: NDArray[np.bool_], expected: str) -> None:
    if good.all():
        return
    row, column = np.argwhere(~good)[0]
    where = f", column {table.columns[column]}" if table.columns else ""
    raise SourceError(
        f"{table.path}: expected {expected} for {_quote(table.names[row])}{where}, found {table.values[row, column]}"
    )


def _clean(data: bytes) -> bytes:
    """Take away a byte order mark and the carriage returns of Windows and old Mac line ends."""
    data = data.removeprefix(_BOM)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def _quote(text: bytes) -> str:
    return "'" + _clip(printable(text.strip().decode("utf-8", "surrogateescape"))) + "'"


def _clip(text: str, width: int = 80) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
