"""Lay out a pyramid file once: all HDF5 structures and the whole index. Later only bytes inside change."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celebahq_tools.errors import DiskSpaceError, UsageError
from celebahq_tools.pyramid import level_resolutions
from celebahq_tools.store import schema
from celebahq_tools.store.schema import IndexRow, PyramidMeta

if TYPE_CHECKING:
    import h5py

PAGE_BYTES = 4096
"""Level datasets start at multiples of this, so that memory maps and page-sized reads line up."""

META_BLOCK_BYTES = 1 << 16  # keeps HDF5's metadata together at the front of the file

ROWS_AT_ONCE = 4096
"""Index rows held in memory while they are written."""

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT_RESERVE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_HDF5_ERRNO = re.compile(r"errno = ([0-9]+)")
_CREATING_SUFFIX = ".creating"


def create_pyramid(
    path: str | os.PathLike[str],
    *,
    res: int,
    rows: Sequence[IndexRow],
    meta: PyramidMeta,
    attribute_names: Sequence[str] = (),
    label_names: Sequence[str] = (),
    vector_names: Sequence[str] = (),
) -> None:
    """Create the file at `path`, with one empty slot per row, on disk blocks that are reserved for it.

    Levels are `data{r}x{r}`, (N, 3, r, r) uint8, r = res ... 4, contiguous. Until a slot is written its
    pixels and its sha256 are zero. The file appears at `path` complete or not at all.

    Raises UsageError when `path` exists or there are no rows, ValueError for a `res` that is no power of two
    >= 4 or rows of wrong shapes, DiskSpaceError when the disk cannot hold the file (nothing is left behind).
    """
    path = Path(path)
    if path.exists():
        raise UsageError(f"{path}: exists already; remove it or choose another name")
    if not rows:
        raise UsageError(f"{path}: no images to make room for")
    creating = path.with_name(path.name + _CREATING_SUFFIX)
    with disk_errors(path), _removed_on_error(creating):
        _write_structure(creating, res, rows, meta, attribute_names, label_names, vector_names)
        _reserve(creating)
        creating.replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "disk full", "quota exceeded" and "file too large" into DiskSpaceError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = _system_error(error)
        if number in _NO_SPACE:
            reason = os.strerror(number).lower()
            raise DiskSpaceError(f"{path}: {reason}; free some space and run the same command again") from error
        raise


def _system_error(error: OSError | RuntimeError) -> int:
    """The error number; h5py has it in the text only, and raises RuntimeError when closing fails."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _HDF5_ERRNO.search(str(error))
    return int(match[1]) if match else 0


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_attributes(
    file: "h5py.File",
    res: int,
    meta: PyramidMeta,
    attribute_names: Sequence[str],
    label_names: Sequence[str],
    vector_names: Sequence[str] = (),
) -> None:
    """The file's attributes. Lists and mappings are JSON text: no limit on size, no HDF5 type to learn."""
    file.attrs[schema.ATTR_FORMAT] = schema.FORMAT_NAME
    file.attrs[schema.ATTR_VERSION] = np.int64(schema.FORMAT_VERSION)
    file.attrs[schema.ATTR_RESOLUTION] = np.int64(res)
    file.attrs[schema.ATTR_CREATED_BY] = meta.created_by
    file.attrs[schema.ATTR_BUILD_CONFIG] = _json(meta.build_config)
    file.attrs[schema.ATTR_MANIFEST] = meta.manifest_sha256 or ""
    file.attrs[schema.ATTR_LIBRARIES] = _json(meta.library_versions)
    file.attrs[schema.ATTR_ATTRIBUTE_NAMES] = _json(list(attribute_names))
    file.attrs[schema.ATTR_LABEL_NAMES] = _json(list(label_names))
    if vector_names:
        file.attrs[schema.ATTR_VECTOR_NAMES] = _json(list(vector_names))


def write_index(file: "h5py.File", rows: Sequence[IndexRow], num_attributes: int, num_vector: int = 0) -> None:
    """The group `index`: one contiguous dataset per column. `rows` may make its rows when asked for them."""
    dtypes = schema.column_dtypes(rows, num_attributes, num_vector)
    datasets: dict[str, h5py.Dataset] = {}
    for column, dtype in dtypes.items():
        name, shape = f"{schema.INDEX_GROUP}/{column}", (len(rows), *dtype.shape)
        dataset = datasets[column] = create_contiguous(file, name, shape, dtype.base)
        unknown = schema.unknown_value(column)
        if unknown is not None:
            dataset.attrs[schema.ATTR_UNKNOWN] = unknown
    for start in range(0, len(rows), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(rows))
        values = [schema.row_values(rows[slot], num_attributes, num_vector) for slot in range(start, stop)]
        for column, dataset in datasets.items():
            data = np.array([value[column] for value in values], dtype=dtypes[column].base)
            dataset[start:stop] = data.astype(dataset.dtype)


def create_contiguous(file: "h5py.File", name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "h5py.Dataset":
    """A contiguous dataset that has its place in the file from the start and is never filled by HDF5."""
    import h5py

    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    linking = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    linking.set_create_intermediate_group(True)
    stored = h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype
    kind = h5py.h5t.py_create(stored, logical=True)
    identifier = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), creation, linking)
    return h5py.Dataset(identifier)


def _write_structure(
    path: Path,
    res: int,
    rows: Sequence[IndexRow],
    meta: PyramidMeta,
    attribute_names: Sequence[str],
    label_names: Sequence[str],
    vector_names: Sequence[str],
) -> None:
    import h5py

    resolutions = level_resolutions(res)
    with h5py.File(
        path,
        "w",
        libver=("earliest", "v108"),
        locking=False,
        track_order=False,
        meta_block_size=META_BLOCK_BYTES,
        alignment_threshold=PAGE_BYTES,
        alignment_interval=PAGE_BYTES,
    ) as file:
        write_attributes(file, res, meta, attribute_names, label_names, vector_names)
        write_index(file, rows, len(attribute_names), len(vector_names))
        for level in resolutions:
            shape = (len(rows), schema.CHANNELS, level, level)
            create_contiguous(file, schema.level_name(level), shape, np.dtype(np.uint8))


def _reserve(path: Path) -> None:
    """Give the file real disk blocks, where the file system can reserve them, and make it durable."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        try:
            os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _json(value: Mapping[str, Any] | Sequence[str]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
