"""`celebahq repack`: another storage for a pyramid file."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option

if TYPE_CHECKING:
    from celebahq_tools.store.repack import Compression


@click.command("repack")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option(
    "--compress",
    type=click.Choice(["gzip", "lzf", "none"]),
    default="gzip",
    show_default=True,
    help="gzip: smallest; lzf: faster to read; none: contiguous, as built.",
)
@click.option("--level", type=click.IntRange(0, 9), default=4, show_default=True, help="Of gzip.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, help="Threads.")
@quiet_option
@json_option
@command_errors
def repack_cmd(file: Path, out: Path, compress: str, level: int, jobs: int, quiet: bool, as_json: bool) -> None:
    """Rewrite FILE compressed, for archives, or contiguous again, for use.

    Images, index and fingerprint stay the same, and the result is checked in full before it gets its name.
    Reading single images of a compressed file is many times slower.

    \b
    Example:
      celebahq repack celebahq-1024.h5 --out celebahq-1024.gz.h5 --compress gzip
    """
    from celebahq_tools.store.repack import repack_pyramid

    with progress_bar("repack", quiet=quiet) as progress:
        compression = cast("Compression", compress)
        repack_pyramid(file, out, compression=compression, level=level, jobs=jobs, progress=progress)
    before, after = file.stat().st_size, out.stat().st_size
    result = {"out": str(out), "bytes_before": before, "bytes_after": after}
    emit(result, f"{out}: {after:,} bytes, {after / before:.1%} of {before:,}", as_json=as_json)
