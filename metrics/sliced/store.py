"""Where the descriptors of a level lie: in memory when small, else in an unnamed temporary file.

An unnamed file has no directory entry: the kernel frees it when the process ends, by whatever end.
Files are read and written by position, not mapped, so that they do not count as this process's memory.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metrics.errors import DiskSpaceError
from metrics.sliced.config import DESCRIPTOR_VALUES

SPILL_ENVIRONMENT = "METRICS_SPILL"
ROW_BYTES = DESCRIPTOR_VALUES * 4
"""Of one descriptor."""
GIB = 1 << 30


class DescriptorStore:
    """(n, 147, P) float32 descriptors of n images, which several threads may write and read at once.

    `values` instead of 147, if they are not pixels but numbers computed from them.

    Values before patches: matrix products take this order as it is.
    """

    def __init__(self, images: int, patches: int, folder: Path | None, *, values: int = DESCRIPTOR_VALUES) -> None:
        """`folder` None keeps them in memory, else they go to an unnamed file on that folder's disk."""
        self.images, self.patches, self.values = images, patches, values
        self._memory: NDArray[np.float32] | None = None
        self._file: int | None = None
        self._offset = 0
        self._owned = True
        if folder is None:
            self._memory = np.empty((images, values, patches), np.float32)
        else:
            self._file = _unnamed_file(folder)

    @classmethod
    def of_file(cls, path: Path, offset: int, images: int, patches: int) -> "DescriptorStore":
        """Descriptors that lie in an existing file from byte `offset` on, for reading only."""
        store = cls(0, patches, None)
        store.images, store._memory, store._offset = images, None, offset
        store._owned = False
        store._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return store

    def in_memory(self, slot: int, count: int) -> NDArray[np.float32] | None:
        """Slots slot..slot+count-1 themselves, to be filled in place, if they lie in memory."""
        return None if self._memory is None else self._memory[slot : slot + count]

    def write(self, slot: int, block: NDArray[np.float32]) -> None:
        """Store (k, 147, P) float32 in the slots slot..slot+k-1; they may be `in_memory` already."""
        if self._memory is not None:
            kept = self._memory[slot : slot + len(block)]
            if kept.ctypes.data != block.ctypes.data:
                kept[...] = block
            return
        view = np.ascontiguousarray(block).data.cast("B")
        offset = slot * self._image_bytes
        while len(view):
            try:
                done = os.pwrite(self._descriptor(), view, offset)
            except OSError as error:
                raise DiskSpaceError(
                    f"cannot write temporary descriptors: {error.strerror}; free some space or name another "
                    f"folder with {SPILL_ENVIRONMENT}"
                ) from None
            view, offset = view[done:], offset + done

    def read(self, slots: NDArray[np.int64], room: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Descriptors of the images in `slots`: (len(slots), 147, P) float32.

        Neighbouring slots are read at once; may be a view of memory, not to be written to, or the beginning of `room`,
        which spares a new array.
        """
        ends = np.flatnonzero(np.diff(slots) != 1) + 1
        runs = [(int(run[0]), len(run)) for run in np.split(slots, ends)]
        if len(runs) == 1 and self._memory is not None:
            return self._memory[runs[0][0] : sum(runs[0])]
        if room is None:
            room = np.empty((len(slots), self.values, self.patches), np.float32)
        out, place = room[: len(slots)], 0
        for slot, count in runs:
            self._read_into(slot, out[place : place + count])
            place += count
        return out

    def _read_into(self, slot: int, block: NDArray[np.float32]) -> None:
        if self._memory is not None:
            block[...] = self._memory[slot : slot + len(block)]
            return
        view, offset = block.data.cast("B"), self._offset + slot * self._image_bytes
        while len(view):
            done = os.preadv(self._descriptor(), [view], offset)
            if done <= 0:
                raise DiskSpaceError(f"the file of descriptors ends before image {slot + len(block)}")
            view, offset = view[done:], offset + done

    def truncate(self, images: int) -> None:
        """Forget the slots from `images` on; an existing file keeps them."""
        self.images = images
        if self._file is not None and self._owned:
            os.ftruncate(self._file, images * self._image_bytes)
        elif self._memory is not None:
            self._memory = self._memory[:images]

    @property
    def _image_bytes(self) -> int:
        return self.patches * self.values * np.dtype(np.float32).itemsize

    def close(self) -> None:
        """Free memory or disk space."""
        self._memory = None
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _descriptor(self) -> int:
        if self._file is None:
            raise ValueError("the descriptors were closed")
        return self._file

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()


def _unnamed_file(folder: Path) -> int:
    """Descriptor of a new file without a name on the disk of `folder`."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (AttributeError, OSError):
        # File systems and systems without O_TMPFILE: a name for an instant.
        number, name = tempfile.mkstemp(dir=folder)
        os.unlink(name)  # noqa: PTH108 - a plain string from mkstemp
        return number


def spill_folder(chosen: Path | None = None) -> Path:
    """The folder for temporary descriptors: `chosen`, or METRICS_SPILL, or the system's temporary folder."""
    if chosen is not None:
        return chosen
    return Path(os.environ.get(SPILL_ENVIRONMENT) or tempfile.gettempdir())


def check_space(folder: Path, needed: int) -> None:
    """Raise DiskSpaceError if `folder` is missing or its disk has fewer than `needed` bytes free."""
    if not folder.is_dir():
        raise DiskSpaceError(f"{folder} is not a folder; name another with {SPILL_ENVIRONMENT}")
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskSpaceError(
            f"{folder} has {free / GIB:.1f} GiB free, the descriptors need {needed / GIB:.1f} GiB; "
            f"name another folder with {SPILL_ENVIRONMENT}"
        )
