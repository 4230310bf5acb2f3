"""`celebahq verify`: check every image of a pyramid file."""

from pathlib import Path

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option
from celebahq_tools.errors import EXIT_FAILED

MAX_LISTED = 20


@click.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, help="Threads.")
@quiet_option
@json_option
@command_errors
def verify_cmd(file: Path, jobs: int, quiet: bool, as_json: bool) -> None:
    """Check FILE: the sha256 of every image, and every level against the finest one.

    Exit code 0 when all is well, 1 when an image is bad (each is listed) or the file cannot be read. Files
    without checksums, such as the authors' own, have their levels checked.

    \b
    Example:
      celebahq verify celebahq-1024.h5 --jobs 4
    """
    from celebahq_tools.store import verify_pyramid

    with progress_bar("verify", quiet=quiet) as progress:
        report = verify_pyramid(file, progress, jobs=jobs)
    bad = [{"slot": image.slot, "key": image.key, "problem": image.problem} for image in report.bad]
    result = {
        "path": str(report.path),
        "ok": report.ok,
        "num_images": report.num_images,
        "levels": list(report.levels),
        "checksums": report.checksums,
        "bad": bad,
    }
    what = "checksums and levels" if report.checksums else "levels (the file has no checksums)"
    lines = [f"{file}: {report.num_images:,} images, {what}: " + ("ok" if report.ok else f"{len(bad):,} bad")]
    for image in report.bad[:MAX_LISTED]:
        name = f" ({image.key})" if image.key is not None else ""
        lines.append(f"  image {image.slot}{name}: {image.problem}")
    if len(bad) > MAX_LISTED:
        lines.append(f"  and {len(bad) - MAX_LISTED:,} more; --json lists all")
    emit(result, "\n".join(lines), as_json=as_json)
    if not report.ok:
        raise SystemExit(EXIT_FAILED)
