"""Generators as sets of images: found by entry point, so that this package needs no trainer."""

import json
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from metrics.errors import ImageSetError
from metrics.sources.base import ImageSet

GROUP = "celebahq_tools.image_sets"
GENERATOR = "safetensors"
RUN_SCHEMA = "celebahq-tools/pgan-run"
MAX_CONFIG_BYTES = 1 << 20

Opener: TypeAlias = Callable[[Path, int | None, str | None, str | None], ImageSet]
"""Opens a generator as opener(path, res, resizer, label)."""


def is_generator(path: Path) -> bool:
    """Whether `path` is a `.safetensors` file or the directory of a training run that holds networks."""
    if path.is_dir():
        return (path / "networks").is_dir() and _is_run_config(path / "config.json")
    return path.suffix.lower() == f".{GENERATOR}"


def open_by_entry_point(
    path: Path,
    *,
    res: int | None,
    resizer: str | None,
    label: str | None = None,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
) -> ImageSet:
    """The generator at `path`, opened by the function that the entry point 'safetensors' names.

    label         that its samples are to have, in the generator's own words; None: drawn
    entry_points  of the group GROUP; None: those of the installed packages

    Raises ImageSetError when no package declares one or it cannot be imported.
    """
    known = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    for entry in known:
        if entry.name == GENERATOR:
            try:
                opener: Opener = entry.load()
            except (ImportError, AttributeError) as error:
                raise ImageSetError(f"{path}: {entry.value} cannot be imported ({error}); install it again") from None
            return opener(path, res, resizer, label)
    raise ImageSetError(
        f"{path} is a generator, and no installed package opens it (entry point {GENERATOR!r} of {GROUP}); "
        "install celebahq-tools again, or write its images to a folder and name that"
    )


def _is_run_config(path: Path) -> bool:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return False
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(plain, dict) and plain.get("schema") == RUN_SCHEMA
