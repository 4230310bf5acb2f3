"""Errors of the trainer; the command line turns each into one line on stderr and an exit code.

A message is one line that says what is wrong, where, what was expected, what was found and what to do about it.
"""

EXIT_FAILED = 1
EXIT_USAGE = 2


class PganError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: int = EXIT_FAILED


class ConfigError(PganError):
    """Settings that contradict each other or make no sense; exit code 2."""

    exit_code = EXIT_USAGE


class DataError(PganError):
    """The training set cannot be used: missing level, wrong resolution, too few images, no labels."""


class RunError(PganError):
    """A run directory is missing, belongs to something else or is in use."""


class CheckpointError(PganError):
    """A checkpoint is truncated, damaged, of an unknown version or of another configuration."""


class DiskSpaceError(PganError):
    """The disk is full; what was there before is intact."""


class TrainingError(PganError):
    """Training went wrong (non-finite numbers, collapse); the last good checkpoint is kept."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MissingDependencyError(PganError):
    """An optional package is absent; the message says how to get it."""
