"""Checksums of PNG files, which Pillow does not compare for the picture data."""

import struct
import zlib

SIGNATURE_BYTES = 8
HEAD, TAIL = 8, 4
CRITICAL = 0x20
"""Bit of the first letter of a chunk's name that is not set in chunks a picture cannot do without."""


def damaged_chunk(data: bytes) -> str | None:
    """The name of the first whole critical chunk that does not match its CRC-32 (PNG, 5.3), or None.

    data  a PNG file; one that is cut off is checked as far as it goes
    """
    at, view = SIGNATURE_BYTES, memoryview(data)
    while at + HEAD + TAIL <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + HEAD + length
        if end + TAIL > len(data):
            return None
        name = bytes(view[at + 4 : at + HEAD])
        if not name[0] & CRITICAL and zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return name.decode("ascii", "backslashreplace")
        if name == b"IEND":
            return None
        at = end + TAIL
    return None
