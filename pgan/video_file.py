"""Frames into an mp4 file (H.264)."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pgan.errors import ConfigError, MissingDependencyError, RunError
from pgan.grids import remove, write_error

if TYPE_CHECKING:
    from types import ModuleType

CODEC = "libx264"
CRF = "16"
"""Constant rate factor: visually without loss."""

Progress = Callable[[int, int], None]


def check_video_out(out: Path) -> None:
    """ConfigError for a name or place that cannot become an mp4, MissingDependencyError without the encoder."""
    if out.suffix.lower() != ".mp4":
        raise ConfigError(f"{out}: a film is an mp4; choose a name that ends in .mp4")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out}: the folder {out.absolute().parent} does not exist; create it first")
    _av()


def write_video(
    out: Path, frames: Iterable[NDArray[np.uint8]], *, fps: int, total: int, progress: Progress | None = None
) -> None:
    """Encode `total` frames, (H, W, 3) uint8 of one size, to `.partial`, count them in the file, rename.

    Odd sides are extended by one repeated row or column, as the format wants even ones.
    Raises MissingDependencyError without PyAV, DiskSpaceError when the disk is full, RunError for a bad file.
    """
    check_video_out(out)
    av = _av()
    partial = out.with_name(out.name + ".partial")
    try:
        _encode(av, partial, frames, fps, total, progress)
        with av.open(str(partial), format="mp4") as container:
            found = sum(1 for _ in container.decode(video=0))
        if found != total:
            raise RunError(f"{out} holds {found} frames, expected {total}; make it again")
        partial.replace(out)
    except OSError as error:
        raise write_error(out, error) from None
    finally:
        remove(partial)


def _encode(
    av: Any, path: Path, frames: Iterable[NDArray[np.uint8]], fps: int, total: int, progress: Progress | None
) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = None
        for done, frame in enumerate(frames, 1):
            even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = container.add_stream(CODEC, rate=fps, options={"crf": CRF})
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
            if progress is not None:
                progress(done, total)
        if stream is not None:
            container.mux(stream.encode())


def _av() -> "ModuleType":
    try:
        import av
    except ImportError:
        raise MissingDependencyError(
            "films need PyAV, which is not installed; `pip install 'celebahq-tools[pgan]'`"
        ) from None
    module: ModuleType = av
    return module
