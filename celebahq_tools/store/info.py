"""A summary of a pyramid file that needs no look at its pixels."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from celebahq_tools.errors import FormatError
from celebahq_tools.store import schema
from celebahq_tools.store.index import PyramidIndex
from celebahq_tools.store.layout import DatasetLayout
from celebahq_tools.store.reader import PyramidReader

PARTITION_NAMES: Mapping[int, str] = {0: "train", 1: "validation", 2: "test"}


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file is, as JSON-able values; raises what `read_layout` raises.

    Keys: path, format ("celebahq-pyramid" or "plain pyramid"), format_version, created_by, num_images,
    resolution, layout, file_bytes, levels [{res, bytes, layout}], columns {name: type}, counts, fingerprint
    (None when it would take reading pixels), attribute_names, label_names, label_vector_names,
    manifest_sha256, library_versions,
    build_config.
    """
    with PyramidReader(path) as reader:
        layout = reader.layout
        attributes = layout.attributes
        return {
            "path": str(layout.path),
            "format": "plain pyramid" if layout.version is None else schema.FORMAT_NAME,
            "format_version": layout.version,
            "created_by": attributes.get(schema.ATTR_CREATED_BY) if layout.version else None,
            "num_images": len(reader),
            "resolution": reader.resolution,
            "layout": _storage(next(iter(layout.levels.values()))),
            "file_bytes": layout.file_bytes,
            "levels": [
                {"res": res, "bytes": level.stored_bytes, "layout": _storage(level)}
                for res, level in layout.levels.items()
            ],
            "columns": {name: _type(column) for name, column in layout.columns.items()},
            "counts": _counts(reader.index) if reader.has_index else {},
            "fingerprint": _fingerprint(reader),
            "attribute_names": list(reader.attribute_names),
            "label_names": list(reader.label_names),
            "label_vector_names": list(reader.vector_names),
            "manifest_sha256": attributes.get(schema.ATTR_MANIFEST) or None,
            "library_versions": attributes.get(schema.ATTR_LIBRARIES) or {},
            "build_config": attributes.get(schema.ATTR_BUILD_CONFIG) or {},
        }


def _storage(level: DatasetLayout) -> str:
    if level.chunks is None:
        return "contiguous"
    return f"chunks of {level.chunks[0]}, {level.compression or 'not compressed'}"


def _type(column: DatasetLayout) -> str:
    if column.dtype.kind == "S":
        return f"text of up to {column.dtype.itemsize} bytes"
    shape = "x".join(map(str, column.shape[1:]))
    return f"{column.dtype.name}[{shape}]" if shape else column.dtype.name


def _counts(index: PyramidIndex) -> dict[str, Any]:
    """How many images have what, and how they fall into partitions."""
    partitions, sizes = np.unique(index.partition, return_counts=True)
    by_partition = {
        PARTITION_NAMES.get(int(number), f"partition {number}"): int(size)
        for number, size in zip(partitions, sizes, strict=True)
        if number != schema.UNKNOWN_INTEGER
    }
    identities = index.identity[index.identity != schema.UNKNOWN_INTEGER]
    known = {
        "quad": ~np.isnan(index.quad).any(axis=(1, 2)),
        "landmarks": ~np.isnan(index.landmarks).any(axis=(1, 2)),
        "quality": ~np.isnan(index.quality),
        "identity": index.identity != schema.UNKNOWN_INTEGER,
        "attributes": (index.attributes != schema.UNKNOWN_ATTRIBUTE).any(axis=1),
        "partition": index.partition != schema.UNKNOWN_INTEGER,
        "label": index.label != schema.UNKNOWN_INTEGER,
        "sha256": index.sha256.any(axis=1),
    }
    if index.vector.shape[1]:
        known["vector"] = ~np.isnan(index.vector).all(axis=1)
    return {
        "known": {name: int(mask.sum()) for name, mask in known.items()},
        "partitions": by_partition,
        "identities": len(np.unique(identities)),
        "classes": len(np.unique(index.label[known["label"]])),
    }


def _fingerprint(reader: PyramidReader) -> str | None:
    if not reader.has_index:
        return None
    try:
        return reader.fingerprint()
    except FormatError:
        return None
