"""Write images of a pyramid as PNG or WebP files, bit for bit, into a folder or a zip, with a table of the index."""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import UsageError
from celebahq_tools.store import schema
from celebahq_tools.store.create import disk_errors
from celebahq_tools.store.growing import JOURNAL_SUFFIX, GrowingFiles
from celebahq_tools.store.reader import PyramidReader
from celebahq_tools.store.stored_zip import finish_zip, stored_member
from celebahq_tools.store.workers import ordered_map

ProgressFn = Callable[[int, int], None]
PictureFormat = Literal["png", "webp"]

INDEX_NAME = "index.csv"
PNG_COMPRESSION = 3
"""zlib level: half the time of Pillow's default 6 for files a few percent larger."""

WEBP_EFFORT = 20
"""Effort of lossless compression, 0 to 100; what it saves beyond is a few percent."""

_MIN_DIGITS = 5


def export_images(
    reader: PyramidReader,
    *,
    to: str | os.PathLike[str],
    res: int | None = None,
    ids: Sequence[int] | None = None,
    jobs: int = 1,
    progress: ProgressFn | None = None,
    picture: PictureFormat = "png",
    overwrite: bool = False,
) -> int:
    """Write images `ids` (None: all) of level `res` (None: the finest) to `to`; returns how many.

    Files are named by image number, `00000.png`, and listed in `index.csv`. A name ending in `.zip` makes a
    zip, stored uncompressed, that appears when it is complete. The same call resumes: in a folder, pictures that
    are there already with the same pixels are left as they are; a zip goes on after its last whole picture.
    overwrite  drop what an unfinished export to this zip with other arguments left
    Raises UsageError for ids or a level outside the file and for an unfinished zip of other images, BusyError,
    DiskSpaceError when the disk is full.
    """
    res, numbers = chosen_images(reader, res, ids)
    if picture not in _ENCODERS:
        raise UsageError(f"picture format {picture!r}: use png or webp")
    to = Path(to)
    with disk_errors(to):
        if to.suffix.lower() == ".zip":
            _write_zip(reader, res, numbers, to, jobs, progress, picture, overwrite)
        else:
            _write_folder(reader, res, numbers, to, jobs, progress, picture)
    return len(numbers)


def chosen_images(reader: PyramidReader, res: int | None, ids: Sequence[int] | None) -> tuple[int, list[int]]:
    """The level and the image numbers that are meant, checked. Raises UsageError."""
    res = reader.resolution if res is None else res
    if res not in reader.levels:
        raise UsageError(f"{reader.path}: no level {res}; it has {', '.join(map(str, reader.levels))}")
    numbers = list(range(len(reader)) if ids is None else ids)
    for number in numbers:
        if not 0 <= number < len(reader):
            raise UsageError(f"{reader.path}: no image {number}; it has 0..{len(reader) - 1}")
    if len(set(numbers)) != len(numbers):
        raise UsageError("an image is asked for twice; give each number once")
    if not numbers:
        raise UsageError("no images asked for")
    return res, numbers


def encode_webp(image: NDArray[np.uint8]) -> bytes:
    """One image, (3, r, r) uint8, as a lossless WebP file."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.save(buffer, format="WEBP", lossless=True, quality=WEBP_EFFORT, method=0, exact=True)
    return buffer.getvalue()


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """One image, (3, r, r) uint8, as a PNG file of 8-bit RGB."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.save(buffer, format="PNG", compress_level=PNG_COMPRESSION)
    return buffer.getvalue()


_ENCODERS: Mapping[PictureFormat, Callable[[NDArray[np.uint8]], bytes]] = {"png": encode_png, "webp": encode_webp}


def picture_name(number: int, num_images: int, picture: PictureFormat = "png") -> str:
    """File name of an image: its number, of equal width for all images of a file."""
    return f"{number:0{max(_MIN_DIGITS, len(str(num_images - 1)))}d}.{picture}"


def index_table(reader: PyramidReader, numbers: Sequence[int], picture: PictureFormat = "png") -> str:
    """The index rows of `numbers` as CSV, one line per picture; empty cells where something is unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    points = [f"quad{k}_{axis}" for k in range(schema.QUAD_SHAPE[0]) for axis in "xy"]
    points += [f"landmark{k}_{axis}" for k in range(schema.LANDMARKS_SHAPE[0]) for axis in "xy"]
    header = ["number", "picture", "key", "file", "quality", "identity", "partition", "label", "sha256"]
    if not reader.has_index:
        writer.writerow(header[:2])
        writer.writerows((number, picture_name(number, len(reader), picture)) for number in numbers)
        return text.getvalue()
    writer.writerow([*header, *points, *reader.attribute_names, *reader.vector_names])
    for number in numbers:
        row = reader.index.row(number)
        cells: list[Any] = [number, picture_name(number, len(reader), picture), row.key, row.file]
        cells += [row.quality, row.identity, row.partition, row.label, row.sha256]
        cells += _cells(row.quad, schema.QUAD_SHAPE) + _cells(row.landmarks, schema.LANDMARKS_SHAPE)
        cells += row.attributes or [""] * len(reader.attribute_names)
        cells += row.vector or [""] * len(reader.vector_names)
        writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def _cells(points: NDArray[np.float64] | None, shape: tuple[int, int]) -> list[Any]:
    return [""] * (shape[0] * shape[1]) if points is None else points.ravel().tolist()


def export_header(reader: PyramidReader, kind: str, res: int, numbers: Sequence[int]) -> dict[str, Any]:
    """What decides the bytes of an export, for its journal. Pillow is named because it packs the pictures."""
    import PIL

    return {
        "format": kind,
        "res": res,
        "source": reader.fingerprint(),
        "images": len(numbers),
        "numbers": hashlib.sha256(np.asarray(numbers, "<i8").tobytes()).hexdigest(),
        "pillow": PIL.__version__,
    }


def fill(
    files: GrowingFiles,
    encode: Callable[[int], Sequence[bytes]],
    count: int,
    *,
    jobs: int,
    progress: ProgressFn | None,
) -> None:
    """Append what `encode` gives for the places that are missing of 0 ... count - 1, in order."""
    if files.done and progress is not None:
        progress(files.done, count)
    items = ordered_map(encode, range(files.done, count), jobs=jobs)
    for done, chunks in enumerate(items, start=files.done + 1):
        files.append(chunks)
        if progress is not None:
            progress(done, count)


def _write_zip(
    reader: PyramidReader,
    res: int,
    numbers: Sequence[int],
    to: Path,
    jobs: int,
    progress: ProgressFn | None,
    picture: PictureFormat,
    overwrite: bool,
) -> None:
    names = [picture_name(number, len(reader), picture) for number in numbers]

    def encode(place: int) -> list[bytes]:
        return [stored_member(names[place], _ENCODERS[picture](reader.read(numbers[place], res)))]

    to.parent.mkdir(parents=True, exist_ok=True)
    header = export_header(reader, f"{picture}-zip", res, numbers)
    with GrowingFiles([to], to.with_name(to.name + JOURNAL_SUFFIX), header=header, overwrite=overwrite) as files:
        fill(files, encode, len(numbers), jobs=jobs, progress=progress)
        table = index_table(reader, numbers, picture)
        finish_zip(files.partial(), names, files.ends(), (INDEX_NAME, table))
        files.publish()


def _write_folder(
    reader: PyramidReader,
    res: int,
    numbers: Sequence[int],
    to: Path,
    jobs: int,
    progress: ProgressFn | None,
    picture: PictureFormat,
) -> None:
    if to.exists() and not to.is_dir():
        raise UsageError(f"{to}: exists and is no folder; name a folder or a .zip file")
    to.mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        image = reader.read(number, res)
        path = to / picture_name(number, len(reader), picture)
        if not _holds(path, image):
            _replace(path, _ENCODERS[picture](image))

    for done, _ in enumerate(ordered_map(write, numbers, jobs=jobs), start=1):
        if progress is not None:
            progress(done, len(numbers))
    _replace(to / INDEX_NAME, index_table(reader, numbers, picture).encode())


def _holds(path: Path, image: NDArray[np.uint8]) -> bool:
    """Whether a readable picture with exactly these pixels is there already."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "WEBP")) as picture:
            if picture.mode != "RGB" or picture.size != image.shape[:0:-1]:
                return False
            return np.array_equal(np.asarray(picture), image.transpose(1, 2, 0))
    except (OSError, SyntaxError, ValueError):
        return False


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + schema.PARTIAL_SUFFIX)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
