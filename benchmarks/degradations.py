"""Controlled damage to pictures, from mild to severe, to validate the quality score against.

pixels (R, R, 3) uint8 RGB in and out; nothing here is random but the noise, which has a fixed seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_NOISE_SEED = 7
_SCREEN_CONTRAST = 4.0
"""Slope of the screen's threshold: dots with soft rims, as a scan of print shows them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """One kind of damage at several strengths, mildest first."""

    kind: str
    strengths: tuple[str, ...]
    steps: tuple[Callable[[Pixels], Pixels], ...]


def all_damage() -> list[Damage]:
    """Every kind that the score must tell from the clean original."""
    return [
        _damage("Gaussian blur, sigma", blur, (0.7, 1.0, 1.5, 2.0, 4.0)),
        _damage("enlarged, times", enlarge, (2, 4)),
        _damage("JPEG, quality", jpeg, (30, 20, 10)),
        *(
            _damage(f"motion blur {degrees} deg, px", partial(motion, degrees=degrees), (5, 9, 15))
            for degrees in (0, 30, 90, 135)
        ),
        *(
            Damage(kind="halftone", strengths=(f"{period} px {degrees} deg",), steps=(step,))
            for period, degrees in ((4, 45), (5, 30), (6, 15), (8, 45), (12, 0))
            for step in (partial(halftone, period=period, degrees=degrees),)
        ),
        _damage("colour noise, sigma", noise, (3, 5, 10, 20, 40)),
        _damage("gray noise, sigma", partial(noise, gray=True), (3, 10, 20, 40)),
    ]


def _damage(kind: str, step: Callable[[Pixels, float], Pixels], strengths: Sequence[float]) -> Damage:
    return Damage(
        kind=kind,
        strengths=tuple(str(strength) for strength in strengths),
        steps=tuple(_fixed(step, strength) for strength in strengths),
    )


def _fixed(step: Callable[[Pixels, float], Pixels], strength: float) -> Callable[[Pixels], Pixels]:
    return lambda pixels: step(pixels, strength)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def enlarge(pixels: Pixels, factor: float) -> Pixels:
    """Box-averaged down by `factor` and bicubically enlarged again."""
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (int(width / factor), int(height / factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Compressed as a JPEG of `quality`, colour at half resolution."""
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1], np.uint8)


def motion(pixels: Pixels, length: float, degrees: float) -> Pixels:
    """Mean along a straight line of `length` pixels."""
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    along = np.linspace(-length / 2, length / 2, int(20 * length) + 1)
    for x, y in zip(
        reach + along * np.cos(np.deg2rad(degrees)), reach + along * np.sin(np.deg2rad(degrees)), strict=True
    ):
        column, row = int(x), int(y)
        weights = np.outer((1 - (y - row), y - row), (1 - (x - column), x - column))
        kernel[row : row + 2, column : column + 2] += weights
    kernel /= kernel.sum()
    return np.asarray(cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def halftone(pixels: Pixels, period: float, degrees: float) -> Pixels:
    """Printed through a screen of round dots, `period` pixels apart, turned by `degrees`."""
    ys, xs = np.mgrid[: pixels.shape[0], : pixels.shape[1]] * (2 * np.pi / period)
    turn = np.deg2rad(degrees)
    u, v = xs * np.cos(turn) + ys * np.sin(turn), ys * np.cos(turn) - xs * np.sin(turn)
    threshold = 127.5 + 63.75 * (np.cos(u) + np.cos(v))
    dots = (pixels - threshold[..., None]) * _SCREEN_CONTRAST + 127.5
    return np.asarray(np.clip(dots, 0, 255), np.uint8)


def noise(pixels: Pixels, sigma: float, gray: bool = False) -> Pixels:
    """White Gaussian noise, independent in each colour or the same in all."""
    rng = np.random.default_rng(_NOISE_SEED)
    grain = rng.normal(0, sigma, (*pixels.shape[:2], 1 if gray else 3))
    return np.asarray(np.clip(np.rint(pixels + grain), 0, 255), np.uint8)
