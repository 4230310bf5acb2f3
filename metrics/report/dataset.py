"""The card of a data set: what a pyramid file holds, how it is balanced, what was rejected."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.errors import ReportError
from metrics.report.pictures import Picture, encoded, from_chw, tiled
from metrics.report.reading import parse_object, read_bytes, text

if TYPE_CHECKING:
    from celebahq_tools.store import PyramidReader

SHEET_IMAGES = 40
SHEET_COLUMNS = 10
SHEET_RES = 96
SHEET_BYTES = 400_000
BINS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetCard:
    """Counts, balance and pictures of one pyramid.

    facts       (name, value) rows for people
    attributes  (name, images with +1, images where it is known)
    classes     (name, images)
    quality     (low edge, high edge, images) of a histogram; empty when no scores are known
    rejects     (reason, pictures), most frequent first; None when there is no list beside the file
    """

    path: str
    n: int
    res: int
    fingerprint: str
    facts: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, int, int], ...]
    classes: tuple[tuple[str, int], ...]
    quality: tuple[tuple[float, float, int], ...]
    quality_known: int
    rejects: tuple[tuple[str, int], ...] | None
    sheet: Picture | None
    build_config: Mapping[str, Any]


def dataset_card(path: Path, *, pictures: bool = True, seed: int = 0) -> DatasetCard:
    """Read the index of a pyramid and a few of its images; ReportError for files that are none."""
    from celebahq_tools.errors import CelebAHQError
    from celebahq_tools.store import PyramidReader
    from celebahq_tools.store.info import describe

    try:
        about = describe(path)
        with PyramidReader(path) as reader:
            card = _card(path, about, reader, pictures=pictures, seed=seed)
    except (CelebAHQError, OSError) as error:
        raise ReportError(f"--data: {error}") from None
    return card


def _card(path: Path, about: Mapping[str, Any], reader: "PyramidReader", *, pictures: bool, seed: int) -> DatasetCard:
    quality = reader.index.quality if reader.has_index else np.empty(0)
    known = quality[np.isfinite(quality)]
    return DatasetCard(
        path=str(path),
        n=len(reader),
        res=reader.resolution,
        fingerprint=text(about["fingerprint"]) or reader.fingerprint(),
        facts=tuple(_facts(about)),
        attributes=tuple(_attributes(reader)),
        classes=tuple(_classes(reader)),
        quality=_histogram(known),
        quality_known=len(known),
        rejects=_rejects(path.with_name(f"{path.stem}.rejects.jsonl")),
        sheet=_sheet(reader, seed) if pictures and len(reader) else None,
        build_config=about["build_config"],
    )


def _facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = about["counts"]
    facts = [
        ("images", f"{about['num_images']:,}"),
        ("finest level", f"{about['resolution']}²"),
        ("levels", ", ".join(str(level["res"]) for level in about["levels"])),
        ("file", f"{about['file_bytes'] / 2**20:,.1f} MiB, {about['layout']}"),
        ("format", f"{about['format']} {text(about['format_version'])}".strip()),
        ("created by", text(about["created_by"]) or "unknown"),
        ("source list sha256", text(about["manifest_sha256"]) or "none"),
    ]
    if counts:
        facts += [(f"images with {name}", f"{number:,}") for name, number in counts["known"].items()]
        facts += [(f"partition {name}", f"{number:,}") for name, number in counts["partitions"].items()]
        facts += [("identities", f"{counts['identities']:,}"), ("classes", f"{counts['classes']:,}")]
    facts += [(f"built with {name}", text(version)) for name, version in about["library_versions"].items()]
    return facts


def _attributes(reader: "PyramidReader") -> list[tuple[str, int, int]]:
    if not reader.has_index or not reader.attribute_names:
        return []
    values = reader.index.attributes
    return [
        (str(name), int((column > 0).sum()), int((column != 0).sum()))
        for name, column in zip(reader.attribute_names, values.T, strict=False)
    ]


def _classes(reader: "PyramidReader") -> list[tuple[str, int]]:
    labels = reader.labels
    if labels is None:
        return []
    numbers = labels if labels.ndim == 1 else labels.argmax(axis=1)
    names = reader.label_names
    found, sizes = np.unique(numbers[numbers >= 0], return_counts=True)
    return [
        (str(names[int(n)]) if int(n) < len(names) else f"class {int(n)}", int(size))
        for n, size in zip(found, sizes, strict=True)
    ]


def _histogram(values: Any) -> tuple[tuple[float, float, int], ...]:
    if len(values) == 0:
        return ()
    sizes, edges = np.histogram(values, bins=min(BINS, max(4, round(len(values) ** 0.5) * 2)))
    return tuple((float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], sizes, strict=True))


def _rejects(path: Path) -> tuple[tuple[str, int], ...] | None:
    """Reasons and how often, from the list that a build leaves beside its output."""
    if not path.is_file():
        return None
    lines = read_bytes(path).splitlines()
    reasons = Counter(
        text(parse_object(line, f"{path}, line {place}").get("reason"))
        for place, line in enumerate(lines, 1)
        if line.strip()
    )
    return tuple(reasons.most_common())


def _columns(count: int) -> int:
    """Columns that fill their last row, where five to ten do."""
    full = [columns for columns in range(SHEET_COLUMNS, SHEET_COLUMNS // 2 - 1, -1) if count % columns == 0]
    return full[0] if full else min(SHEET_COLUMNS, count)


def _sheet(reader: "PyramidReader", seed: int) -> Picture:
    res = max((level for level in reader.levels if level <= SHEET_RES), default=reader.levels[-1])
    count = min(SHEET_IMAGES, len(reader))
    numbers = np.sort(np.random.default_rng(seed).choice(len(reader), size=count, replace=False))
    images = reader.read(numbers, res)
    if images.shape[1] == 1:
        images = images.repeat(3, axis=1)
    zoom = max(1, SHEET_RES // res)
    images = images.repeat(zoom, axis=-2).repeat(zoom, axis=-1)
    alt = f"Contact sheet of {count} random images of the data set"
    return encoded(from_chw(tiled(images, _columns(count), gap=2)), alt, budget=SHEET_BYTES)
