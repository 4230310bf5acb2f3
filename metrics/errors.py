"""Errors the metrics raise; the command line turns each into one line on stderr and an exit code.

A message is one line that says what is wrong, where (file, index), what was expected, what was found and
what to do about it.
"""

EXIT_FAILED = 1
EXIT_USAGE = 2


class MetricsError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: int = EXIT_FAILED


class UsageError(MetricsError):
    """Options that contradict each other or name nothing; exit code 2."""

    exit_code = EXIT_USAGE


class ImageSetError(MetricsError):
    """A set of images cannot be used: missing, unreadable, mixed sizes or channels, too few or too small."""


class EmptySelectionError(ImageSetError):
    """No image of a set has the labels that are asked for."""


class BatchError(MetricsError):
    """An array handed to an accumulator has the wrong shape, type or number of images."""


class ResultError(MetricsError):
    """A result file is damaged, of an unknown version or not a result."""


class UnlikeProtocolsError(MetricsError):
    """Results that were not measured the same way; `differences` lists what differs, one line each."""

    def __init__(self, differences: tuple[str, ...]) -> None:
        super().__init__("results of unlike protocols are not compared: " + "; ".join(differences))
        self.differences = differences


class ReportError(MetricsError):
    """A run directory, benchmark file or picture cannot be put into a report."""


class CacheError(MetricsError):
    """A cached statistics file is damaged, of an unknown version or belongs to other data."""


class WeightsError(MetricsError):
    """Network weights are missing, damaged or not those of the network they are loaded into."""


class MissingDependencyError(MetricsError):
    """An optional package is absent; the message says how to get it."""


class DiskSpaceError(MetricsError):
    """The temporary folder has too little room; the message says how much is needed and how to move it."""
