"""Read what a pyramid file is made of and where its bytes are; refuse everything that is no pyramid file."""

import contextlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celebahq_tools.errors import FormatError, SourceError
from celebahq_tools.store import schema

if TYPE_CHECKING:
    import h5py

_H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError)
_LEVEL_NAME = re.compile(r"data([0-9]{1,5})x([0-9]{1,5})")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLayout:
    """Place and storage of one dataset.

    offset       byte offset in the file of a contiguous dataset, else None
    compression  name of the HDF5 filter ("gzip", "lzf"), or None
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    chunks: tuple[int, ...] | None
    compression: str | None
    stored_bytes: int

    @property
    def item_bytes(self) -> int:
        """Bytes of one entry along the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLayout:
    """All of a pyramid file but its pixels and index values.

    levels   finest first; `columns` is empty for files without an index (the authors' own)
    version  our format version, or None for files without our attributes
    """

    path: Path
    num_images: int
    levels: Mapping[int, DatasetLayout]
    columns: Mapping[str, DatasetLayout]
    version: int | None
    attributes: Mapping[str, Any]
    file_bytes: int

    @property
    def resolution(self) -> int:
        """The finest resolution."""
        return next(iter(self.levels))

    @property
    def contiguous(self) -> bool:
        """Whether every level can be read and written at file offsets, without HDF5."""
        return all(level.offset is not None for level in self.levels.values())


def read_layout(path: str | os.PathLike[str], *, allow_partial: bool = False) -> FileLayout:
    """Open a file with HDF5, look at its structure, and close it again.

    Raises SourceError when there is no such file; FormatError for an unfinished (`.partial`) one unless
    `allow_partial`, and for anything that is not HDF5, no pyramid, damaged, or of an unknown version.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    if path.name.endswith(schema.PARTIAL_SUFFIX) and not allow_partial:
        raise FormatError(f"{path}: an unfinished build; run the same build command again to complete it")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise FormatError(f"{path}: {_why_not_hdf5(path, error)}") from None
    with hdf5_errors(path), file:
        attributes = _attributes(path, file)
        version = _checked_version(path, attributes)
        levels = _levels(path, file)
        columns = _columns(file) if version is not None else {}
    layout = FileLayout(
        path=path,
        num_images=next(iter(levels.values())).shape[0],
        levels=levels,
        columns=columns,
        version=version,
        attributes=attributes,
        file_bytes=path.stat().st_size,
    )
    _check_consistent(layout)
    return layout


@contextlib.contextmanager
def hdf5_errors(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises on damaged structures into FormatError."""
    try:
        yield
    except _H5PY_ERRORS as error:
        raise FormatError(f"{path}: damaged, HDF5 says: {' '.join(str(error).split())}") from None


def _why_not_hdf5(path: Path, error: OSError) -> str:
    import h5py

    if path.stat().st_size == 0:
        return "an empty file"
    if not h5py.is_hdf5(path):
        return "not an HDF5 file"
    if "truncated" in str(error):
        return "truncated: the end of the file is missing; copy or build it again"
    return f"HDF5 cannot open it: {' '.join(str(error).split())}"


def _attributes(path: Path, file: "h5py.File") -> dict[str, Any]:
    """The file's attributes, JSON ones decoded. Foreign attributes are left alone."""
    attributes: dict[str, Any] = {}
    for name in file.attrs:
        value = file.attrs[name]
        attributes[name] = value.item() if isinstance(value, np.generic) else value
    if attributes.get(schema.ATTR_FORMAT) != schema.FORMAT_NAME:
        return attributes
    for name in (
        schema.ATTR_BUILD_CONFIG,
        schema.ATTR_LIBRARIES,
        schema.ATTR_ATTRIBUTE_NAMES,
        schema.ATTR_LABEL_NAMES,
        schema.ATTR_VECTOR_NAMES,
    ):
        try:
            attributes[name] = json.loads(attributes.get(name, "null"))
        except (TypeError, ValueError):
            raise FormatError(f"{path}: attribute {name!r} is not JSON; the file is damaged") from None
    return attributes


def _checked_version(path: Path, attributes: Mapping[str, Any]) -> int | None:
    name = attributes.get(schema.ATTR_FORMAT)
    version = attributes.get(schema.ATTR_VERSION)
    if name is None and version is None:
        return None
    if name != schema.FORMAT_NAME:
        raise FormatError(f"{path}: format {name!r}, expected {schema.FORMAT_NAME!r}")
    if version != schema.FORMAT_VERSION:
        raise FormatError(
            f"{path}: format version {version}, this program reads {schema.FORMAT_VERSION}; "
            "use the version of celebahq-tools that wrote it, or a newer one"
        )
    return schema.FORMAT_VERSION


def _levels(path: Path, file: "h5py.File") -> dict[int, DatasetLayout]:
    import h5py

    found: dict[int, DatasetLayout] = {}
    for name in file:
        match = _LEVEL_NAME.fullmatch(name)
        if match is None or not isinstance(file[name], h5py.Dataset):
            continue
        dataset = file[name]
        res = int(match[1])
        expected = (dataset.shape[0] if dataset.ndim else 0, schema.CHANNELS, res, res)
        if match[2] != match[1] or res & (res - 1) or dataset.shape != expected or dataset.dtype != np.uint8:
            raise FormatError(
                f"{path}: {name} is {dataset.dtype} {dataset.shape}, expected uint8 (N, 3, r, r), r a power of two"
            )
        found[res] = _dataset_layout(dataset)
    if not found:
        raise FormatError(f"{path}: HDF5, but no image levels (datasets data<r>x<r>) in it")
    return dict(sorted(found.items(), reverse=True))


def _columns(file: "h5py.File") -> dict[str, DatasetLayout]:
    group = file.get(schema.INDEX_GROUP, {})
    return {name: _dataset_layout(group[name]) for name in group}


def _dataset_layout(dataset: "h5py.Dataset") -> DatasetLayout:
    filters = dataset.id.get_create_plist()
    names = [filters.get_filter(k)[3] for k in range(filters.get_nfilters())]
    known = {b"deflate": "gzip", b"shuffle": None}
    compression = "+".join(filter(None, (known.get(name, name.decode()) for name in names))) or None
    return DatasetLayout(
        name=dataset.name.lstrip("/"),
        shape=dataset.shape,
        dtype=np.dtype(dataset.dtype.str),  # without the metadata that h5py adds to strings
        offset=None if dataset.chunks is not None else dataset.id.get_offset(),
        chunks=dataset.chunks,
        compression=compression,
        stored_bytes=dataset.id.get_storage_size(),
    )


def _check_consistent(layout: FileLayout) -> None:
    counts = {level.name: level.shape[0] for level in layout.levels.values()}
    counts |= {column.name: column.shape[0] for column in layout.columns.values()}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise FormatError(f"{layout.path}: datasets of different length ({listed}); the file is damaged")
    if layout.num_images == 0:
        raise FormatError(f"{layout.path}: no images in it")
    stated = layout.attributes.get(schema.ATTR_RESOLUTION)
    if layout.version is not None and stated != layout.resolution:
        raise FormatError(
            f"{layout.path}: says resolution {stated}, its finest level is {layout.resolution}; the file is damaged"
        )
    for dataset in (*layout.levels.values(), *layout.columns.values()):
        end = (dataset.offset or 0) + dataset.item_bytes * dataset.shape[0]
        if dataset.offset is not None and end > layout.file_bytes:
            raise FormatError(
                f"{layout.path}: truncated: {dataset.name} ends at byte {end}, "
                f"the file has {layout.file_bytes}; copy or build it again"
            )
