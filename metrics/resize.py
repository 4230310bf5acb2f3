"""The two resizes that published FIDs were computed with, both to float32 on the 0..255 scale.

`legacy-tensorflow`  TensorFlow 1 `resize_bilinear(align_corners=False)`: no half-pixel centres, no antialias.
`clean`              Parmar, Zhang and Zhu 2022: Pillow bicubic, antialiased, per channel in float32, clipped.

Legend: N images, C channels, H x W input size, S output size.
"""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ResizeMode = Literal["legacy-tensorflow", "clean"]
RESIZE_MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)


def resize(images: NDArray[np.uint8], size: int, mode: ResizeMode) -> NDArray[np.float32]:
    """(N, C, H, W) uint8 to (N, C, size, size) float32 [0, 255] by the named mode."""
    if mode == "legacy-tensorflow":
        return resize_legacy_tensorflow(images, size)
    return resize_clean(images, size)


def resize_legacy_tensorflow(images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """(N, C, H, W) uint8 to (N, C, size, size) float32.

    Output pixel i reads the input at i * (H / size), in float32 like the original: the top-left pixel is
    the origin, so the picture shifts by up to half an input pixel against other tools. Columns are
    interpolated first, then rows, each as low + (high - low) * fraction.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images.astype(np.float32)
    top, bottom, down = _legacy_taps(height, size)
    left, right, across = _legacy_taps(width, size)

    def interpolate_columns(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        picked = images.take(rows, axis=-2)
        low = picked.take(left, axis=-1).astype(np.float32)
        high = picked.take(right, axis=-1).astype(np.float32)
        high -= low
        high *= across
        high += low
        return high

    upper, lower = interpolate_columns(top), interpolate_columns(bottom)
    lower -= upper
    lower *= down[:, None]
    lower += upper
    return lower


def resize_legacy_on_device(images: "torch.Tensor", size: int) -> "torch.Tensor":
    """`resize_legacy_tensorflow` of a uint8 tensor where it lies, bit-equal to it on the CPU."""
    import torch

    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images.to(torch.float32)

    def taps(length: int) -> list[torch.Tensor]:
        return [torch.from_numpy(array).to(images.device) for array in _legacy_taps(length, size)]

    top, bottom, down = taps(height)
    left, right, across = taps(width)

    def interpolate_columns(rows: torch.Tensor) -> torch.Tensor:
        picked = images.index_select(-2, rows)
        low = picked.index_select(-1, left).to(torch.float32)
        high = picked.index_select(-1, right).to(torch.float32)
        return high.sub_(low).mul_(across).add_(low)

    upper, lower = interpolate_columns(top), interpolate_columns(bottom)
    return lower.sub_(upper).mul_(down[:, None]).add_(upper)


def resize_clean(images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """(N, C, H, W) uint8 to (N, C, size, size) float32, each channel by Pillow's bicubic with antialias."""
    from PIL import Image

    count, channels = images.shape[:2]
    resized = np.empty((count, channels, size, size), np.float32)
    for index in np.ndindex(count, channels):
        plane = Image.fromarray(images[index].astype(np.float32))
        resized[index] = np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC))
    # Bicubic overshoots at edges; the 8-bit range is part of the definition.
    return np.clip(resized, 0, 255, out=resized)


def _legacy_taps(length: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Lower and upper source index and fraction of every output position, each (size,)."""
    scale = np.float32(length) / np.float32(size)
    position = np.arange(size, dtype=np.float32) * scale
    lower = np.minimum(np.floor(position).astype(np.intp), length - 1)
    upper = np.minimum(lower + 1, length - 1)
    return lower, upper, position - lower.astype(np.float32)
