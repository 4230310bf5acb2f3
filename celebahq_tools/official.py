"""The official CelebA-HQ from CelebA and the delta files, one image at a time, proven by both checksums."""

import hashlib
import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.archives import shown
from celebahq_tools.deltas import (
    OFFICIAL_IMAGES,
    DeltaReader,
    OfficialRow,
    check_delta_zip,
    decompress_delta,
    decrypt_token,
    derive_key,
    official_rows,
    read_official_index,
)
from celebahq_tools.errors import MissingDependencyError, PictureError, SourceError, UsageError
from celebahq_tools.legacy.face import cut_face
from celebahq_tools.legacy.jpeg8d import decode_jpeg8d
from celebahq_tools.sources import Source

NEEDED_PACKAGES = ("jpeglib", "cryptography")
"""Packages without which no official image can be made; numba only makes it fast."""

SHOWN_PROBLEMS = 8
SHOWN_IDS = 5


@dataclass(frozen=True, kw_only=True)
class OfficialPlan:
    """Which images are made, in order of idx.

    rows        what is made
    index_rows  rows of the index it was chosen from
    deltas      reads their tokens; picklable
    notes       what a person should know, a line each
    """

    rows: tuple[OfficialRow, ...]
    index_rows: int
    deltas: DeltaReader
    notes: tuple[str, ...]


def plan_official(
    source: Source, deltas_dir: Path | str, *, ids: Iterable[int] | None = None, limit: int | None = None
) -> OfficialPlan:
    """Choose the images that can be made and check that everything for them is there; reads no picture.

    ids    make exactly these; every file they need must be there
    limit  make only the first so many

    Without `ids`, images whose zip, delta or picture is not there are left out and noted; a zip that is there
    but damaged is an error, since it would go unnoticed otherwise. Only zips that are needed are looked at.
    Raises SourceError, UsageError, FormatError (the index) and MissingDependencyError.
    """
    require_packages()
    if source.kind != "celeba" or source.annotations is None:
        raise SourceError(
            f"{shown(source.root)}: the official recipe needs CelebA's in-the-wild pictures with"
            " Anno/list_landmarks_celeba.txt; found only pictures"
        )
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: expected at least 1")
    folder = Path(deltas_dir)
    index, notes = read_official_index(folder)
    rows = official_rows(index)
    wanted = _chosen(rows, ids)
    usable, gaps = _usable(source, folder, wanted, limit)
    if gaps and ids is not None:
        raise SourceError(f"{len(gaps)} of the images asked for cannot be made: {_listed(gaps)}")
    if not usable:
        raise SourceError(f"none of the {len(wanted):,} images can be made: {_listed(gaps)}")
    notes.extend(gaps)
    if len(usable) < OFFICIAL_IMAGES:
        notes.append(f"partial: {len(usable):,} of {OFFICIAL_IMAGES:,} images")
    return OfficialPlan(rows=usable, index_rows=len(rows), deltas=DeltaReader(folder), notes=tuple(notes))


def require_packages() -> None:
    """Raise MissingDependencyError naming every package that the official recipe lacks."""
    missing = [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the official recipe needs {' and '.join(missing)}: pip install 'celebahq-tools[official]'"
        )


def _chosen(rows: Sequence[OfficialRow], ids: Iterable[int] | None) -> Sequence[OfficialRow]:
    if ids is None:
        return rows
    asked = set(ids)
    chosen = [row for row in rows if row.idx in asked]
    unknown = sorted(asked - {row.idx for row in chosen})
    if unknown:
        raise UsageError(
            f"--ids: the index has no image {', '.join(map(str, unknown[:SHOWN_IDS]))}"
            f"{' ...' if len(unknown) > SHOWN_IDS else ''}; it numbers {rows[0].idx} to {rows[-1].idx}"
        )
    return chosen


def _usable(
    source: Source, folder: Path, rows: Sequence[OfficialRow], limit: int | None
) -> tuple[tuple[OfficialRow, ...], list[str]]:
    """The rows, at most `limit`, whose files are there; a line for each kind of gap; raises for damage."""
    files = set(source.files)
    by_zip: dict[str, list[OfficialRow]] = defaultdict(list)
    for row in rows:
        by_zip[row.zip_name].append(row)
    usable: list[OfficialRow] = []
    gaps: list[str] = []
    damaged: list[str] = []
    no_picture: list[str] = []
    no_landmarks: list[str] = []
    for name, members in by_zip.items():
        if limit is not None and len(usable) >= limit:
            break
        state = check_delta_zip(folder, name, [row.idx for row in members])
        if state.problem is not None:
            (gaps if state.missing else damaged).append(f"{state.problem} ({len(members):,} images)")
            continue
        if state.absent:
            gaps.append(f"{name}: lacks the deltas of {_numbers(state.absent)}")
        absent = set(state.absent)
        for row in members:
            if row.orig_file not in files:
                no_picture.append(row.orig_file)
            elif source.record(row.orig_file) is None:
                no_landmarks.append(row.orig_file)
            elif row.idx not in absent:
                usable.append(row)
    if damaged:
        raise SourceError(f"{len(damaged)} damaged delta files: {_listed(damaged)}")
    if no_picture:
        gaps.append(f"{shown(source.root)}: lacks {len(no_picture):,} pictures, the first is {no_picture[0]}")
    if no_landmarks:
        gaps.append(f"{shown(source.root)}: no landmarks of {len(no_landmarks):,} pictures, first {no_landmarks[0]}")
    return tuple(usable[:limit]), gaps


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - SHOWN_PROBLEMS
    return "; ".join(problems[:SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _numbers(idx: Sequence[int]) -> str:
    shown_ids = ", ".join(map(str, idx[:SHOWN_IDS]))
    return f"{len(idx):,} images ({shown_ids}{', ...' if len(idx) > SHOWN_IDS else ''})"


def rebuild_official(
    jpeg: bytes, file_name: str, landmarks: NDArray[np.floating], token: bytes, row: OfficialRow
) -> NDArray[np.uint8]:
    """Make one official image: (3, 1024, 1024) uint8, both checksums proven.

    jpeg       the whole file of CelebA's picture, `file_name` its name there
    landmarks  (5, 2) whole pixels, from list_landmarks_celeba.txt
    token      its encrypted delta

    Raises PictureError with the reason `proc-md5` (before the delta is opened), `delta-damaged`, `final-md5`,
    `landmarks`, or one of `decode_jpeg8d`; MissingDependencyError.
    """
    what = f"image {row.idx} ({file_name})"
    image = make_proc(jpeg, file_name, landmarks)
    check_md5(image, row.proc_md5, "proc-md5", f"{what}, cropped and before its delta")
    image += open_delta(token, jpeg, file_name, what=what)
    check_md5(image, row.final_md5, "final-md5", f"{what}, after its delta")
    return image


def make_proc(jpeg: bytes, file_name: str, landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The image before its delta, (3, 1024, 1024) uint8."""
    return cut_face(decode_jpeg8d(jpeg, name=file_name), landmarks)


def open_delta(token: bytes, jpeg: bytes, file_name: str, *, what: str) -> NDArray[np.uint8]:
    """The difference (3, 1024, 1024) uint8 to be added modulo 256."""
    return decompress_delta(decrypt_token(token, derive_key(jpeg, file_name), what=what), what=what)


def image_md5(image: NDArray[np.uint8]) -> str:
    """md5 over the CHW bytes of an image."""
    return hashlib.md5(np.ascontiguousarray(image).data, usedforsecurity=False).hexdigest()


def check_md5(image: NDArray[np.uint8], expected: str, reason: str, what: str) -> None:
    """Raise PictureError(reason) unless the md5 of the image's bytes is `expected`."""
    actual = image_md5(image)
    if actual != expected:
        raise PictureError(reason, f"{what}: expected md5 {expected}, found {actual}")
