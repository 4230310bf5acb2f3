"""What a restorer is: the stage of the paper that removes JPEG artifacts and enlarges a picture before it is cropped.

Legend: pictures are (H, W, 3) uint8 [0, 255] RGB. A box is (x0, y0, x1, y1) in whole pixels of the picture that
goes in, x1 and y1 excluded. `s` is the restorer's scale. Nothing here imports torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError, UsageError

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

RestorerName = Literal["none", "ours", "realesrgan", "spandrel"]
RestoreTask = Literal["jpeg", "sr4", "joint"]
PrecisionName = Literal["auto", "fp32", "bf16"]
DeviceName = Literal["auto", "cpu", "cuda"]

NAMED_RESTORERS: tuple[RestorerName, ...] = ("ours", "realesrgan", "none")
DEFAULT_TILE = 768
DEFAULT_TASK: RestoreTask = "jpeg"
MIN_TILE = 16
MAX_HEADER_READ = (1 << 20) + 8


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorerConfig:
    """Which restorer to open, and how it computes.

    name       'none' copies; 'ours' are the networks that ship with the package; 'realesrgan' is Real-ESRGAN x4plus;
               'spandrel' is any network that the package of that name reads from `weights`
    weights    a file to use instead of the shipped or cached one: for 'ours' a `.safetensors` of `train-restorer`, for
               'realesrgan' a `.pth`, or one of an ncnn pair `.param` / `.bin`
    task       which of our networks: 'jpeg' removes artifacts, 'sr4' enlarges, 'joint' does both
    precision  'auto' takes bf16 where matrix hardware for it was found, else fp32; the stamp says which it was
    tile       longest edge, in pixels of the picture, that is restored in one piece; bounds the memory
    device     'cpu', 'cuda', or 'auto' for CUDA when there is any
    """

    name: RestorerName = "none"
    weights: Path | None = None
    task: RestoreTask = DEFAULT_TASK
    precision: PrecisionName = "auto"
    tile: int = DEFAULT_TILE
    device: DeviceName = "cpu"

    def __post_init__(self) -> None:
        for field, value, allowed in (
            ("name", self.name, get_args(RestorerName)),
            ("task", self.task, get_args(RestoreTask)),
            ("precision", self.precision, get_args(PrecisionName)),
            ("device", self.device, get_args(DeviceName)),
        ):
            if value not in allowed:
                raise UsageError(f"restorer {field} {value!r} is unknown: choose one of {', '.join(allowed)}")
        if self.tile < MIN_TILE:
            raise UsageError(f"restorer tile is {self.tile} pixels: at least {MIN_TILE} are needed")


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorerStamp:
    """What made a restored picture, recorded beside every build; plain values, fit for JSON.

    weights_sha256  of the file that holds the numbers (`.pth`, or the `.bin` of an ncnn pair); None without any
    precision       'fp32' or 'bf16' as resolved on this machine; 'none' when nothing is computed
    device          'cpu' or 'cuda' as resolved
    """

    name: str
    version: str
    weights_sha256: str | None
    precision: str
    tile: int
    device: str
    licence: str


class Restorer(Protocol):
    """Restores pictures; cheap to pickle, since weights are read on first use in each process."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def scale(self) -> int:
        """How many times a picture grows in each direction, s."""

    @property
    def context(self) -> int:
        """Pixels around a box that are read to restore it."""

    def stamp(self) -> RestorerStamp:
        """What identifies the result: network, weights, precision. May read the weights."""

    def restore(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """(H, W, 3) uint8 and a box in it -> (s * (y1 - y0), s * (x1 - x0), 3) uint8: that box, restored.

        Reads up to `context` pixels around the box and nothing beyond. None means the whole picture. Raises
        UsageError for pixels of another kind and for a box that is empty or leaves the picture.
        """


def checked_box(pixels: Pixels, box: Box | None) -> Box:
    """The box to restore; UsageError when the pixels or the box are not as `Restorer.restore` wants them."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise UsageError(
            f"restorer expects (H, W, 3) uint8 pixels, found {tuple(pixels.shape)} {pixels.dtype}: convert to RGB first"
        )
    height, width = pixels.shape[:2]
    if box is None:
        return (0, 0, width, height)
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise UsageError(
            f"restorer box {box} does not lie in the {width}x{height} picture: clip it to the picture first"
        )
    return box


def widened_box(shape: tuple[int, ...], box: Box, context: int) -> Box:
    """The box grown by `context` pixels on each side and clipped to a picture of shape (H, W, ...)."""
    height, width = shape[:2]
    x0, y0, x1, y1 = box
    return (max(x0 - context, 0), max(y0 - context, 0), min(x1 + context, width), min(y1 + context, height))


def restored_share(shape: tuple[int, ...], box: Box, context: int) -> float:
    """Share (0, 1] of a picture of shape (H, W, ...) that is read to restore `box` with its context."""
    height, width = shape[:2]
    x0, y0, x1, y1 = widened_box(shape, box, context)
    return (x1 - x0) * (y1 - y0) / (width * height)


def named_restorer(text: str) -> tuple[RestorerName, Path | None]:
    """What `--restorer TEXT` means: the name of a restorer, or one that fits a file of weights, and that file.

    Raises UsageError for a text that is neither.
    """
    for name in NAMED_RESTORERS:
        if text == name:
            return name, None
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"--restorer {text}: expected ours, realesrgan, none, or a file of weights")
    if path.suffix == ".safetensors" and is_ours(path):
        return "ours", path
    return "spandrel", path


def is_ours(path: Path) -> bool:
    """Whether a `.safetensors` file says in its header that it is one of our networks."""
    from celebahq_tools.restore.header import OURS_KEY, read_metadata

    with path.open("rb") as file:
        head = file.read(MAX_HEADER_READ)
    try:
        return OURS_KEY in read_metadata(head, name=str(path))
    except FormatError:
        return False
