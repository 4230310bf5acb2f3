"""Reading zip files from strangers: names, sizes and encryption are checked before any member is read.

Nothing is ever extracted to disk; members are decompressed into memory one at a time and never beyond the
size that the directory declares.
"""

import lzma
import os
import threading
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.names import one_line, printable
from celebahq_tools.sniff import HEAD_BYTES, describe_content, is_seven_zip, sniff_format

MAX_MEMBER_BYTES = 512 << 20
"""Largest single file read into memory, in a zip or in a folder."""

MAX_TOTAL_BYTES = 1 << 40
"""Most that a zip may hold in all; CelebA's in-the-wild pictures are about 10 GB."""

MAX_RATIO = 200
"""Most that a member may grow on decompression; pictures are compressed already and grow by about one."""

RATIO_FLOOR_BYTES = 16 << 20
"""Members smaller than this may grow by any ratio: blank bitmaps and text do, and do no harm."""

ENCRYPTED_FLAG = 0x1
SYMLINK_TYPE = 0o120000
TYPE_MASK = 0o170000
_SUPPORTED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    NotImplementedError,
)
"""What `zipfile` raises on damaged archives and members (`UnicodeDecodeError` is a `ValueError`)."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: name inside, size in bytes after decompression, whether it is a link."""

    name: str
    size: int
    is_link: bool = False


def list_zip(path: Path) -> list[Member]:
    """Read and check the directory of a zip; raises `SourceError` on the first thing that is not right."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except FileNotFoundError:
        raise SourceError(f"{shown(path)}: no such file") from None
    except _BROKEN as error:
        raise _broken_directory(path, error) from None
    seen: set[str] = set()
    total = 0
    for info in infos:
        _check_member(path, info)
        if info.filename in seen:
            raise SourceError(
                f"{shown(path)}: the name {printable(info.filename)} occurs twice in the zip; pack it again"
            )
        seen.add(info.filename)
        total += info.file_size
        if total > MAX_TOTAL_BYTES:
            raise SourceError(
                f"{shown(path)}: its members expand beyond {MAX_TOTAL_BYTES >> 30} GiB; not read (zip bomb?)"
            )
    return [
        Member(info.filename, info.file_size, (info.external_attr >> 16) & TYPE_MASK == SYMLINK_TYPE)
        for info in infos
        if not info.is_dir()
    ]


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    name, where = info.filename, f"{shown(path)}, member {printable(info.filename)}"
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise SourceError(f"{where}: absolute names and '..' are not accepted in a zip; pack it again")
    if info.flag_bits & ENCRYPTED_FLAG:
        raise SourceError(f"{where}: it is encrypted; unpack the zip with its password and give the folder")
    if info.compress_type not in _SUPPORTED:
        raise SourceError(f"{where}: compression method {info.compress_type} is not supported; pack it with deflate")
    if info.file_size > MAX_MEMBER_BYTES:
        raise SourceError(
            f"{where}: expands to {info.file_size:,} bytes, more than {MAX_MEMBER_BYTES:,}; not read (zip bomb?)"
        )
    if info.file_size > RATIO_FLOOR_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise SourceError(
            f"{where}: expands {info.file_size // max(info.compress_size, 1)} times, more than {MAX_RATIO};"
            " not read (zip bomb?)"
        )


class ZipFiles:
    """Members of a zip by name. Light and picklable; every process opens the file for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None
        self._owner = 0

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, state: Path) -> None:
        self.path = state
        self._lock = threading.Lock()
        self._archive = None
        self._owner = 0

    def read(self, name: str) -> bytes:
        """Bytes of a member; raises `PictureError` with reason `missing`, `too-large` or `unreadable`."""
        try:
            archive = self._opened()
            info = archive.getinfo(name)
            if info.file_size > MAX_MEMBER_BYTES:
                raise PictureError("too-large", f"{printable(name)}: {info.file_size:,} bytes")
            with archive.open(info) as member:
                data = member.read(info.file_size + 1)
        except KeyError:
            raise PictureError("missing", f"{printable(name)}: not in {shown(self.path)}") from None
        except _BROKEN as error:
            raise PictureError(
                "unreadable", f"{printable(name)}: damaged in {shown(self.path)} ({one_line(error)})"
            ) from None
        if len(data) != info.file_size:
            raise PictureError(
                "unreadable",
                f"{printable(name)}: expected {info.file_size:,} bytes in {shown(self.path)}, found {len(data):,}",
            )
        return data

    def _opened(self) -> zipfile.ZipFile:
        """The archive opened by this very process: a file position must not be shared over fork."""
        with self._lock:
            if self._archive is None or self._owner != os.getpid():
                self._archive = zipfile.ZipFile(self.path)
                self._owner = os.getpid()
            return self._archive

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        with self._lock:
            if self._archive is not None and self._owner == os.getpid():
                self._archive.close()
            self._archive = None


def shown(path: Path) -> str:
    """`path` for a message."""
    return printable(str(path))


def _broken_directory(path: Path, error: Exception) -> SourceError:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as reading:
        return SourceError(f"{shown(path)}: cannot be read ({one_line(reading)})")
    if is_seven_zip(head):
        return SourceError(seven_zip_message(path))
    if not head.startswith(b"PK"):
        return SourceError(
            f"{shown(path)}: expected a folder or a zip archive, found {_found(head)}; give the folder that holds"
            " the pictures"
        )
    if isinstance(error, UnicodeDecodeError):
        return SourceError(f"{shown(path)}: a name in the zip is no UTF-8 although marked so; pack it again")
    return SourceError(
        f"{shown(path)}: the zip's directory is damaged or cut off ({one_line(error)}); get the file again"
    )


def _found(head: bytes) -> str:
    """Words for a file that was expected to be a zip."""
    picture = sniff_format(head)
    if not head:
        return "a file of zero bytes"
    if picture is not None:
        return f"a single picture ({picture})"
    kind, words = describe_content(head)
    return words if kind != "unknown" else f"a file that starts with {words}"


def seven_zip_message(path: Path) -> str:
    """What to do about a 7z archive, whole or in volumes."""
    return (
        f"{shown(path)}: 7z archives are not read directly; unpack it first with"
        f" `7z x {shown(path)} -o{shown(path.parent)}` and give the folder"
    )
