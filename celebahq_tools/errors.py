"""Errors the library raises; the command line turns each into one line on stderr and an exit code.

A message is one line that says what is wrong, where (file, index), what was expected, what was found and
what to do about it.
"""

EXIT_FAILED = 1
EXIT_USAGE = 2


class CelebAHQError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: int = EXIT_FAILED


class UsageError(CelebAHQError):
    """Options that contradict each other or name nothing; exit code 2."""

    exit_code = EXIT_USAGE


class SourceError(CelebAHQError):
    """A source as a whole cannot be used: missing, not a CelebA root, annotations that do not add up."""


class PictureError(CelebAHQError):
    """One picture cannot be used. `reason` is a short stable slug for the rejects file."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["PictureError"], tuple[str, str]]:
        """Pickle with both arguments, so that workers can raise it."""
        return type(self), (self.reason, str(self))


class FormatError(CelebAHQError):
    """A file of ours (pyramid, journal, weights) is damaged, of an unknown version or not what it says."""


class MissingDependencyError(CelebAHQError):
    """An optional package or a downloadable file is absent; the message says how to get it."""


class BusyError(CelebAHQError):
    """Another process is working on the same output."""


class DiskSpaceError(CelebAHQError):
    """The disk is or would be full; what is done so far is kept and the same command resumes."""
