"""One option for every setting of a run, made from the configuration itself."""

import functools
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any

import click

from pgan.overrides import settings

OVERRIDES = "overrides"


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds an option per setting; the command gets those that were given as the dict `overrides`."""
    names: list[str] = []

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in names}
        kwargs[OVERRIDES] = {name: value for name, value in given.items() if value is not None}
        return function(*args, **kwargs)

    decorated: Callable[..., Any] = wrapped
    for _, one in reversed(settings()):
        names.append(one.name)
        flag = "--" + one.name.replace("_", "-")
        text = str(one.metadata["help"])
        assert one.default is not MISSING
        if isinstance(one.default, bool):
            decorated = click.option(f"{flag}/--no-{flag[2:]}", one.name, default=None, help=text)(decorated)
        else:
            decorated = click.option(flag, one.name, metavar="VALUE", help=text)(decorated)
    return decorated
