"""What is there for building data sets, what is missing or damaged, and what to do about it."""

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from celebahq_tools.archives import shown
from celebahq_tools.deltas import (
    IMAGE_LIST,
    OFFICIAL_IMAGES,
    DeltaReader,
    OfficialRow,
    check_delta_zip,
    delta_zip_name,
    official_rows,
    read_official_index,
)
from celebahq_tools.errors import CelebAHQError, MissingDependencyError, PictureError
from celebahq_tools.manifest import load_celeba_facts, load_celebahq_index
from celebahq_tools.sources import Source, open_source

State = Literal["ok", "partial", "absent", "missing", "damaged"]
"""`partial` and `absent` are told but are no problems: less than the official release, an optional part."""

PROBLEMS = frozenset({"missing", "damaged"})
SHOWN_NAMES = 3

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the table: a part, its state, what was found, what to do (empty where nothing is)."""

    part: str
    state: State
    found: str
    advice: str = ""


def examine(
    src: Path | None, deltas: Path | None, *, deep: bool = False, progress: Progress | None = None
) -> list[Finding]:
    """Examine the packages and, where given, a source of pictures and a folder of deltas.

    deep  read every picture and every delta that an image of CelebA-HQ is made from, too

    Raises nothing for what it finds wrong; that is in the findings.
    """
    findings = examine_packages(official=deltas is not None)
    source: Source | None = None
    if src is not None:
        source, more = examine_source(src)
        findings += more
    rows: tuple[OfficialRow, ...] = ()
    if deltas is not None:
        rows, more = examine_deltas(deltas)
        findings += more
    if source is not None and rows:
        findings += examine_pictures(source, rows)
        if deep and deltas is not None:
            findings += read_everything(source, DeltaReader(deltas), rows, progress)
    return findings


def examine_packages(*, official: bool) -> list[Finding]:
    """The optional packages and models; those of the official recipe count as missing when it is meant."""
    get = "pip install 'celebahq-tools[official]'"
    findings = [
        _package("jpeglib", "decodes JPEG as in 2016", get, required=official),
        _package("cryptography", "opens the deltas", get, required=official),
        _package("numba", "makes the official recipe fast; NumPy alone gives the same bits", get, required=False),
    ]
    from celebahq_tools.landmarks_model import find_landmarks_model

    try:
        model = find_landmarks_model()
    except CelebAHQError as error:
        findings.append(
            Finding(part="landmark model", state="absent", found="only for unannotated photographs", advice=str(error))
        )
    else:
        findings.append(Finding(part="landmark model", state="ok", found=shown(model)))
    return findings


def _package(name: str, use: str, get: str, *, required: bool) -> Finding:
    part = f"package {name}"
    if importlib.util.find_spec(name) is None:
        return Finding(part=part, state="missing" if required else "absent", found=use, advice=get)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return Finding(part=part, state="ok", found=f"{version}; {use}")


def examine_source(path: Path) -> tuple[Source | None, list[Finding]]:
    """A source of pictures: can it be opened, and how it compares with the complete CelebA."""
    try:
        source = open_source(path)
    except CelebAHQError as error:
        return None, [Finding(part="pictures", state="missing", found=str(error), advice="see docs/official.md")]
    facts = load_celeba_facts()
    count = len(source.files)
    if source.kind != "celeba":
        return source, [
            Finding(
                part="pictures",
                state="ok",
                found=f"{count:,} photographs without annotations in {shown(path)}",
                advice="CelebA has Anno/list_landmarks_celeba.txt; the official recipe needs it",
            )
        ]
    findings = [
        Finding(
            part="pictures",
            state="ok" if count >= facts.pictures else "partial",
            found=f"{count:,} of {facts.pictures:,} in {shown(path)}",
        )
    ]
    findings += [Finding(part="annotations", state="absent", found=note) for note in source.notes]
    findings.append(_first_picture(source, facts.first_picture_md5, whole=count >= facts.pictures))
    return source, findings


def _first_picture(source: Source, expected: str, *, whole: bool) -> Finding:
    """CelebA's first picture tells whether files and decoder are the right ones."""
    from celebahq_tools.legacy.jpeg8d import decode_jpeg8d
    from celebahq_tools.official import image_md5

    name = "000001.jpg"
    part = f"decoding of {name}"
    if name not in source.files:
        return Finding(part=part, state="absent", found="not there, so the decoder is not checked")
    try:
        actual = image_md5(decode_jpeg8d(source.read(name), name=name))
    except MissingDependencyError:
        return Finding(part=part, state="absent", found="jpeglib is not installed, so it is not checked")
    except PictureError as error:
        return Finding(part=part, state="damaged", found=str(error), advice="get CelebA's img_celeba again")
    if actual == expected:
        return Finding(part=part, state="ok", found="to the bit as in CelebA-HQ")
    found = f"expected md5 {expected}, found {actual}"
    if whole:
        return Finding(part=part, state="damaged", found=found, advice="get CelebA's in-the-wild img_celeba again")
    return Finding(part=part, state="partial", found=f"not CelebA's own picture ({found})")


def examine_deltas(folder: Path) -> tuple[tuple[OfficialRow, ...], list[Finding]]:
    """The index and the zips of a deltas folder."""
    try:
        index, notes = read_official_index(folder)
    except CelebAHQError as error:
        return (), [Finding(part="deltas", state="missing", found=str(error), advice="see docs/official.md")]
    rows = official_rows(index)
    findings = [Finding(part=IMAGE_LIST, state="partial", found=note) for note in notes]
    if not notes:
        findings.append(_compare_index(rows))
    by_zip: dict[str, list[int]] = {}
    for row in rows:
        by_zip.setdefault(delta_zip_name(row.idx), []).append(row.idx)
    whole = 0
    for name, numbers in by_zip.items():
        state = check_delta_zip(folder, name, numbers)
        if state.problem is not None:
            findings.append(
                Finding(
                    part=name,
                    state="missing" if state.missing else "damaged",
                    found=state.problem,
                    advice=f"download it; {len(numbers):,} images cannot be made without it",
                )
            )
        elif state.absent:
            advice = f"download it again; {len(state.absent):,} images cannot be made without it"
            found = f"lacks {len(state.absent):,} of {len(numbers):,} deltas, first {state.absent[0]}"
            findings.append(Finding(part=name, state="damaged", found=found, advice=advice))
        else:
            whole += 1
    state_of_all: State = "ok" if whole == len(by_zip) else "partial"
    findings.append(Finding(part="delta zips", state=state_of_all, found=f"{whole} of {len(by_zip)} are whole"))
    return rows, findings


def _compare_index(rows: tuple[OfficialRow, ...]) -> Finding:
    official = set(official_rows(load_celebahq_index()))
    known = sum(row in official for row in rows)
    if known == len(rows) == OFFICIAL_IMAGES:
        return Finding(part=IMAGE_LIST, state="ok", found=f"the official one, {OFFICIAL_IMAGES:,} images")
    if known == len(rows):
        return Finding(
            part=IMAGE_LIST, state="partial", found=f"{len(rows):,} of the {OFFICIAL_IMAGES:,} official images"
        )
    return Finding(
        part=IMAGE_LIST,
        state="partial",
        found=f"{len(rows):,} images, {len(rows) - known:,} of them not the official ones",
        advice="for CelebA-HQ itself, take the image_list.txt of its release",
    )


def examine_pictures(source: Source, rows: tuple[OfficialRow, ...]) -> list[Finding]:
    """Whether every image of the index has its picture and landmarks."""
    part = "pictures of the index"
    files = set(source.files)
    present = [row.orig_file for row in rows if row.orig_file in files]
    lacking = [row.orig_file for row in rows if row.orig_file not in files]
    findings = []
    if lacking:
        findings.append(
            Finding(
                part=part,
                state="missing",
                found=f"{len(lacking):,} of {len(rows):,} are not there: {_names(lacking)}",
                advice="unpack CelebA's img_celeba.7z again; see docs/official.md",
            )
        )
    else:
        findings.append(Finding(part=part, state="ok", found=f"all {len(rows):,} are there"))
    unmarked = [name for name in present if source.kind == "celeba" and source.record(name) is None]
    if unmarked:
        findings.append(
            Finding(
                part="landmarks",
                state="missing",
                found=f"{len(unmarked):,} pictures have none: {_names(unmarked)}",
                advice="take Anno/list_landmarks_celeba.txt of the same release",
            )
        )
    return findings


def read_everything(
    source: Source, deltas: DeltaReader, rows: tuple[OfficialRow, ...], progress: Progress | None
) -> list[Finding]:
    """Whether the pictures are whole JPEG files and the deltas have the checksums of their zip."""
    from celebahq_tools.legacy.jpeg8d import strip_metadata

    names = {row.zip_name for row in rows}
    readable = {name for name in names if check_delta_zip(deltas.deltas, name, ()).problem is None}
    broken: dict[str, list[str]] = {"picture files": [], "delta files": []}
    for done, row in enumerate(rows, start=1):
        try:
            strip_metadata(source.read(row.orig_file), name=row.orig_file)
        except PictureError as error:
            if error.reason != "missing":
                broken["picture files"].append(str(error))
        try:
            if row.zip_name in readable:
                deltas.token(row.idx)
        except PictureError as error:
            if error.reason == "delta-damaged":
                broken["delta files"].append(str(error))
        if progress is not None:
            progress(done, len(rows))
    return [
        Finding(
            part=part,
            state="damaged",
            found=f"{len(problems):,} are damaged: {_names(problems)}",
            advice="unpack or download them again",
        )
        if problems
        else Finding(part=part, state="ok", found="those that are there are whole")
        for part, problems in broken.items()
    ]


def _names(names: list[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
