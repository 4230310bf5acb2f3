"""The index of a pyramid file, read whole into memory (about a kilobyte per image)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError
from celebahq_tools.store import schema
from celebahq_tools.store.layout import FileLayout, hdf5_errors
from celebahq_tools.store.schema import IndexRow


@dataclass(frozen=True, slots=True)
class PyramidIndex:
    """All index columns, N entries each, with the sentinels of docs/format.md where something is unknown.

    Columns a file lacks hold the sentinel throughout. `attributes` is (N, A) and `vector`
    (N, L); A and L may be 0.
    """

    key: NDArray[np.str_]
    file: NDArray[np.str_]
    quad: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    quality: NDArray[np.float64]
    identity: NDArray[np.int64]
    attributes: NDArray[np.int8]
    partition: NDArray[np.int8]
    label: NDArray[np.int64]
    vector: NDArray[np.float32]
    sha256: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.key)

    def row(self, slot: int) -> IndexRow:
        """One row, sentinels turned into None. Raises IndexError outside 0..N-1."""
        if not 0 <= slot < len(self):
            raise IndexError(f"image {slot} is outside 0..{len(self) - 1}")
        digest = self.sha256[slot]
        attributes = self.attributes[slot]
        vector = self.vector[slot]
        return IndexRow(
            key=str(self.key[slot]),
            file=str(self.file[slot]),
            quad=None if np.isnan(self.quad[slot]).any() else self.quad[slot],
            landmarks=None if np.isnan(self.landmarks[slot]).any() else self.landmarks[slot],
            quality=None if np.isnan(self.quality[slot]) else float(self.quality[slot]),
            identity=_known(self.identity[slot]),
            attributes=tuple(int(a) for a in attributes) if attributes.any() else None,
            partition=_known(self.partition[slot]),
            label=_known(self.label[slot]),
            vector=None if np.isnan(vector).all() else tuple(float(value) for value in vector),
            sha256=digest.tobytes().hex() if digest.any() else None,
        )

    def rows(self) -> list[IndexRow]:
        """All rows."""
        return [self.row(slot) for slot in range(len(self))]


def read_index(layout: FileLayout) -> PyramidIndex:
    """Read every column with HDF5 and close the file. Raises FormatError for a file without an index."""
    import h5py

    if not layout.columns:
        raise FormatError(f"{layout.path}: has no index (not written by celebahq-tools)")
    with hdf5_errors(layout.path), h5py.File(layout.path, "r", locking=False) as file:
        group = file[schema.INDEX_GROUP]
        columns = {name: group[name][...] for name in layout.columns}
    return _index(columns, layout.num_images, layout.path)


def _index(columns: Mapping[str, NDArray[Any]], num_images: int, path: Path) -> PyramidIndex:
    numeric: dict[str, tuple[str, tuple[int, ...]]] = {
        "quad": ("f8", schema.QUAD_SHAPE),
        "landmarks": ("f8", schema.LANDMARKS_SHAPE),
        "quality": ("f8", ()),
        "identity": ("i8", ()),
        "attributes": ("i1", columns["attributes"].shape[1:] if "attributes" in columns else (0,)),
        "partition": ("i1", ()),
        "label": ("i8", ()),
        "vector": ("f4", columns["vector"].shape[1:] if "vector" in columns else (0,)),
        "sha256": ("u1", (schema.SHA256_BYTES,)),
    }
    values: dict[str, NDArray[Any]] = {}
    for name in ("key", "file"):
        if name not in columns:
            raise FormatError(f"{path}: index/{name} is missing; the file is damaged")
        with hdf5_errors(path):
            values[name] = np.char.decode(columns[name].astype("S"), "utf-8")
    for name, (dtype, shape) in numeric.items():
        full = (num_images, *shape)
        column = columns.get(name)
        if column is None:
            column = np.full(full, schema.unknown_value(name), dtype=dtype)
        if column.shape != full or column.dtype != np.dtype(dtype):
            raise FormatError(
                f"{path}: index/{name} is {column.dtype} {column.shape}, expected {np.dtype(dtype)} {full}"
            )
        values[name] = column
    return PyramidIndex(**values)


def _known(value: np.integer[Any]) -> int | None:
    return None if value == schema.UNKNOWN_INTEGER else int(value)
