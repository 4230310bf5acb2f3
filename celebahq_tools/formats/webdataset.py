"""WebDataset tars: files of one image share their name up to the first dot; .cls, .txt and .json hold its label.

Tars are read in place, without unpacking: one pass over the headers, then every picture at its offset. Members with
absolute names or `..`, links and devices are refused or passed over; nothing is ever written.
"""

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.archives import MAX_MEMBER_BYTES
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.formats.collection import Collection, Columns, digest_of, file_digest
from celebahq_tools.formats.labels import class_columns, vector_columns
from celebahq_tools.names import one_line, printable
from celebahq_tools.sources import PICTURE_SUFFIXES

LABEL_ENDINGS = ("cls", "txt", "json")
LABEL_KEYS = ("label", "cls", "class")
MAX_LABEL_BYTES = 1 << 20
PACKED_HEADS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
PACKED_ENDINGS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
Label = str | int | float | list[float] | None


class TarPictures:
    """Pictures inside tars; the position is the offset of their bytes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`; `file` is TAR/MEMBER."""
        name, _, member = file.partition("/")
        path = self._root / name if self._root.is_dir() else self._root
        try:
            with path.open("rb") as opened:
                opened.seek(position)
                info = tarfile.TarInfo.frombuf(opened.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
                if info.size > MAX_MEMBER_BYTES:
                    raise PictureError("too-large", f"{path}: {printable(member)}: {info.size:,} bytes")
                data = opened.read(info.size)
        except (OSError, tarfile.TarError) as error:
            raise PictureError("unreadable", f"{path}: {printable(member)}: {one_line(error)}") from None
        return decode_picture(data, name=file)


@dataclass(slots=True)
class _Found:
    """What the headers of the tars say."""

    files: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)


def open_webdataset(path: Path) -> Collection:
    """A tar, or a folder of tars, in the order of their names. Raises SourceError."""
    tars = [path]
    if path.is_dir():
        items = sorted(path.iterdir())
        tars = [item for item in items if item.suffix == ".tar"]
        packed = next((item for item in items if item.name.lower().endswith(PACKED_ENDINGS)), None)
        if packed is not None:
            raise SourceError(_packed_message(packed, _packing(packed) or "gzip"))
    if not tars:
        raise SourceError(f"{path}: expected .tar files, found none")
    found = _Found()
    for tar in tars:
        _scan(tar, found)
    if not found.files:
        raise SourceError(f"{path}: no pictures in {len(tars)} tars")
    if len(set(found.keys)) != len(found.keys):
        raise SourceError(f"{path}: two pictures share a name in one tar; give each a name of its own")
    return Collection(
        kind="webdataset",
        root=path,
        digest=digest_of("webdataset", *map(file_digest, tars), *found.keys, str(found.offsets)),
        keys=found.keys,
        files=found.files,
        positions=np.array(found.offsets, np.int64),
        reader=TarPictures(path),
        natural_res=None,
        lossless=False,
        columns=_columns([found.labels.get(key) for key in found.keys]),
    )


def _packing(path: Path) -> str | None:
    """The program that packed a file, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(max(map(len, PACKED_HEADS)))
    except OSError:
        return None
    return next((program for magic, program in PACKED_HEADS.items() if head.startswith(magic)), None)


def _packed_message(path: Path, program: str) -> str:
    return (
        f"{path}: a compressed tar cannot be read in place, since a picture in it can only be reached through all "
        f"before it; unpack it with `{program} -d -k {path}` and give the .tar"
    )


def _scan(path: Path, found: _Found) -> None:
    program = _packing(path)
    if program is not None:
        raise SourceError(_packed_message(path, program))
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                _add(path, archive, member, found)
            end = archive.offset
            if end > path.stat().st_size:
                raise SourceError(f"{path}: truncated: a member ends at byte {end}; get it again")
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise SourceError(f"{path}: no plain tar, or damaged ({one_line(error)}); get it again") from None


def _add(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, found: _Found) -> None:
    name = member.name
    if name.startswith("/") or ".." in name.split("/"):
        raise SourceError(f"{path}: {printable(name)}: absolute names and '..' are not accepted in a tar")
    if not member.isreg() or member.issparse():
        return
    if member.size > MAX_MEMBER_BYTES:
        raise SourceError(f"{path}: {printable(name)} has {member.size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    key = f"{path.name}/{printable(folder + slash + stem)}"
    if f".{ending.rpartition('.')[2].lower()}" in PICTURE_SUFFIXES:
        found.files.append(f"{path.name}/{name}")
        found.offsets.append(member.offset_data - tarfile.BLOCKSIZE)
        found.keys.append(key)
    elif ending in LABEL_ENDINGS and member.size <= MAX_LABEL_BYTES:
        opened = archive.extractfile(member)
        label = _label(b"" if opened is None else opened.read(), ending)
        if label is not None:
            found.labels[key] = label


def _label(data: bytes, ending: str) -> Label:
    """A label file's content; None for what is no label, such as a caption."""
    try:
        text = data.decode("utf-8").strip()
        value = json.loads(text) if ending == "json" else text
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = next((value[key] for key in LABEL_KEYS if key in value), None)
    if isinstance(value, list) and value and all(isinstance(item, (int, float)) for item in value):
        return [float(item) for item in value]
    if ending == "txt" and not str(value).lstrip("-").isdecimal():
        return None
    return value if isinstance(value, (str, int, float)) else None


def _columns(labels: list[Label]) -> Columns:
    if all(label is None for label in labels):
        return Columns()
    width = next((len(label) for label in labels if isinstance(label, list)), None)
    if width is None:
        classes = class_columns([label for label in labels if not isinstance(label, list)])
        if classes is not None:
            return classes
        width = 1
    values = np.full((len(labels), width), np.nan, np.float32)
    for place, label in enumerate(labels):
        row = label if isinstance(label, list) else [label]
        try:
            values[place] = [np.nan if item is None else float(item) for item in row]
        except ValueError:
            raise SourceError(f"image {place}: label {str(label)[:40]!r} is unlike the others") from None
    return vector_columns(values)
