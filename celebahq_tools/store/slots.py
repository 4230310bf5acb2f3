"""Fill the slots of a pyramid file from any number of processes, without HDF5.

`create_pyramid` fixed every offset, so a slot is written with `os.pwrite` alone: no HDF5 metadata changes, a
process killed at any moment damages at most the slot it was writing. The sha256 is written last.
"""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError
from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import schema
from celebahq_tools.store.create import disk_errors
from celebahq_tools.store.layout import DatasetLayout, FileLayout, read_layout


class SlotWriter:
    """Writes images into the slots of an existing contiguous pyramid file, usually a `.partial` one.

    Picklable: a copy opens the file for itself when it is first used. Different slots may be written at the
    same time by any number of processes and threads of one machine.
    Every method raises FormatError when the file is not one of ours or is chunked (repacked).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._layout: FileLayout | None = None
        self._descriptor: int | None = None
        self._opening = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_layout": self._layout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._path, self._layout = state["_path"], state["_layout"]
        self._descriptor, self._opening = None, threading.Lock()

    def __enter__(self) -> "SlotWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    @property
    def num_images(self) -> int:
        """Number of slots, N."""
        return self._opened()[1].num_images

    @property
    def resolution(self) -> int:
        """The finest resolution, R."""
        return self._opened()[1].resolution

    def write(self, slot: int, image: NDArray[np.uint8], *, quality: float | None = None) -> str:
        """Write one image, (3, R, R) uint8, with all its levels; returns the sha256 (hex) of its bytes.

        `quality` replaces the score in the index; None leaves the one given at creation.
        Raises IndexError for a slot outside 0..N-1, ValueError for a wrong shape or dtype, DiskSpaceError
        when the disk is full.
        """
        return self.write_levels(slot, build_levels(np.ascontiguousarray(image)), quality=quality)

    def write_run(
        self, first: int, images: NDArray[np.uint8], qualities: Sequence[float | None] | None = None
    ) -> list[str]:
        """Write images, (n, 3, R, R) uint8, into the slots from `first` on, as `write` does for one.

        Much faster than one by one for small images: every level is computed and stored in one go.
        """
        _, layout = self._opened()
        images = np.ascontiguousarray(images)
        levels = build_levels(images)
        for res, place in layout.levels.items():
            _check_values(place, levels[res][0])
        digests = [hashlib.sha256(image.data).digest() for image in images]
        marks = layout.columns["sha256"]
        self._put(marks, first, np.zeros((len(images), schema.SHA256_BYTES), np.uint8))
        for res, place in layout.levels.items():
            self._put(place, first, levels[res])
        for slot, quality in enumerate(qualities or (), start=first):
            if quality is not None:
                self._put(layout.columns["quality"], slot, np.array(quality, dtype="<f8"))
        self._put(marks, first, np.frombuffer(b"".join(digests), np.uint8).reshape(-1, schema.SHA256_BYTES))
        return [digest.hex() for digest in digests]

    def write_levels(self, slot: int, levels: Mapping[int, NDArray[np.uint8]], *, quality: float | None = None) -> str:
        """Like `write`, for levels {r: (3, r, r) uint8} that are there already: all of the file's, as is."""
        _, layout = self._opened()
        if set(levels) != set(layout.levels):
            raise ValueError(f"levels {sorted(levels)} given, {self._path} has {sorted(layout.levels)}")
        for res, place in layout.levels.items():
            _check_values(place, levels[res])
        digest = hashlib.sha256(np.ascontiguousarray(levels[layout.resolution]).data).digest()
        self.clear(slot)
        for res, place in layout.levels.items():
            self._put(place, slot, levels[res])
        if quality is not None:
            self._put(layout.columns["quality"], slot, np.array(quality, dtype="<f8"))
        self._put(layout.columns["sha256"], slot, np.frombuffer(digest, np.uint8))
        return digest.hex()

    def clear(self, slot: int) -> None:
        """Mark a slot as not written: zero its sha256."""
        _, layout = self._opened()
        self._put(layout.columns["sha256"], slot, np.zeros(schema.SHA256_BYTES, np.uint8))

    def read_finest(self, slot: int) -> NDArray[np.uint8]:
        """The finest level of a slot, (3, R, R) uint8, as it is in the file now."""
        _, layout = self._opened()
        return self._get(layout.levels[layout.resolution], slot)

    def read_sha256(self, slot: int) -> str | None:
        """The slot's sha256 (hex) from the index, None when it is not written."""
        _, layout = self._opened()
        stored = self._get(layout.columns["sha256"], slot)
        return stored.tobytes().hex() if stored.any() else None

    def empty_slots(self) -> NDArray[np.int64]:
        """Numbers of the slots that are not written."""
        descriptor, layout = self._opened()
        place = layout.columns["sha256"]
        marks = np.empty(place.shape, np.uint8)
        read_fully(descriptor, marks.reshape(-1).data, _slot_offset(place, 0), self._path)
        return np.flatnonzero(~marks.any(axis=1)).astype(np.int64)

    def sync(self) -> None:
        """Return when everything written so far, by any process, is on disk."""
        descriptor, _ = self._opened()
        with disk_errors(self._path):
            os.fdatasync(descriptor)

    def close(self) -> None:
        """Close the file; it opens again when used again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> tuple[int, FileLayout]:
        if self._descriptor is None or self._layout is None:
            with self._opening:
                if self._layout is None:
                    self._layout = _writable_layout(self._path)
                if self._descriptor is None:
                    self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        return self._descriptor, self._layout

    def _put(self, place: DatasetLayout, slot: int, values: NDArray[Any]) -> None:
        """Store the values of one slot, or of several from `slot` on."""
        descriptor, _ = self._opened()
        offset = _slot_offset(place, slot)
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        if len(data) > place.item_bytes:
            _slot_offset(place, slot + len(data) // place.item_bytes - 1)
        with disk_errors(self._path):
            write_fully(descriptor, data, offset)

    def _get(self, place: DatasetLayout, slot: int) -> NDArray[Any]:
        descriptor, _ = self._opened()
        values = np.empty(place.item_bytes, np.uint8)
        read_fully(descriptor, values.data, _slot_offset(place, slot), self._path)
        return values.view(place.dtype).reshape(place.shape[1:])


def _writable_layout(path: Path) -> FileLayout:
    layout = read_layout(path, allow_partial=True)
    if layout.version is None or not layout.contiguous:
        raise FormatError(
            f"{path}: only contiguous files of this program can be written in place; "
            "`celebahq repack --compress none` makes one"
        )
    return layout


def write_fully(descriptor: int, data: memoryview, offset: int) -> None:
    """pwrite until all of `data` is written: a single call may write less."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def read_fully(descriptor: int, into: memoryview, offset: int, path: Path) -> None:
    """preadv until `into` is full. Raises FormatError when the file ends before."""
    while into:
        got = os.preadv(descriptor, [into], offset)
        if got == 0:
            raise FormatError(f"{path}: truncated: nothing at byte {offset}; copy or build it again")
        into, offset = into[got:], offset + got


def _check_values(place: DatasetLayout, values: NDArray[Any]) -> None:
    if values.shape != place.shape[1:] or values.dtype != place.dtype:
        raise ValueError(f"{place.name} takes {place.dtype} {place.shape[1:]}, not {values.dtype} {values.shape}")


def _slot_offset(place: DatasetLayout, slot: int) -> int:
    if not 0 <= slot < place.shape[0]:
        raise IndexError(f"slot {slot} is outside 0..{place.shape[0] - 1} of {place.name}")
    if place.offset is None:
        raise AssertionError(f"{place.name} has no fixed offset")
    return place.offset + slot * place.item_bytes
