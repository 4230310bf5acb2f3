"""CelebA's aligned pictures, cropped as the authors crop them, and FFHQ."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.annotations import align_to, parse_attributes, parse_identities, parse_partition
from celebahq_tools.celeba import ANNOTATION_FOLDERS, ATTRIBUTES, IDENTITIES, PARTITION
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.formats.collection import Collection, Columns, digest_of
from celebahq_tools.formats.pictures import pictures_of
from celebahq_tools.names import printable
from celebahq_tools.sources import open_pictures_source
from celebahq_tools.trees import FolderTree, PictureReader, join

ALIGNED_SIZE = (178, 218)
CENTRE = (89, 121)
CROP = 128
"""The authors' CelebA: 128x128 pixels around (89, 121) of 178x218 (Karras et al. 2018, their create_celeba)."""

FFHQ_RES = 1024
FOLDERS = ("", "img_align_celeba", "img_align_celeba_png", "Img/img_align_celeba", "Img/img_align_celeba_png")


class AlignedFaces:
    """The crops of CelebA's aligned pictures."""

    def __init__(self, files: PictureReader) -> None:
        self._files = files

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        pixels = decode_picture(self._files.read(file), name=file, apply_orientation=False)
        height, width = pixels.shape[:2]
        if (width, height) != ALIGNED_SIZE:
            raise PictureError("wrong-size", f"{printable(file)}: expected 178x218 pixels, found {width}x{height}")
        left, top = CENTRE[0] - CROP // 2, CENTRE[1] - CROP // 2
        return np.ascontiguousarray(pixels[top : top + CROP, left : left + CROP])


def open_celeba_aligned(path: Path) -> Collection:
    """img_align_celeba (or its PNG version), a zip of it or a CelebA root, with what annotations are beside it."""
    folder = path
    if path.is_dir():
        places = [path / name for name in FOLDERS[1:] if (path / name).is_dir()]
        zips = [path / f"{name}.zip" for name in FOLDERS[1:] if (path / f"{name}.zip").is_file()]
        folder = next(iter(places + zips), path)
    source = open_pictures_source(folder)
    plain = pictures_of(source, kind="celeba-aligned")
    names = np.array([file.rpartition("/")[2].encode("utf-8", "surrogateescape") for file in plain.files])
    columns, notes, digests = _annotations(path, names)
    left, top = CENTRE[0] - CROP // 2, CENTRE[1] - CROP // 2
    return Collection(
        kind="celeba-aligned",
        root=path,
        digest=digest_of(plain.digest, *digests, left, top, CROP),
        keys=plain.keys,
        files=plain.files,
        positions=plain.positions,
        reader=AlignedFaces(source.reader),
        natural_res=CROP,
        lossless=True,
        columns=columns,
        notes=(*plain.notes, *notes),
    )


def open_ffhq(path: Path) -> Collection:
    """FFHQ's images1024x1024 (folders of a thousand) or thumbnails128x128. Raises SourceError."""
    plain = pictures_of(open_pictures_source(path), kind="ffhq", labelled=False)
    if plain.natural_res is None:
        raise SourceError(f"{path}: expected square pictures of one size; give images1024x1024 or thumbnails128x128")
    return plain


def _annotations(path: Path, names: NDArray[np.bytes_]) -> tuple[Columns, list[str], list[bytes]]:
    """Columns from the annotation files that are there, in the order of `names`."""
    roots = [FolderTree(base) for base in (path, path.parent, path.parent.parent) if base.is_dir()]
    read: dict[str, NDArray[np.int32]] = {}
    attribute_names: tuple[str, ...] = ()
    notes: list[str] = []
    digests: list[bytes] = []
    parsers = {ATTRIBUTES: parse_attributes, IDENTITIES: parse_identities, PARTITION: parse_partition}
    for name, parser in parsers.items():
        found = next(
            (
                (tree, join(folder, name))
                for tree in roots
                for folder in ANNOTATION_FOLDERS
                if tree.has_file(join(folder, name))
            ),
            None,
        )
        if found is None:
            notes.append(f"without {name}: not found beside the pictures")
            continue
        data = found[0].read(found[1])
        digests.append(data)
        table = parser(data, found[0].shown(found[1]))
        stems = _with_endings(names, table.names)
        read[name] = align_to(table, stems)
        if name == ATTRIBUTES:
            attribute_names = table.columns
    columns = Columns(
        attributes=read[ATTRIBUTES].astype(np.int8) if ATTRIBUTES in read else None,
        attribute_names=attribute_names,
        identity=read[IDENTITIES][:, 0].astype(np.int64) if IDENTITIES in read else None,
        partition=read[PARTITION][:, 0].astype(np.int8) if PARTITION in read else None,
    )
    return columns, notes, digests


def _with_endings(names: NDArray[np.bytes_], table: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """`names` with the ending that the annotations use: the PNG version is annotated as .jpg."""
    if len(table) and table[0].endswith(b".jpg"):
        return np.array([bytes(name).rpartition(b".")[0] + b".jpg" for name in names])
    return names
