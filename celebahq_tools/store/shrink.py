"""Take the last slots off a contiguous pyramid file, in place.

HDF5 cannot resize a contiguous dataset, and copying a hundred gigabytes to drop a few images is no answer. So
the two numbers that give a dataset its length are overwritten in its object header: the first dimension in
the dataspace message, the byte size in the layout message (HDF5 File Format Specification 3.0, IV.A.1.a,
IV.A.2.b and IV.A.2.i). Headers of `libver="earliest"` files carry no checksum. The freed bytes stay in the
file, unused.
"""

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from celebahq_tools.errors import FormatError, UsageError
from celebahq_tools.store import schema
from celebahq_tools.store.slots import write_fully

_PREFIX = struct.Struct("<BxHII4x")  # version, messages, references, header size
_MESSAGE = struct.Struct("<HHB3x")  # type, size, flags
_SPACE = struct.Struct("<BBB5xQ")  # version, rank, flags, first dimension
_LAYOUT = struct.Struct("<BBQQ")  # version, class, address, size
_CONTINUATION = struct.Struct("<QQ")  # offset, length

_SPACE_TYPE, _LAYOUT_TYPE, _CONTINUATION_TYPE = 0x01, 0x08, 0x10
_HEADER_VERSION, _SPACE_VERSION, _LAYOUT_VERSION, _CONTIGUOUS_CLASS = 1, 1, 3, 1
_FIRST_DIMENSION_AT = 8
_SIZE_AT = 10


def shrink_pyramid(path: str | os.PathLike[str], num_images: int) -> None:
    """Keep slots 0 .. num_images-1 of a contiguous file, usually a `.partial` one; nobody may have it open.

    All levels and index columns get the new length. May be repeated after a kill: it finishes what it began.
    Raises UsageError for a number outside 1..N, FormatError for a file that is chunked or not ours.
    """
    path = Path(path)
    patches = list(_patches(path, num_images))
    descriptor = os.open(path, os.O_RDWR)
    try:
        for offset, value in patches:
            write_fully(descriptor, memoryview(struct.pack("<Q", value)), offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _patches(path: Path, num_images: int) -> Iterator[tuple[int, int]]:
    """(file offset, new 64-bit value) of everything to be overwritten, after checking all of it."""
    import h5py

    with h5py.File(path, "r", locking=False) as file, path.open("rb", buffering=0) as raw:
        if file.attrs.get(schema.ATTR_FORMAT) != schema.FORMAT_NAME:
            raise FormatError(f"{path}: not a file of this program")
        datasets = [item for item in file.values() if isinstance(item, h5py.Dataset)]
        datasets += list(file[schema.INDEX_GROUP].values())
        longest = max(dataset.shape[0] for dataset in datasets)
        if not 1 <= num_images <= longest:
            raise UsageError(f"{path}: cannot keep {num_images} of {longest} images")
        for dataset in datasets:
            if dataset.chunks is not None:
                raise FormatError(f"{path}: {dataset.name} is chunked; only contiguous files can be shrunk")
            where = f"{path}: {dataset.name}"
            header = dict(_messages(raw.fileno(), h5py.h5o.get_info(dataset.id).addr, where))
            space, layout = header.get(_SPACE_TYPE, 0), header.get(_LAYOUT_TYPE, 0)
            _check_space(raw.fileno(), space, dataset.shape, where)
            _check_layout(raw.fileno(), layout, dataset.id.get_offset(), where)
            item_bytes = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
            yield space + _FIRST_DIMENSION_AT, num_images
            yield layout + _SIZE_AT, num_images * item_bytes


def _messages(descriptor: int, address: int, where: str) -> Iterator[tuple[int, int]]:
    """(type, file offset of the body) of every message of a version 1 object header, continued ones too."""
    version, _, _, header_bytes = _PREFIX.unpack(os.pread(descriptor, _PREFIX.size, address))
    if version != _HEADER_VERSION:
        raise FormatError(f"{where}: object header of version {version}, expected {_HEADER_VERSION}")
    parts = [(address + _PREFIX.size, header_bytes)]
    for start, length in parts:  # grows while it is gone through
        position = start
        while position + _MESSAGE.size <= start + length:
            kind, size, _ = _MESSAGE.unpack(os.pread(descriptor, _MESSAGE.size, position))
            body = position + _MESSAGE.size
            if kind == _CONTINUATION_TYPE:
                parts.append(_CONTINUATION.unpack(os.pread(descriptor, _CONTINUATION.size, body)))
            yield kind, body
            position = body + size


def _check_space(descriptor: int, body: int, shape: tuple[int, ...], where: str) -> None:
    found = _SPACE.unpack(os.pread(descriptor, _SPACE.size, body)) if body else ()
    if not body or (found[0], found[1], found[3]) != (_SPACE_VERSION, len(shape), shape[0]):
        raise FormatError(f"{where}: its dataspace is not stored as expected {found}; nothing was changed")


def _check_layout(descriptor: int, body: int, offset: int, where: str) -> None:
    found = _LAYOUT.unpack(os.pread(descriptor, _LAYOUT.size, body)) if body else ()
    if found[:3] != (_LAYOUT_VERSION, _CONTIGUOUS_CLASS, offset):
        raise FormatError(f"{where}: its layout is not stored as expected {found}; nothing was changed")
