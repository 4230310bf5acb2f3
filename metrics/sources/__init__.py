"""Sets of images behind one interface: HDF5 pyramid, folder or zip of images, `.npy`, `.npz`, arrays, generators.

with open_image_set("faces.h5", res=256) as faces:
    for batch in faces.batches(64):     # (<= 64, 3, 256, 256) uint8
        ...
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError
from metrics.sources.base import RESIZERS, ImageSet, sample_indices
from metrics.sources.generators import is_generator, open_by_entry_point

__all__ = ["RESIZERS", "ImageSet", "as_image_set", "class_names", "open_image_set", "sample_indices"]

PYRAMID_SUFFIXES = (".h5", ".hdf5")
FOREIGN_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl")
KEY_MARK = "::"


def open_image_set(
    path: str | Path, *, res: int | None = None, resizer: str | None = None, n: int | None = None
) -> ImageSet:
    """The set of images at `path`.

    `FILE.npz::KEY` names one array of an archive, `FILE.h5::class=cat,Male=1` those images of a pyramid that have
    these labels, `FILE.safetensors::...` samples of a conditional generator for them.

    A `.safetensors` file, or the directory of a training run, is sampled by the package that wrote it.

    res      hand the images out at this side; None: as they are. A pyramid must have this level, and the others
             are resized, which needs `resizer`, one of RESIZERS, unless every image has this side already.
    n        use the first n images only; more than there are is an error.

    Raises ImageSetError when there is nothing there that can be read as one set, and nothing is guessed:
    mixed sizes, non-square images, colour beside grayscale and alpha channels are errors.
    """
    name = str(path)
    base, _, key = name.partition(KEY_MARK)
    where = Path(base)
    suffix = where.suffix.lower()
    if resizer is not None and resizer not in RESIZERS:
        raise ImageSetError(f"resizer {resizer!r} is unknown; choose one of {', '.join(RESIZERS)}")
    if not where.exists():
        raise ImageSetError(f"{where} does not exist")
    opened: ImageSet
    if suffix in PYRAMID_SUFFIXES:
        opened = _open_pyramid(where, key, res=res)
    elif is_generator(where):
        opened = open_by_entry_point(where, res=res, resizer=resizer, label=key or None)
    elif key and suffix != ".npz":
        raise ImageSetError(
            f"{name}: {where} has no labels to choose images by: a pyramid (.h5) has; only an .npz archive takes a "
            f"{KEY_MARK}KEY, the name of an array"
        )
    elif where.is_dir() or suffix == ".zip":
        from metrics.sources.pictures import PictureSet

        opened = PictureSet(where, res=res, resizer=resizer)
    elif suffix in (".npy", ".npz"):
        from metrics.sources.arrays import ArraySet, open_npy, open_npz_member

        rows = open_npy(where) if suffix == ".npy" else open_npz_member(where, key or None)
        opened = ArraySet(rows, label=name, res=res, resizer=resizer)
    elif suffix in FOREIGN_CHECKPOINT_SUFFIXES:
        raise ImageSetError(
            f"{where} looks like a network checkpoint of another program, which is not loaded (such files may hold "
            "code); write its images to a folder or an .npy file and name that, or name a .safetensors generator"
        )
    else:
        raise ImageSetError(
            f"{where} is not a set of images: expected an HDF5 pyramid (.h5), a folder, a .zip, .npy, .npz "
            "or a generator (.safetensors)"
        )
    opened.reopen = (name if name.startswith("/") else str(Path.cwd() / name), res, resizer)
    if n is None:
        return opened
    try:
        return opened.first(n)
    except ImageSetError:
        opened.close()
        raise


def class_names(path: str | Path) -> list[str]:
    """The classes of a pyramid that have images; ImageSetError if it is none or has none."""
    from metrics.sources.pyramid import PyramidSet

    if Path(path).suffix.lower() not in PYRAMID_SUFFIXES:
        raise ImageSetError(f"{path} has no classes: only a pyramid (.h5) has; import the images first")
    whole = PyramidSet(Path(path), res=None)
    try:
        return whole.class_names()
    finally:
        whole.close()


def _open_pyramid(path: Path, where: str, *, res: int | None) -> ImageSet:
    from metrics.sources.pyramid import PyramidSet

    whole = PyramidSet(path, res=res)
    if not where:
        return whole
    try:
        return whole.with_labels(where)
    except ImageSetError:
        whole.close()
        raise


def as_image_set(
    source: "ImageSet | str | Path | NDArray[np.uint8]",
    *,
    res: int | None = None,
    resizer: str | None = None,
    n: int | None = None,
) -> ImageSet:
    """`source` itself if it is an ImageSet, else the set it names or holds ((N, 3, R, R) uint8 array)."""
    if isinstance(source, np.ndarray):
        from metrics.sources.arrays import ArraySet, MemoryRows

        made: ImageSet = ArraySet(MemoryRows(source), label="array", res=res, resizer=resizer)
        return made if n is None else made.first(n)
    if isinstance(source, ImageSet):
        if res is not None and res != source.res:
            raise ImageSetError(f"{source.label} was opened at {source.res} pixels, not {res}; open it again")
        return source if n is None else source.first(n)
    return open_image_set(source, res=res, resizer=resizer, n=n)
