"""`celebahq sheet`: a contact sheet of a pyramid file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from celebahq_tools.cli.common import command_errors, emit, json_option

if TYPE_CHECKING:
    from celebahq_tools.sheet import Caption
    from celebahq_tools.store import PyramidReader

DEFAULT_IMAGES = 24
DEFAULT_RES = 256


@click.command("sheet")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="The PNG to write.")
@click.option("--res", type=int, help=f"Level to show; default: the finest up to {DEFAULT_RES}.")
@click.option("--cols", type=click.IntRange(min=1), help="Pictures per row.")
@click.option("--limit", type=click.IntRange(min=1), default=DEFAULT_IMAGES, show_default=True, help="How many.")
@click.option("--seed", type=int, help="Choose at random with this seed; default: the first ones.")
@json_option
@command_errors
def sheet_cmd(
    file: Path, out: Path, res: int | None, cols: int | None, limit: int, seed: int | None, as_json: bool
) -> None:
    """Draw images of FILE in a labelled grid.

    \b
    Example:
      celebahq sheet celebahq-1024.h5 -o contact.png --limit 40 --seed 1
    """
    from celebahq_tools.errors import UsageError
    from celebahq_tools.sheet import contact_sheet
    from celebahq_tools.store import PARTIAL_SUFFIX, PyramidReader

    with PyramidReader(file) as reader:
        numbers = _choose(len(reader), limit, seed)
        if res is None:
            res = max((level for level in reader.levels if level <= DEFAULT_RES), default=reader.levels[-1])
        size = f"{reader.resolution}x{reader.resolution}"
        if res != reader.resolution:
            size += f", shown at {res}x{res}"
        title = f"{file.name}: {len(numbers):,} of {len(reader):,} images, {size}"
        try:
            captions = [_caption(reader, number) for number in numbers]
            picture = contact_sheet(reader.read(numbers, res), captions, title=title, cols=cols)
        except ValueError as error:
            raise UsageError(str(error)) from None
    partial = out.with_name(out.name + PARTIAL_SUFFIX)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        picture.save(partial, format="PNG")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    width, height = picture.size
    result = {"sheet": str(out), "images": numbers, "res": res, "width": width, "height": height}
    emit(result, f"{out}: {len(numbers)} images, {width} x {height} pixels", as_json=as_json)


def _choose(count: int, limit: int, seed: int | None) -> list[int]:
    import numpy as np

    if seed is None or limit >= count:
        return list(range(min(limit, count)))
    chosen = np.random.default_rng(seed).choice(count, limit, replace=False)
    return sorted(int(number) for number in chosen)


def _caption(reader: "PyramidReader", number: int) -> "Caption":
    from celebahq_tools.sheet import Caption

    if not reader.has_index:
        return Caption(head=f"{number}")
    row = reader.index.row(number)
    quality = "" if row.quality is None else f"   quality {row.quality:.1f}"
    return Caption(head=f"{number}{quality}", name=row.key)
