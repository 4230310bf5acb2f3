"""Rewrite a pyramid file with another storage: chunked with compression for archives, contiguous for use.

Only filters that are built into h5py are used. There is no byte shuffling: it does nothing to 8-bit values.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError, UsageError
from celebahq_tools.pyramid import MIN_STORED_RES, build_levels
from celebahq_tools.store import schema
from celebahq_tools.store.create import (
    create_pyramid,
    disk_errors,
    sync_folder,
    write_attributes,
    write_index,
)
from celebahq_tools.store.reader import PyramidReader
from celebahq_tools.store.schema import IndexRow, PyramidMeta
from celebahq_tools.store.slots import SlotWriter
from celebahq_tools.store.verify import verify_pyramid
from celebahq_tools.store.workers import ordered_map

if TYPE_CHECKING:
    import h5py

ProgressFn = Callable[[int, int], None]
Compression = Literal["none", "gzip", "lzf"]

DEFAULT_GZIP_LEVEL = 4
CHUNK_BYTES = 1 << 16
"""Images of small levels share a chunk of at most this size; from 128x128 on each is a chunk of its own."""


def repack_pyramid(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    compression: Compression = "gzip",
    level: int = DEFAULT_GZIP_LEVEL,
    jobs: int = 1,
    progress: ProgressFn | None = None,
) -> None:
    """Write the content of `path` to `out`: contiguous for "none", else chunked and compressed.

    Index, attributes and fingerprint stay the same. A file without an index (the authors' own) gets one: keys
    are image numbers, class numbers come from one-hot labels, levels below 4x4 are left out. The result is
    written under a `.partial` name, read back and checked in full, then renamed. `progress` counts every
    image twice, once written and once checked.

    Raises UsageError when `out` exists, FormatError when an image is damaged, DiskSpaceError.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out}: exists already; remove it or choose another name")
    if not 0 <= level <= 9:
        raise UsageError(f"compression level {level} is outside 0..9")
    partial = out.with_name(out.name + schema.PARTIAL_SUFFIX)
    with PyramidReader(path) as reader, disk_errors(out):
        try:
            partial.unlink(missing_ok=True)
            count = len(reader)
            rows = reader.index.rows() if reader.has_index else _numbered_rows(reader)
            written = _halved(progress, count, 0)
            if compression == "none":
                _write_contiguous(reader, partial, rows, jobs, written)
            else:
                _write_chunked(reader, partial, rows, compression, level, jobs, written)
            report = verify_pyramid(partial, _halved(progress, count, count), jobs=jobs, allow_partial=True)
            if not report.ok:
                first = report.bad[0]
                raise FormatError(f"{out}: image {first.slot} of the new file is bad: {first.problem}; try again")
            partial.replace(out)
            sync_folder(out.parent)
        finally:
            partial.unlink(missing_ok=True)


def chunk_images(res: int, num_images: int) -> int:
    """Images per chunk of a level: a power of two, but no more than there are."""
    fitting = max(1, CHUNK_BYTES // schema.image_bytes(res))
    return min(num_images, 1 << (fitting.bit_length() - 1))


def _halved(progress: ProgressFn | None, count: int, before: int) -> ProgressFn | None:
    return None if progress is None else lambda done, _: progress(before + done, 2 * count)


def _checked_levels(reader: PyramidReader, slot: int) -> dict[int, NDArray[np.uint8]]:
    """The levels of one image, recomputed; FormatError unless the file's own are sound and the same."""
    image = reader.read(slot)
    if reader.has_index and hashlib.sha256(image.data).digest() != reader.index.sha256[slot].tobytes():
        raise FormatError(f"{reader.path}: image {slot} does not match its sha256; `celebahq verify` lists all")
    levels = build_levels(image, max(MIN_STORED_RES, min(reader.levels)))
    for res in levels:
        if res in reader.levels and not np.array_equal(levels[res], reader.read(slot, res)):
            raise FormatError(
                f"{reader.path}: image {slot}: level {res} does not follow from the finest one; run `celebahq verify`"
            )
    return levels


def _numbered_rows(reader: PyramidReader) -> list[IndexRow]:
    """Index rows for a file that has none."""
    classes: list[int | None] = [None] * len(reader)
    labels = reader.labels
    if labels is not None and labels.ndim == 2:
        if not ((labels == 0) | (labels == 1)).all() or (labels.sum(axis=1) != 1).any():
            raise FormatError(f"{reader.path}: its labels are not one-hot; move them away to repack without labels")
        classes = [int(number) for number in labels.argmax(axis=1)]
    name = reader.path.name
    digests = (hashlib.sha256(reader.read(slot).data).hexdigest() for slot in range(len(reader)))
    return [
        IndexRow(key=f"{slot:05d}", file=name, label=label, sha256=digest)
        for slot, (label, digest) in enumerate(zip(classes, digests, strict=True))
    ]


def _meta(reader: PyramidReader) -> PyramidMeta:
    attributes = reader.layout.attributes
    if reader.layout.version is None:
        return PyramidMeta()
    return PyramidMeta(
        build_config=attributes[schema.ATTR_BUILD_CONFIG] or {},
        manifest_sha256=attributes.get(schema.ATTR_MANIFEST) or None,
        library_versions=attributes[schema.ATTR_LIBRARIES] or {},
        created_by=attributes.get(schema.ATTR_CREATED_BY, ""),
    )


def _write_contiguous(
    reader: PyramidReader, partial: Path, rows: list[IndexRow], jobs: int, progress: ProgressFn | None
) -> None:
    create_pyramid(
        partial,
        res=reader.resolution,
        rows=rows,
        meta=_meta(reader),
        attribute_names=reader.attribute_names,
        label_names=reader.label_names,
        vector_names=reader.vector_names,
    )
    with SlotWriter(partial) as writer:

        def copy(slot: int) -> None:
            writer.write_levels(slot, _checked_levels(reader, slot))

        for done, _ in enumerate(ordered_map(copy, range(len(reader)), jobs=jobs), start=1):
            if progress is not None:
                progress(done, len(reader))
        writer.sync()


class _ChunkWriter:
    """Collects the images of one level and stores whole chunks."""

    def __init__(self, dataset: "h5py.Dataset", compression: Compression, level: int) -> None:
        self.dataset = dataset
        self.compression = compression
        self.level = level
        self.images = np.zeros(dataset.chunks, np.uint8)
        self.done = 0

    def add(self, image: NDArray[np.uint8] | bytes) -> None:
        """The next image, or the next chunk when it is compressed already."""
        if isinstance(image, bytes):
            self.dataset.id.write_direct_chunk((self.done, 0, 0, 0), image)
            self.done += 1
            return
        self.images[self.done % len(self.images)] = image
        self.done += 1
        if self.done % len(self.images) == 0 or self.done == len(self.dataset):
            self._flush()

    def compressed(self, image: NDArray[np.uint8]) -> NDArray[np.uint8] | bytes:
        """What to `add`: bytes when this image alone makes a chunk that zlib can be left to; for threads."""
        if self.compression != "gzip" or len(self.images) > 1:
            return image
        return zlib.compress(image.data, self.level)

    def _flush(self) -> None:
        first = (self.done - 1) // len(self.images) * len(self.images)
        self.dataset[first : self.done] = self.images[: self.done - first]


def _write_chunked(
    reader: PyramidReader,
    partial: Path,
    rows: list[IndexRow],
    compression: Compression,
    level: int,
    jobs: int,
    progress: ProgressFn | None,
) -> None:
    import h5py

    options: dict[str, Any] = {"compression": compression}
    if compression == "gzip":
        options["compression_opts"] = level
    with h5py.File(partial, "w", libver=("earliest", "v108"), locking=False) as file:
        names = (reader.attribute_names, reader.label_names, reader.vector_names)
        write_attributes(file, reader.resolution, _meta(reader), *names)
        write_index(file, rows, len(reader.attribute_names), len(reader.vector_names))
        writers: dict[int, _ChunkWriter] = {}
        for res in (res for res in reader.levels if res >= MIN_STORED_RES):
            dataset = file.create_dataset(
                schema.level_name(res),
                (len(reader), schema.CHANNELS, res, res),
                np.uint8,
                chunks=(chunk_images(res, len(reader)), schema.CHANNELS, res, res),
                fill_time="never",
                **options,
            )
            writers[res] = _ChunkWriter(dataset, compression, level)

        def prepare(slot: int) -> dict[int, NDArray[np.uint8] | bytes]:
            levels = _checked_levels(reader, slot)
            return {res: writer.compressed(levels[res]) for res, writer in writers.items()}

        for done, levels in enumerate(ordered_map(prepare, range(len(reader)), jobs=jobs), start=1):
            for res, writer in writers.items():
                writer.add(levels[res])
            if progress is not None:
                progress(done, len(reader))
    with partial.open("rb+") as file_on_disk:
        os.fsync(file_on_disk.fileno())
