"""What a pyramid file contains: names, versions, columns. docs/format.md describes the same for readers.

Legend: N images, R finest resolution, r resolution of a level, A attributes, L continuous labels; slot = image number
0..N-1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools import __version__
from celebahq_tools.pyramid import level_resolutions

FORMAT_NAME = "celebahq-pyramid"
FORMAT_VERSION = 1
PARTIAL_SUFFIX = ".partial"

CHANNELS = 3
SHA256_BYTES = 32
INDEX_GROUP = "index"

ATTR_FORMAT = "format"
ATTR_VERSION = "format_version"
ATTR_RESOLUTION = "resolution"
ATTR_CREATED_BY = "created_by"
ATTR_BUILD_CONFIG = "build_config"
ATTR_MANIFEST = "manifest_sha256"
ATTR_LIBRARIES = "library_versions"
ATTR_ATTRIBUTE_NAMES = "attribute_names"
ATTR_LABEL_NAMES = "label_names"
ATTR_VECTOR_NAMES = "label_vector_names"
ATTR_UNKNOWN = "unknown"
"""On an index column: the value that stands for "not known"."""

UNKNOWN_INTEGER = -1
UNKNOWN_ATTRIBUTE = 0  # CelebA's attributes are -1 and +1

QUAD_SHAPE = (4, 2)
LANDMARKS_SHAPE = (5, 2)

_METADATA_BYTES = 1 << 20  # generous bound on HDF5's own structures, alignment gaps included


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRow:
    """What the index knows about one image; None where something is unknown.

    key         unique name of the image in its source
    file        path inside the source, `/` between folders
    quad        (4, 2) float64, corners of the crop in the source picture, pixels (x, y): top-left,
                bottom-left, bottom-right, top-right
    landmarks   (5, 2) float64, as in `Record`
    quality     quality score, higher is better
    identity    CelebA identity number
    attributes  -1 / +1 per attribute, in the order of the file's `attribute_names`; 0 unknown
    partition   0 train, 1 validation, 2 test
    label       class number, into the file's `label_names`
    vector      continuous labels, in the order of the file's `label_vector_names`; NaN unknown
    sha256      hex digest of the finest level's bytes, channels first; None until the image is written
    """

    key: str
    file: str
    quad: NDArray[np.float64] | None = None
    landmarks: NDArray[np.float64] | None = None
    quality: float | None = None
    identity: int | None = None
    attributes: tuple[int, ...] | None = None
    partition: int | None = None
    label: int | None = None
    vector: tuple[float, ...] | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PyramidMeta:
    """What a file says about its making. Everything here is part of the file's bytes, so no times or paths.

    build_config      the resolved configuration; anything `json.dumps` takes
    manifest_sha256   hex digest that identifies the source's list of files, or None
    library_versions  name -> version of the libraries that pixels depend on
    """

    build_config: Mapping[str, Any] = field(default_factory=dict)
    manifest_sha256: str | None = None
    library_versions: Mapping[str, str] = field(default_factory=dict)
    created_by: str = f"celebahq-tools {__version__}"


def level_name(res: int) -> str:
    """Dataset name of a level: 1024 -> 'data1024x1024'."""
    return f"data{res}x{res}"


def image_bytes(res: int) -> int:
    """Bytes of one image at one level."""
    return CHANNELS * res * res


def required_bytes(num_images: int, res: int, *, index_row_bytes: int = 1024) -> int:
    """Disk space of a pyramid file of `num_images` at `res`, bytes: an upper bound for ordinary file names.

    `index_row_bytes` bounds the size of one index row.
    """
    per_image = sum(image_bytes(level) for level in level_resolutions(res)) + index_row_bytes
    return num_images * per_image + _METADATA_BYTES


def column_dtypes(rows: Sequence[IndexRow], num_attributes: int, num_vector: int = 0) -> dict[str, np.dtype[Any]]:
    """dtype of every index column; string columns are as wide as their longest value in UTF-8 bytes.

    A column with several values per row has a sub-array dtype. Only columns of these names exist;
    `attributes` and `vector` are left out when there are none.
    """
    columns: dict[str, np.dtype[Any]] = {
        "key": np.dtype(f"S{_longest(row.key for row in rows)}"),
        "file": np.dtype(f"S{_longest(row.file for row in rows)}"),
        "quad": np.dtype(("<f8", QUAD_SHAPE)),
        "landmarks": np.dtype(("<f8", LANDMARKS_SHAPE)),
        "quality": np.dtype("<f8"),
        "identity": np.dtype("<i8"),
        "partition": np.dtype("i1"),
        "label": np.dtype("<i8"),
        "sha256": np.dtype(("u1", (SHA256_BYTES,))),
    }
    if num_attributes:
        columns["attributes"] = np.dtype(("i1", (num_attributes,)))
    if num_vector:
        columns["vector"] = np.dtype(("<f4", (num_vector,)))
    return columns


def row_values(row: IndexRow, num_attributes: int, num_vector: int = 0) -> dict[str, Any]:
    """One row as column values, with the sentinels for what is unknown. Raises ValueError on bad shapes."""
    values: dict[str, Any] = {
        "key": row.key.encode(),
        "file": row.file.encode(),
        "quad": _points(row, "quad", row.quad, QUAD_SHAPE),
        "landmarks": _points(row, "landmarks", row.landmarks, LANDMARKS_SHAPE),
        "quality": np.nan if row.quality is None else row.quality,
        "identity": UNKNOWN_INTEGER if row.identity is None else row.identity,
        "partition": UNKNOWN_INTEGER if row.partition is None else row.partition,
        "label": UNKNOWN_INTEGER if row.label is None else row.label,
        "sha256": np.frombuffer(bytes.fromhex(row.sha256) if row.sha256 else bytes(SHA256_BYTES), np.uint8),
    }
    if row.attributes is not None and len(row.attributes) != num_attributes:
        raise ValueError(f"{row.key}: {len(row.attributes)} attributes, expected {num_attributes} as named")
    if num_attributes:
        values["attributes"] = row.attributes or (UNKNOWN_ATTRIBUTE,) * num_attributes
    if row.vector is not None and len(row.vector) != num_vector:
        raise ValueError(f"{row.key}: {len(row.vector)} continuous labels, expected {num_vector} as named")
    if num_vector:
        values["vector"] = (np.nan,) * num_vector if row.vector is None else row.vector
    return values


def unknown_value(column: str) -> float | int | None:
    """The sentinel of a column, or None where there is none (key and file are always known)."""
    if column in ("quad", "landmarks", "quality", "vector"):
        return float("nan")
    if column in ("identity", "partition", "label"):
        return UNKNOWN_INTEGER
    if column == "attributes":
        return UNKNOWN_ATTRIBUTE
    return 0 if column == "sha256" else None


def _longest(values: Any) -> int:
    return max((len(value.encode()) for value in values), default=0) or 1


def _points(
    row: IndexRow, name: str, points: NDArray[np.float64] | None, shape: tuple[int, int]
) -> NDArray[np.float64]:
    if points is None:
        return np.full(shape, np.nan)
    array = np.asarray(points, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{row.key}: {name} has shape {array.shape}, expected {shape}")
    return array
