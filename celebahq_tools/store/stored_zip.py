"""Zip archives of stored (uncompressed) members, written member by member so that writing can go on after a kill."""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can state: the same images give the same bytes
_ZIP_MODE = 0o644 << 16
_CRC_AT = 14  # of the CRC-32 in a local header (APPNOTE 4.3.7)


def zip_entry(name: str) -> zipfile.ZipInfo:
    """A member of a zip that is the same whenever and wherever it is written."""
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.create_system = 3  # Unix, wherever it is written
    entry.external_attr = _ZIP_MODE
    return entry


def stored_member(name: str, data: bytes) -> bytes:
    """Local header and bytes of a member."""
    entry = zip_entry(name)
    entry.file_size = entry.compress_size = len(data)
    entry.CRC = zlib.crc32(data)
    return entry.FileHeader(zip64=False) + data


def finish_zip(path: Path, names: Sequence[str], ends: NDArray[Any], last: tuple[str, str]) -> None:
    """Add the member `last` (name, text) and the directory to a file of stored members.

    names  of the members that are in the file
    ends   where each ends, (N,) bytes
    """
    with path.open("r+b") as file:
        entries = []
        for name, begin, end in zip(names, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            entry = zip_entry(name)
            entry.header_offset = begin
            entry.file_size = entry.compress_size = end - begin - len(stored_member(name, b""))
            file.seek(begin + _CRC_AT)
            (entry.CRC,) = struct.unpack("<I", file.read(4))
            entries.append(entry)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.filelist.extend(entries)
            archive.start_dir = int(ends[-1])
            archive.writestr(zip_entry(last[0]), last[1])
