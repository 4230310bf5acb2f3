"""TFRecord files and the tf.train.Example messages in them, without TensorFlow.

A record is its length (u64, little endian), the masked CRC-32C of that, the payload and its masked CRC-32C; mask:
rotate right by 15 bits, add 0xa282ead8. An Example is protobuf: field 1 Features, whose field 1 is a map entry
(1 key, 2 Feature), whose Feature holds a BytesList (1), FloatList (2) or Int64List (3) with field 1 repeated.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from celebahq_tools.errors import FormatError, MissingDependencyError
from celebahq_tools.names import one_line

HEAD_BYTES, FOOT_BYTES = 12, 4
MAX_RECORD_BYTES = 64 << 20
MAX_FEATURES = 64

Feature = list[bytes] | list[int]
_MASK = 0xA282EAD8
_VARINT_BYTES = 10


def masked_crc(data: bytes) -> int:
    """The checksum as TFRecord files have it. Raises MissingDependencyError."""
    try:
        import google_crc32c
    except ImportError:
        raise MissingDependencyError(
            "TFRecords need the package google-crc32c: pip install 'celebahq-tools[formats]'"
        ) from None
    crc = google_crc32c.value(data)
    return int((((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF)


def framed(payload: bytes) -> bytes:
    """One record."""
    head = struct.pack("<Q", len(payload))
    return head + struct.pack("<I", masked_crc(head)) + payload + struct.pack("<I", masked_crc(payload))


def scan(path: Path) -> Iterator[int]:
    """Offsets of the records of a file; checks the lengths, not the payloads. Raises FormatError."""
    size = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while offset < size:
            length = _length(file, offset, path)
            end = offset + HEAD_BYTES + length + FOOT_BYTES
            if end > size:
                raise FormatError(f"{path}: truncated: the record at byte {offset} ends at {end}, the file at {size}")
            yield offset
            offset = end


def read_record(file: BinaryIO, offset: int, path: Path) -> bytes:
    """The payload of the record at `offset`; raises FormatError if it is damaged."""
    length = _length(file, offset, path)
    payload, foot = file.read(length), file.read(FOOT_BYTES)
    if len(foot) != FOOT_BYTES or struct.unpack("<I", foot)[0] != masked_crc(payload):
        raise FormatError(f"{path}: the record at byte {offset} does not match its checksum; get the file again")
    return payload


def _length(file: BinaryIO, offset: int, path: Path) -> int:
    file.seek(offset)
    head = file.read(HEAD_BYTES)
    if len(head) != HEAD_BYTES:
        raise FormatError(f"{path}: truncated in the header of the record at byte {offset}")
    length, crc = struct.unpack("<QI", head)
    if crc != masked_crc(head[:8]):
        raise FormatError(f"{path}: no TFRecord at byte {offset}: its length does not match its checksum")
    if length > MAX_RECORD_BYTES:
        raise FormatError(f"{path}: a record of {length:,} bytes at byte {offset}, more than {MAX_RECORD_BYTES:,}")
    return int(length)


def parse_example(payload: bytes, where: str) -> dict[str, Feature]:
    """Features of an Example by name, byte and integer ones; raises FormatError for damaged messages."""
    found: dict[str, Feature] = {}
    try:
        for field, features in _fields(payload):
            if field != 1 or not isinstance(features, bytes):
                continue
            for entry_field, entry in _fields(features):
                if entry_field == 1 and isinstance(entry, bytes):
                    name, feature = _entry(entry)
                    found[name] = feature
                    if len(found) > MAX_FEATURES:
                        raise ValueError("too many features")
    except (ValueError, IndexError) as error:
        raise FormatError(f"{where}: no tf.train.Example ({one_line(error)})") from None
    return found


def example_of(shape: tuple[int, ...], data: bytes) -> bytes:
    """An Example with `shape` (Int64List, packed) and `data` (BytesList)."""
    sizes = _message(1, b"".join(_varint(size) for size in shape))
    features = _feature("shape", _message(3, sizes)) + _feature("data", _message(1, _message(1, data)))
    return _message(1, features)


def _feature(name: str, feature: bytes) -> bytes:
    return _message(1, _message(1, name.encode()) + _message(2, feature))


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _entry(data: bytes) -> tuple[str, Feature]:
    fields = dict(_fields(data))
    name, feature = fields.get(1, b""), fields.get(2, b"")
    if not isinstance(name, bytes) or not isinstance(feature, bytes):
        raise ValueError("a map entry without key or value")
    for kind, body in _fields(feature):
        if kind == 1 and isinstance(body, bytes):
            return name.decode("utf-8"), [value for field, value in _fields(body) if isinstance(value, bytes)]
        if kind == 3 and isinstance(body, bytes):
            return name.decode("utf-8"), _integers(body)
    return name.decode("utf-8"), []


def _integers(body: bytes) -> list[int]:
    values: list[int] = []
    for field, value in _fields(body):
        if field != 1:
            continue
        if isinstance(value, int):
            values.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _read_varint(value, at)
            values.append(number)
    return values


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Field numbers and values of a message: bytes for wire type 2, integers for 0, 1 and 5."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield field, value
        elif kind in (1, 2, 5):
            size, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _read_varint(data, at)
            if at + size > len(data):
                raise ValueError("a field longer than its message")
            yield field, data[at : at + size] if kind == 2 else int.from_bytes(data[at : at + size], "little")
            at += size
        else:
            raise ValueError(f"wire type {kind}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_BYTES):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("an integer of more than 64 bits")
