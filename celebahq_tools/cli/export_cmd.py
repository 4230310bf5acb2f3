"""`celebahq export`: images of a pyramid file as PNG."""

from pathlib import Path

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A folder, or NAME.zip.")
@click.option("--res", type=int, help="Level to write; default: the finest.")
@click.option("--ids", help="Image numbers, such as 0,5,10-19; default: all.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, help="Threads.")
@quiet_option
@json_option
@command_errors
def export_cmd(
    file: Path,
    to: Path,
    res: int | None,
    ids: str | None,
    limit: int | None,
    jobs: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write images of FILE as PNG files, bit for bit, with index.csv beside them.

    A folder is completed when the same command runs again; a zip appears when it is complete.

    \b
    Example:
      celebahq export celebahq-1024.h5 --res 256 --to faces.zip --limit 1000
    """
    from celebahq_tools.store import PyramidReader
    from celebahq_tools.store.export import export_images

    with PyramidReader(file) as reader:
        numbers = list(range(len(reader))) if ids is None else parse_ids(ids, len(reader))
        numbers = numbers[:limit]
        with progress_bar("export", quiet=quiet) as progress:
            count = export_images(reader, to=to, res=res, ids=numbers, jobs=jobs, progress=progress)
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
