"""Errors of the trainer; the command line turns each into one line on stderr and an exit code."""


class PganError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: int = 1
