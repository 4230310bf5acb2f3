"""StyleGAN2-ADA's and StyleGAN3's data sets: a zip or folder of PNG files with dataset.json."""

from pathlib import Path
from typing import Any

import numpy as np

from celebahq_tools.archives import MAX_MEMBER_BYTES
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.formats.collection import Collection, Columns
from celebahq_tools.formats.labels import LabelTable, table_of_json
from celebahq_tools.formats.pictures import pictures_of
from celebahq_tools.sources import Source, open_pictures_source

LABELS_FILE = "dataset.json"


def open_stylegan(path: Path) -> Collection:
    """The images in the order of their names, with the labels of dataset.json. Raises SourceError."""
    source = open_pictures_source(path)
    return pictures_of(source, _table(source, path), kind="stylegan", labelled=False, lossless=True)


def _table(source: Source, path: Path) -> LabelTable | None:
    try:
        data = source.read(LABELS_FILE)
    except PictureError as error:
        if error.reason == "missing":
            return None
        raise SourceError(str(error)) from None
    if len(data) > MAX_MEMBER_BYTES:
        raise SourceError(f"{path}: {LABELS_FILE} has {len(data):,} bytes; not read")
    table = table_of_json(data, f"{path}: {LABELS_FILE}")
    return table if table.values else None


def labels_json(names: list[str], columns: Columns) -> dict[str, Any]:
    """The content of dataset.json for images of these names: class numbers, else vectors, else null."""
    values: list[Any] | None = None
    if columns.labels is not None and (columns.labels >= 0).all():
        values = columns.labels.tolist()
    elif columns.vectors is not None and not np.isnan(columns.vectors).any():
        values = columns.vectors.tolist()
    elif columns.attributes is not None:
        values = columns.attributes.tolist()
    return {"labels": None if values is None else [list(pair) for pair in zip(names, values, strict=True)]}
