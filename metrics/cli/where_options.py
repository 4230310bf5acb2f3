"""Options of every command that measures sets: only the images with certain labels."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

R = TypeVar("R")

LABELLED_SUFFIXES = (".h5", ".hdf5", ".safetensors")

class_option = click.option("--class", "class_name", metavar="NAME|INT", help="Only images of this class of the sets.")
where_option = click.option(
    "--where",
    metavar="LABEL=VALUE,...",
    help="Only images with these labels: Male=1,Smiling=0, part=test, age>=30. One set alone: FILE.h5::Male=1.",
)


def where_options(*sets: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command --class and --where, which restrict the sets in its arguments of these names."""

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(function)
        def wrapped(*args: Any, class_name: str | None, where: str | None, **rest: Any) -> R:
            text = ",".join(part for part in (where, f"class={class_name}" if class_name else None) if part)
            for name in sets:
                if text and rest[name] is not None:
                    rest[name] = restricted(rest[name], text)
            return function(*args, **rest)

        return class_option(where_option(wrapped))

    return decorate


def restricted(path: str, where: str) -> str:
    """The name of a set for its images with these labels. UsageError for sets without labels."""
    from metrics.errors import UsageError

    base, mark, own = path.partition("::")
    if Path(base).suffix.lower() not in LABELLED_SUFFIXES and not (Path(base) / "networks").is_dir():
        raise UsageError(
            f"{path} has no labels to choose images by: a pyramid (.h5) has; to restrict the other set only, leave "
            f"--class and --where out and name it as FILE.h5::{where}"
        )
    return f"{base}::{own},{where}" if mark else f"{base}::{where}"
