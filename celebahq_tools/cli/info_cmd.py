"""`celebahq info`: what a pyramid file is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from celebahq_tools.cli.common import command_errors, emit, json_option


@click.command("info")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", "show_config", is_flag=True, help="Print the whole build configuration, too.")
@json_option
@command_errors
def info_cmd(file: Path, show_config: bool, as_json: bool) -> None:
    """Say what FILE is: images, levels, storage, index, origin, content fingerprint.

    Works for files of this program, repacked ones, and the authors' own .h5 files.

    \b
    Example:
      celebahq info celebahq-1024.h5
    """
    from celebahq_tools.store.info import describe

    facts = describe(file)
    emit(facts, _text(facts, show_config), as_json=as_json)


def _text(facts: Mapping[str, Any], show_config: bool) -> str:
    import json

    version = f" version {facts['format_version']}" if facts["format_version"] else ", no index"
    lines = [
        f"{facts['path']}",
        f"  format       {facts['format']}{version}",
        f"  images       {facts['num_images']:,} of {facts['resolution']}x{facts['resolution']}",
        f"  size         {_size(facts['file_bytes'])}, {facts['layout']}",
    ]
    for level in facts["levels"]:
        lines.append(f"  level {level['res']:<6} {_size(level['bytes'])}, {level['layout']}")
    if facts["created_by"]:
        lines.append(f"  created by   {facts['created_by']}")
    lines.append(f"  fingerprint  {facts['fingerprint'] or 'none in the file'}")
    lines += _index_lines(facts)
    if facts["manifest_sha256"]:
        lines.append(f"  manifest     {facts['manifest_sha256']}")
    if facts["library_versions"]:
        versions = ", ".join(f"{name} {number}" for name, number in sorted(facts["library_versions"].items()))
        lines.append(f"  libraries    {versions}")
    if show_config:
        lines += ["  config", *("    " + line for line in json.dumps(facts["build_config"], indent=2).split("\n"))]
    return "\n".join(lines)


def _index_lines(facts: Mapping[str, Any]) -> list[str]:
    counts = facts["counts"]
    if not counts:
        return []
    known = ", ".join(f"{name} {number:,}" for name, number in counts["known"].items() if number)
    lines = [f"  known        {known or 'only names'}"]
    if counts["partitions"]:
        parts = ", ".join(f"{name} {number:,}" for name, number in counts["partitions"].items())
        lines.append(f"  partitions   {parts}")
    if counts["identities"]:
        lines.append(f"  identities   {counts['identities']:,}")
    if counts["classes"]:
        names = ", ".join(facts["label_names"][:12]) + (", ..." if len(facts["label_names"]) > 12 else "")
        lines.append(f"  classes      {counts['classes']:,}" + (f": {names}" if names else ""))
    return lines


def _size(num_bytes: int) -> str:
    size, unit = float(num_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
