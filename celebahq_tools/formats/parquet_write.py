"""A parquet file in the style of HuggingFace, from pictures that lie one after the other in a file."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.formats.collection import Columns
from celebahq_tools.formats.parquet import pyarrow_parquet

GROUP_ROWS = 256
GROUP_BYTES = 64 << 20
"""Rows and bytes of pictures of a row group: what is held in memory at once."""


def write_parquet(
    path: Path,
    pictures: Path,
    ends: NDArray[np.int64],
    numbers: list[int],
    columns: Columns,
    matrix: NDArray[np.float32] | None,
) -> None:
    """Columns `image` {bytes, path} and `label`, with HuggingFace's description of the features.

    pictures  file of pictures, of which number k ends at byte ends[k]
    numbers   of the images, which name them
    matrix    labels (N, L) float32; None: the class numbers in `columns`, if any
    """
    import pyarrow as pa

    labels: list[Any] | None = None
    if matrix is not None:
        labels = matrix.tolist()
    elif columns.labels is not None:
        labels = [None if label < 0 else label for label in columns.labels.tolist()]
    schema = _schema(columns, labels, matrix)
    with pyarrow_parquet().ParquetWriter(path, schema, compression="none") as writer:
        for begin, rows in _groups(pictures, ends):
            table: list[dict[str, Any]] = []
            for place, data in enumerate(rows, start=begin):
                row: dict[str, Any] = {"image": {"bytes": data, "path": f"{numbers[place]:08d}.png"}}
                if labels is not None:
                    row["label"] = labels[place]
                table.append(row)
            writer.write_table(pa.Table.from_pylist(table, schema))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _schema(columns: Columns, labels: list[Any] | None, matrix: NDArray[np.float32] | None) -> Any:
    import pyarrow as pa

    fields = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if labels is not None and matrix is None:
        fields.append(("label", pa.int64()))
        features["label"] = {"_type": "Value", "dtype": "int64"}
        if columns.label_names:
            features["label"] = {"_type": "ClassLabel", "names": list(columns.label_names)}
    elif labels is not None:
        fields.append(("label", pa.list_(pa.float32())))
        features["label"] = {"_type": "Sequence", "feature": {"_type": "Value", "dtype": "float32"}}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _groups(pictures: Path, ends: NDArray[np.int64]) -> Iterator[tuple[int, list[bytes]]]:
    """Row groups: the place of the first picture and the pictures."""
    rows: list[bytes] = []
    begin = before = size = 0
    with pictures.open("rb") as file:
        for place, end in enumerate(ends.tolist()):
            rows.append(file.read(end - before))
            size += end - before
            before = end
            if len(rows) >= GROUP_ROWS or size >= GROUP_BYTES:
                yield begin, rows
                rows, begin, size = [], place + 1, 0
    if rows:
        yield begin, rows
