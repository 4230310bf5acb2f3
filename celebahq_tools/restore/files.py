"""Restoring pictures from files to PNG files: one by one, each written whole or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import CelebAHQError, PictureError, UsageError
from celebahq_tools.names import printable
from celebahq_tools.restore.base import Pixels, Restorer
from celebahq_tools.restore.drift import drift
from celebahq_tools.sources import PICTURE_SUFFIXES

PARTIAL_SUFFIX = ".partial"
SUFFIX = ".png"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Errand:
    """A picture to restore, and the file to write."""

    source: Path
    out: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoredFile:
    """One picture done: sides of the result in pixels, and its drift in levels (celebahq_tools.restore.drift)."""

    source: str
    out: str
    width: int
    height: int
    drift: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreReport:
    """What became of the pictures: done now, there already, and (source, message) of those that failed."""

    done: tuple[RestoredFile, ...]
    kept: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def plan_errands(inputs: Sequence[Path], out: Path) -> list[Errand]:
    """Pictures, and those in folders with their folders below, to files of the same names in `out`.

    Raises UsageError when an input is missing, a folder holds no picture, or two would be written to one file.
    """
    errands: list[Errand] = []
    for given in inputs:
        if given.is_dir():
            found = sorted(p for p in given.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
            if not found:
                raise UsageError(f"{given}: no pictures in this folder")
            errands += [Errand(path, (out / path.relative_to(given)).with_suffix(SUFFIX)) for path in found]
        elif given.is_file():
            errands.append(Errand(given, out / (given.stem + SUFFIX)))
        else:
            raise UsageError(f"{given}: no such file or folder")
    sources: dict[Path, Path] = {}
    for errand in errands:
        if errand.out in sources:
            raise UsageError(
                f"{sources[errand.out]} and {errand.source} would both become {errand.out}: restore them apart"
            )
        sources[errand.out] = errand.source
        if errand.out.exists() and errand.out.samefile(errand.source):
            raise UsageError(f"{errand.source} would be overwritten by its own result: give another --out")
    return errands


def restore_files(
    errands: Sequence[Errand], restorer: Restorer, *, overwrite: bool, progress: Progress
) -> RestoreReport:
    """Restore each picture; results that are there already are kept unless `overwrite` is set.

    A picture that cannot be read is reported and does not stop the rest. Raises CelebAHQError when a result cannot
    be written.
    """
    done: list[RestoredFile] = []
    kept: list[str] = []
    failed: list[tuple[str, str]] = []
    for number, errand in enumerate(errands, start=1):
        if errand.out.exists() and not overwrite:
            kept.append(str(errand.out))
        else:
            try:
                pixels = decode_picture(errand.source.read_bytes(), name=str(errand.source))
            except PictureError as error:
                failed.append((str(errand.source), str(error)))
            except OSError as error:
                failed.append((str(errand.source), f"{printable(str(errand.source))}: {error.strerror}"))
            else:
                restored = restorer.restore(pixels)
                _write_png(errand.out, restored)
                done.append(_summary(errand, pixels, restored))
        progress(number, len(errands))
    return RestoreReport(done=tuple(done), kept=tuple(kept), failed=tuple(failed))


def _summary(errand: Errand, pixels: Pixels, restored: Pixels) -> RestoredFile:
    height, width = restored.shape[:2]
    return RestoredFile(
        source=str(errand.source), out=str(errand.out), width=width, height=height, drift=drift(pixels, restored)
    )


def _write_png(path: Path, pixels: Pixels) -> None:
    encoded, data = cv2.imencode(SUFFIX, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise CelebAHQError(f"{path}: a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels cannot be written as PNG")
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    except OSError as error:
        raise CelebAHQError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
