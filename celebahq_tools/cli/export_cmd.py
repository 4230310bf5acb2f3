"""`celebahq export`: images of a pyramid file in other formats."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option

if TYPE_CHECKING:
    from celebahq_tools.formats.writers import SetFormat


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A folder, or NAME.zip, .npy, .parquet.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "webp", "stylegan", "tfrecords", "npy", "parquet"]),
    help="Default: by the name, npy, parquet, else png.",
)
@click.option("--res", type=int, help="Level to write; default: the finest.")
@click.option("--ids", help="Image numbers, such as 0,5,10-19; default: all.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, help="Threads.")
@click.option("--overwrite", is_flag=True, help="Drop what an unfinished export with other options left.")
@quiet_option
@json_option
@command_errors
def export_cmd(
    file: Path,
    to: Path,
    kind: str | None,
    res: int | None,
    ids: str | None,
    limit: int | None,
    jobs: int,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write images of FILE, bit for bit: PNG or WebP in a folder or zip, or another data set format.

    png and webp have index.csv beside them; stylegan is a zip with dataset.json, tfrecords a folder in the authors'
    format with all levels. Everything appears when it is complete; the same command goes on with an export that was
    stopped.

    \b
    Example:
      celebahq export celebahq-1024.h5 --res 256 --to faces.zip --limit 1000
      celebahq export celebahq-1024.h5 --format tfrecords --to celebahq/
    """
    from celebahq_tools.store import PyramidReader
    from celebahq_tools.store.export import PictureFormat, export_images

    kind = kind or {".npy": "npy", ".parquet": "parquet"}.get(to.suffix.lower(), "png")
    with PyramidReader(file) as reader:
        numbers = list(range(len(reader))) if ids is None else parse_ids(ids, len(reader))
        numbers = numbers[:limit]
        with progress_bar("export", quiet=quiet) as progress:
            if kind in ("png", "webp"):
                picture = cast(PictureFormat, kind)
                count = export_images(
                    reader,
                    to=to,
                    res=res,
                    ids=numbers,
                    jobs=jobs,
                    progress=progress,
                    picture=picture,
                    overwrite=overwrite,
                )
            else:
                from celebahq_tools.formats.writers import export_set

                count = export_set(
                    reader,
                    cast("SetFormat", kind),
                    to=to,
                    res=res,
                    ids=numbers,
                    jobs=jobs,
                    progress=progress,
                    overwrite=overwrite,
                )
        res = reader.resolution if res is None else res
    result = {"to": str(to), "images": count, "res": res}
    emit(result, f"{to}: {count:,} images of {res} x {res}", as_json=as_json)


def parse_ids(text: str, count: int) -> list[int]:
    """'0,5,10-12' -> [0, 5, 10, 11, 12], in the order given. Raises UsageError for anything else."""
    from celebahq_tools.errors import UsageError

    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise UsageError(f"--ids: {part!r} is no image number or range; write such as 0,5,10-19")
        begin, end = int(first), int(last or first)
        if not begin <= end < count:
            raise UsageError(f"--ids: {part.strip()} is outside 0-{count - 1}")
        numbers.extend(range(begin, end + 1))
    return numbers
