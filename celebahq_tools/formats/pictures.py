"""Folders and zips of picture files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.decode import decode_picture, probe_picture
from celebahq_tools.errors import PictureError
from celebahq_tools.formats.collection import Collection, Columns, LazyList, digest_of
from celebahq_tools.formats.labels import LabelTable, label_columns, read_label_table
from celebahq_tools.names import printable
from celebahq_tools.pipeline.candidates import natural_key
from celebahq_tools.sources import Source, open_pictures_source
from celebahq_tools.trees import PictureReader

SNIFFED = 16
"""Pictures whose headers are looked at to tell the size of all."""


class PictureFiles:
    """Decodes picture files; the position is not used."""

    def __init__(self, files: PictureReader) -> None:
        self._files = files

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        return decode_picture(self._files.read(file), name=file)


def open_pictures(path: Path, labels: Path | None = None) -> Collection:
    """A folder or zip of pictures. Labels come from `labels`, a CSV or JSON file, else from the first sub-folder.

    Raises SourceError, UsageError.
    """
    return pictures_of(open_pictures_source(path), None if labels is None else read_label_table(labels))


def pictures_of(
    source: Source,
    table: LabelTable | None = None,
    kind: str = "images",
    *,
    labelled: bool = True,
    lossless: bool = False,
) -> Collection:
    """The pictures of a source, in the natural order of their names; `labelled` by folder where there is no table."""
    files = sorted(source.files, key=lambda file: natural_key(printable(file)))
    keys = LazyList(len(files), lambda number: printable(files[number]))
    columns = Columns()
    if table is not None:
        columns = label_columns(table, files)
    elif labelled:
        columns = folder_columns(files)
    return Collection(
        kind=kind,
        root=source.root,
        digest=digest_of(source.manifest_sha256, "" if table is None else table.digest),
        keys=keys,
        files=files,
        positions=LazyList(len(files), lambda _: 0),
        reader=PictureFiles(source.reader),
        natural_res=common_side(source.reader, files),
        lossless=lossless,
        columns=columns,
        notes=tuple(source.notes),
    )


def folder_columns(files: Sequence[str]) -> Columns:
    """Class numbers from the first folder of each path, in the order of the folders' names; -1 at the top."""
    folders = [printable(file.partition("/")[0]) if "/" in file else None for file in files]
    names = sorted({folder for folder in folders if folder is not None})
    if not names:
        return Columns()
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([-1 if folder is None else numbers[folder] for folder in folders], np.int64)
    return Columns(labels=labels, label_names=tuple(names))


def common_side(reader: PictureReader, files: Sequence[str]) -> int | None:
    """Side of the pictures if the first few are square and alike; damaged ones do not count."""
    sides: set[int | None] = set()
    for file in files[:SNIFFED]:
        try:
            info = probe_picture(reader.read(file), file)
        except PictureError:
            continue
        sides.add(info.width if info.width == info.height else None)
    return sides.pop() if len(sides) == 1 else None
