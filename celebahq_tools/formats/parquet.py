"""Parquet in the style of HuggingFace: `image` a struct of `bytes` and `path`, `label` a whole number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.archives import MAX_MEMBER_BYTES
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import MissingDependencyError, PictureError, SourceError
from celebahq_tools.formats.collection import Collection, Columns, digest_of, file_digest, numbered
from celebahq_tools.formats.labels import class_columns, vector_columns
from celebahq_tools.names import one_line

MAX_GROUP_BYTES = 4 << 30
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


def pyarrow_parquet() -> Any:
    """The module pyarrow.parquet; raises MissingDependencyError."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            "parquet needs the package pyarrow: pip install 'celebahq-tools[formats]'"
        ) from None
    return pyarrow.parquet


class ParquetPictures:
    """Pictures of parquet files; the position is the row. One row group is kept, neighbours are read from it."""

    def __init__(self, root: Path, column: str) -> None:
        self._root, self._column = root, column
        self._held: tuple[str, int, Any] | None = None

    def __getstate__(self) -> tuple[Path, str]:
        return self._root, self._column

    def __setstate__(self, state: tuple[Path, str]) -> None:
        self._root, self._column = state
        self._held = None

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        try:
            value = self._row(file, position)
        except PictureError:
            raise
        except Exception as error:
            raise PictureError("corrupt", f"{file}, row {position}: {one_line(error)}") from None
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or len(data) > MAX_MEMBER_BYTES:
            raise PictureError("missing", f"{file}, row {position}: no picture stored in it")
        return decode_picture(data, name=f"{file}, row {position}")

    def _row(self, file: str, position: int) -> Any:
        if self._held is None or self._held[0] != file or not 0 <= position - self._held[1] < len(self._held[2]):
            path = self._root / file if self._root.is_dir() else self._root
            with pyarrow_parquet().ParquetFile(path) as opened:
                start = 0
                for group in range(opened.num_row_groups):
                    meta = opened.metadata.row_group(group)
                    if position < start + meta.num_rows:
                        break
                    start += meta.num_rows
                if meta.total_byte_size > MAX_GROUP_BYTES:
                    raise PictureError("too-large", f"{file}: a row group of {meta.total_byte_size:,} bytes")
                table = opened.read_row_group(group, columns=[self._column])
            self._held = (file, start, table.column(0))
        return self._held[2][position - self._held[1]].as_py()


def open_parquet(path: Path, image_column: str | None = None, label_column: str | None = None) -> Collection:
    """A parquet file, or a folder of them in the order of their names. Raises SourceError."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise SourceError(f"{path}: expected .parquet files, found none")
    names: list[str] = []
    rows: list[int] = []
    labels: list[Any] = []
    label_names: tuple[str, ...] = ()
    column = image_column
    stamp: list[str] = []
    for file in files:
        try:
            with pyarrow_parquet().ParquetFile(file) as opened:
                schema = opened.schema_arrow
                column = _pick(schema.names, image_column, IMAGE_COLUMNS, file)
                label = label_column or next((name for name in LABEL_COLUMNS if name in schema.names), None)
                count = opened.metadata.num_rows
                if label is not None:
                    labels += opened.read(columns=[label]).column(0).to_pylist()
                    label_names = label_names or _class_names(schema.metadata, label)
        except (SourceError, MissingDependencyError):
            raise
        except Exception as error:
            raise SourceError(f"{file}: no readable parquet file ({one_line(error)}); get it again") from None
        names += [file.name] * count
        rows += range(count)
        stamp += [file.name, file_digest(file)]
    return Collection(
        kind="parquet",
        root=path,
        digest=digest_of("parquet", str(column), *stamp),
        keys=numbered(len(names)),
        files=names,
        positions=np.array(rows, np.int64),
        reader=ParquetPictures(path, str(column)),
        natural_res=None,
        lossless=False,
        columns=_columns(labels, label_names, path),
    )


def _pick(names: list[str], asked: str | None, usual: tuple[str, ...], file: Path) -> str:
    wanted = (asked,) if asked is not None else usual
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise SourceError(f"{file}: no column {' or '.join(wanted)}; it has {', '.join(names)}")
    return found


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """Names from HuggingFace's description of the features, where it is there."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _columns(labels: list[Any], label_names: tuple[str, ...], path: Path) -> Columns:
    if not labels or all(label is None for label in labels):
        return Columns()
    if not isinstance(next(label for label in labels if label is not None), list):
        classes = class_columns(labels)
        if classes is not None:
            return Columns(labels=classes.labels, label_names=classes.label_names or label_names)
        labels = [[label] for label in labels]
    try:
        width = len(next(label for label in labels if label is not None))
        rows = [[np.nan] * width if label is None else label for label in labels]
        return vector_columns(np.array(rows, np.float32))
    except (ValueError, TypeError) as error:
        raise SourceError(f"{path}: labels are no numbers or lists of them ({one_line(error)})") from None
