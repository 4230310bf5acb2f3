"""Files below a folder or inside a zip, seen the same way: relative names with `/`, sizes, bytes."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from celebahq_tools.archives import MAX_MEMBER_BYTES, ZipFiles, list_zip, shown
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.names import one_line, printable

HIDDEN_PREFIX = "."
SKIPPED_FOLDERS = ("__MACOSX",)
"""Folders that hold shadows of files, put into zips by macOS."""


class PictureReader(Protocol):
    """Reads files of a source by name. Light and picklable: workers get a copy and open files themselves."""

    def read(self, file: str) -> bytes:
        """Bytes of `file`; raises `PictureError` (`missing`, `too-large`, `unreadable`)."""
        ...


class FolderReader:
    """Reads files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, file: str) -> bytes:
        """See `PictureReader.read`."""
        path = self.root / file
        try:
            size = path.stat().st_size
            if size > MAX_MEMBER_BYTES:
                raise PictureError("too-large", f"{printable(file)}: {size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
            return path.read_bytes()
        except FileNotFoundError:
            raise PictureError("missing", f"{printable(file)}: no longer in {shown(self.root)}") from None
        except OSError as error:
            raise PictureError(
                "unreadable", f"{printable(file)}: cannot be read ({error.strerror or one_line(error)})"
            ) from None


class ZipReader:
    """Reads members of a zip whose names begin with `prefix`."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        self.files = ZipFiles(path)
        self.prefix = prefix

    def read(self, file: str) -> bytes:
        """See `PictureReader.read`."""
        return self.files.read(self.prefix + file)


class Tree(Protocol):
    """A folder or a zip to look for a source's files in; `where` names are relative, "" is the root."""

    path: Path

    def has_file(self, name: str) -> bool:
        """Whether the file exists."""
        ...

    def has_folder(self, name: str) -> bool:
        """Whether the folder exists and holds anything."""
        ...

    def names_in(self, folder: str) -> list[str]:
        """Names directly in a folder, sorted; empty where there is no such folder."""
        ...

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """All visible files at any depth below `folder`: name relative to it, size in bytes; any order."""
        ...

    def read(self, name: str) -> bytes:
        """Bytes of a file; raises `SourceError`."""
        ...

    def reader(self, folder: str) -> PictureReader:
        """A reader of the files below `folder`."""
        ...

    def shown(self, name: str) -> str:
        """The full name of a file for messages."""
        ...


class FolderTree:
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has_file(self, name: str) -> bool:
        """See `Tree.has_file`."""
        return (self.path / name).is_file()

    def has_folder(self, name: str) -> bool:
        """See `Tree.has_folder`."""
        try:
            with os.scandir(self.path / name) as entries:
                return next(entries, None) is not None
        except OSError:
            return False

    def names_in(self, folder: str) -> list[str]:
        """See `Tree.names_in`."""
        try:
            return sorted(entry.name for entry in (self.path / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise SourceError(f"{self.shown(folder)}: cannot be listed ({error.strerror})") from None

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Tree.walk`; follows links to folders, each real folder once."""
        yield from _walk(self.path / folder, "", set())

    def read(self, name: str) -> bytes:
        """See `Tree.read`."""
        try:
            return FolderReader(self.path).read(name)
        except PictureError as error:
            raise SourceError(str(error)) from None

    def reader(self, folder: str) -> PictureReader:
        """See `Tree.reader`."""
        return FolderReader(self.path / folder)

    def shown(self, name: str) -> str:
        """See `Tree.shown`."""
        return shown(self.path / name)


class ZipTree:
    """The inside of a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members = {member.name: member.size for member in list_zip(path) if not member.is_link}
        self._folders = {
            str(parent) for name in self._members for parent in PurePosixPath(name).parents if parent.parts
        }

    def has_file(self, name: str) -> bool:
        """See `Tree.has_file`."""
        return name in self._members

    def has_folder(self, name: str) -> bool:
        """See `Tree.has_folder`."""
        return name in self._folders or (not name and bool(self._members))

    def names_in(self, folder: str) -> list[str]:
        """See `Tree.names_in`."""
        prefix = f"{folder}/" if folder else ""
        names = [*self._members, *self._folders]
        return sorted({_first(name[len(prefix) :]) for name in names if name.startswith(prefix)})

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Tree.walk`."""
        prefix = f"{folder}/" if folder else ""
        for name, size in self._members.items():
            rest = name[len(prefix) :]
            if name.startswith(prefix) and not any(map(is_hidden, rest.split("/"))):
                yield rest, size

    def read(self, name: str) -> bytes:
        """See `Tree.read`."""
        try:
            return ZipFiles(self.path).read(name)
        except PictureError as error:
            raise SourceError(str(error)) from None

    def reader(self, folder: str) -> PictureReader:
        """See `Tree.reader`."""
        return ZipReader(self.path, f"{folder}/" if folder else "")

    def shown(self, name: str) -> str:
        """See `Tree.shown`."""
        return f"{shown(self.path)}: {printable(name)}" if name else shown(self.path)


def is_hidden(part: str) -> bool:
    """Whether a file or folder name is one that people do not mean."""
    return part.startswith(HIDDEN_PREFIX) or part in SKIPPED_FOLDERS


def join(*parts: str) -> str:
    """Join relative names, leaving out empty ones."""
    return "/".join(part for part in parts if part)


def _first(name: str) -> str:
    return name.split("/", 1)[0]


def _walk(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Files below `folder` in sorted order; `seen` holds device and inode of folders entered."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{shown(folder)}: cannot be listed ({error.strerror})") from None
    for entry in _visible(entries):
        try:
            mode = entry.stat()
        except OSError:  # a link to nothing: reading it would fail, so it is no file
            continue
        if stat.S_ISDIR(mode.st_mode):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", seen)
        elif stat.S_ISREG(mode.st_mode):
            yield prefix + entry.name, mode.st_size


def _visible(entries: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in entries if not is_hidden(entry.name))
