"""`celebahq identify`: which images of a supposed CelebA-HQ are the official ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option
from celebahq_tools.errors import EXIT_FAILED, SourceError

if TYPE_CHECKING:
    from celebahq_tools.identify import Verdict

ROWS_SHOWN = 40
CSV_COLUMNS = ("name", "kind", "idx", "claimed", "psnr_db", "detail")


@click.command("identify")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--index", type=click.Path(path_type=Path), help="Another image_list.txt than the official one.")
@click.option("--reference", type=click.Path(path_type=Path), help="HDF5 file of verified images, to find copies.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Also write the table to this file.")
@quiet_option
@json_option
@command_errors
def identify_cmd(
    path: Path, index: Path | None, reference: Path | None, csv_path: Path | None, quiet: bool, as_json: bool
) -> None:
    """Tell for each image in PATH (folder, zip, HDF5 or picture) whether it is an official CelebA-HQ image.

    Checksums prove images of 1024x1024 pixels only. JPEG and resized copies can be recognised by their pixels
    alone, given a --reference. File names are reported as claims, never as evidence.
    Exit code 0: every image is official; 1: some are not.

    \b
    Example:
      celebahq identify supposed-celebahq.zip --reference celebahq-1024.h5
    """
    import dataclasses

    from celebahq_tools.identify import KnownImages, identify
    from celebahq_tools.manifest import load_celebahq_index, parse_image_list
    from celebahq_tools.reference import Reference

    if index is not None and not index.is_file():
        raise SourceError(f"{index}: no such file; give an image_list.txt")
    rows = load_celebahq_index() if index is None else parse_image_list(index.read_bytes(), str(index))
    known = Reference(reference) if reference is not None else None
    with progress_bar("Identifying", quiet=quiet) as progress:
        verdicts = list(identify(path, KnownImages(rows), reference=known, progress=progress))
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict.kind] = counts.get(verdict.kind, 0) + 1
    table = [dataclasses.asdict(verdict) for verdict in verdicts]
    if csv_path is not None:
        _write_csv(csv_path, table)
    distinct = len({number for verdict in verdicts if verdict.kind == "official" for number in verdict.idx[:1]})
    result = {"images": len(verdicts), "counts": counts, "distinct_official": distinct, "table": table}
    emit(result, _text(verdicts, counts, distinct, len(rows)), as_json=as_json)
    if counts.get("official", 0) != len(verdicts):
        raise SystemExit(EXIT_FAILED)


def _write_csv(path: Path, table: list[dict[str, Any]]) -> None:
    import csv

    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS)
            writer.writeheader()
            for row in table:
                writer.writerow({**row, "idx": " ".join(map(str, row["idx"]))})
        partial.replace(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror})") from None


def _text(verdicts: "list[Verdict]", counts: dict[str, int], distinct: int, known: int) -> str:
    width = max(len(verdict.name) for verdict in verdicts[:ROWS_SHOWN])
    lines = []
    for verdict in verdicts[:ROWS_SHOWN]:
        number = " = ".join(map(str, verdict.idx)) or "-"
        extra = f", {verdict.psnr_db} dB" if verdict.psnr_db is not None else ""
        claim = "" if verdict.claimed is None or verdict.claimed in verdict.idx else f"; claims to be {verdict.claimed}"
        lines.append(f"{verdict.kind:<13} {verdict.name:<{width}}  {number:<6} {verdict.detail}{extra}{claim}")
    if len(verdicts) > ROWS_SHOWN:
        lines.append(f"... and {len(verdicts) - ROWS_SHOWN:,} more; --csv and --json have all")
    summary = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    lines.append(f"{len(verdicts):,} images: {summary}; {distinct:,} distinct of {known:,} official ones")
    return "\n".join(lines)
