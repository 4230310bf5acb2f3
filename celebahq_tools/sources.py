"""Where pictures come from: a CelebA root, or any folder or zip of photographs.

`open_source` looks at what is there and says in one line what is missing. A `Source` lists its pictures in a
fixed order, reads them through a light reader that workers can be sent, and knows CelebA's annotations.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

from celebahq_tools.archives import seven_zip_message, shown
from celebahq_tools.celeba import Annotations, CelebALayout, find_celeba, read_annotations
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.names import printable
from celebahq_tools.records import Record
from celebahq_tools.sniff import HEAD_BYTES, is_seven_zip
from celebahq_tools.trees import FolderTree, PictureReader, Tree, ZipTree

PICTURE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pnm",
    )
)
"""Files taken for pictures; everything else is counted in the notes and left alone."""

SHOWN_KINDS = 5
POINTS, AXES = 5, 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """Pictures and what is known about them.

    kind             `celeba` (annotated) or `photos`
    root             the folder or zip as given
    files            names of the pictures, `/` between folders, sorted by bytes; in a CelebA root relative to
                     the folder of pictures, whatever that is called
    reader           reads them; light, picklable, fork safe
    attribute_names  names of the attributes in `Record.attributes`, empty where unknown
    manifest_sha256  SHA-256 over the annotation files and every picture's name and size
    notes            what a person should know, a line each
    """

    kind: Literal["celeba", "photos"]
    root: Path
    files: tuple[str, ...]
    reader: PictureReader
    manifest_sha256: str
    attribute_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    annotations: Annotations | None = None

    def read(self, file: str) -> bytes:
        """Bytes of a picture; raises `PictureError` (`missing`, `too-large`, `unreadable`)."""
        return self.reader.read(file)

    def record(self, file: str) -> Record | None:
        """CelebA's annotation of a picture; None in a source of photographs and where there is none.

        Landmarks are as in CelebA's file: whole pixels in the picture as it is stored, before any EXIF
        orientation.
        """
        if self.annotations is None:
            return None
        notes = self.annotations
        row = notes.landmarks.row(file)
        if row is None:
            return None
        points = notes.landmarks.values[row].reshape(POINTS, AXES)
        return Record(
            key=printable(file),
            file=file,
            landmarks=points.astype(np.float64),
            identity=None if notes.identities is None else int(notes.identities[row]),
            attributes=None if notes.attributes is None else tuple(notes.attributes[row].tolist()),
            partition=None if notes.partition is None else int(notes.partition[row]),
        )

    def require_record(self, file: str) -> Record:
        """Like `record`; raises `PictureError` with reason `no-landmarks` where there is none."""
        record = self.record(file)
        if record is None:
            where = "its source" if self.annotations is None else self.annotations.landmarks.path
            raise PictureError("no-landmarks", f"{printable(file)}: no row in {where}")
        return record


def open_source(path: Path | str) -> Source:
    """Open a CelebA root, or a folder or zip of photographs; raises `SourceError` saying what is wrong.

    A place counts as CelebA where it has `img_celeba`, CelebA's aligned pictures or its landmark file.
    """
    path = Path(path)
    tree = _tree(path)
    layout = find_celeba(tree)
    return _open_photos(tree) if layout is None else _open_celeba(path, layout)


def open_pictures_source(path: Path | str) -> Source:
    """Open a folder or zip of pictures as such, even where it is part of a CelebA release; raises `SourceError`."""
    return _open_photos(_tree(Path(path)))


def _tree(path: Path) -> Tree:
    if path.is_dir():
        return FolderTree(path)
    if not path.is_file():
        raise SourceError(f"{shown(path)}: no such folder or zip file; check the path given as the source")
    if is_seven_zip(_head(path)):
        raise SourceError(seven_zip_message(path))
    return ZipTree(path)


@contextmanager
def open_sample() -> Iterator[Source]:
    """Open the sample that ships with the package, a miniature CelebA root.

    A context manager, because a package imported from a zip must be unpacked for the time of use.
    """
    with resources.as_file(resources.files("celebahq_tools") / "sample" / "celeba") as root:
        yield open_source(root)


def _open_celeba(root: Path, layout: CelebALayout) -> Source:
    sizes, skipped = _list_pictures(layout.pictures, layout.folder)
    if not sizes:
        raise SourceError(
            f"{layout.pictures.shown(layout.folder)}: expected CelebA's pictures (000001.jpg, ...), found"
            " none; unpack img_celeba.7z there"
        )
    annotations, notes, digests = read_annotations(layout)
    files = _sorted(sizes)
    annotated = annotations.landmarks.count_known(files)
    total = len(annotations.landmarks.names)
    if annotated < total:
        notes.append(f"{annotated:,} of {total:,} annotated pictures are there")
    if annotated < len(files):
        notes.append(f"{len(files) - annotated:,} pictures have no landmarks and will be rejected")
    return Source(
        kind="celeba",
        root=root,
        files=files,
        reader=layout.pictures.reader(layout.folder),
        manifest_sha256=_manifest_sha256(digests, files, sizes),
        attribute_names=annotations.attribute_names,
        notes=notes + _skip_notes(skipped),
        annotations=annotations,
    )


def _open_photos(tree: Tree) -> Source:
    sizes, skipped = _list_pictures(tree, "")
    if not sizes:
        found = ", ".join(_kinds(skipped)) or "nothing"
        raise SourceError(
            f"{shown(tree.path)}: expected pictures ({', '.join(sorted(PICTURE_SUFFIXES))}), found {found}"
        )
    files = _sorted(sizes)
    return Source(
        kind="photos",
        root=tree.path,
        files=files,
        reader=tree.reader(""),
        manifest_sha256=_manifest_sha256({}, files, sizes),
        notes=_skip_notes(skipped),
    )


def _list_pictures(tree: Tree, folder: str) -> tuple[dict[str, int], Counter[str]]:
    """Sizes of the pictures below a folder by name, and how many files of other endings were passed over."""
    sizes: dict[str, int] = {}
    skipped: Counter[str] = Counter()
    for name, size in tree.walk(folder):
        suffix = _suffix(name)
        if suffix in PICTURE_SUFFIXES:
            sizes[name] = size
        else:
            skipped[suffix] += 1
    return sizes, skipped


def _suffix(name: str) -> str:
    """Ending of the last part of `name` in lower case, with its dot; empty where there is none."""
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return base[dot:].lower() if dot > 0 else ""


def _sorted(names: dict[str, int]) -> tuple[str, ...]:
    """Names in the order of their bytes: the same on every machine and in every locale."""
    return tuple(sorted(names, key=_bytes))


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _skip_notes(skipped: Counter[str]) -> list[str]:
    if not skipped:
        return []
    return [f"{skipped.total():,} files are no pictures by their names ({', '.join(_kinds(skipped))})"]


def _kinds(skipped: Counter[str]) -> list[str]:
    ranked = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count:,} {printable(suffix) or 'without ending'}" for suffix, count in ranked[:SHOWN_KINDS]]
    return kinds + ["..."] * (len(ranked) > SHOWN_KINDS)


def _manifest_sha256(digests: dict[str, bytes], files: tuple[str, ...], sizes: dict[str, int]) -> str:
    """SHA-256 over (name, SHA-256 of the bytes) of annotations, then (name, size) of pictures."""
    digest = hashlib.sha256()
    for name in sorted(digests):
        digest.update(_bytes(name) + b"\0" + digests[name])
    for name in files:
        digest.update(_bytes(name) + b"\0" + sizes[name].to_bytes(8, "little"))
    return digest.hexdigest()


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise SourceError(f"{shown(path)}: cannot be read ({error.strerror})") from None
