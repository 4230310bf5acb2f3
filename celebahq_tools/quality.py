"""How good a picture is, from its spectrum alone: the score by which the best of a data set are kept.

Karras et al. 2018, appendix C, describe theirs in words: it favours pictures whose power spectrum has a broad range
of frequencies and is about radially symmetric. This is a formula of our own; `docs/quality.md` derives it and shows
what it does to blurred, upscaled, compressed, screened and noisy pictures.

Legend: a level is the luma picture (r, r) float32 in [0, 255], or the 2x2 means of the level above. Each level is
looked at in its own finest octave only, block by block. Powers are per pixel: white noise of variance v has v.
"""

import functools
import itertools
from typing import NamedTuple

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from celebahq_tools.errors import PictureError, UsageError

Floats = NDArray[np.float32]

BLOCK = 16
"""Side of the blocks a level is divided into, pixels."""
MIN_LEVEL = 128
"""The coarsest level: 64 blocks; the quietest tenth of fewer is a matter of chance."""
BANDS = (3.0, 4.6, 7.01)
"""Limits of the two half octaves, cycles per block (0.19 to 0.44 cycles per pixel)."""
SECTORS = 4
"""Directions: across, along, and both diagonals."""

VISIBLE_POWER = 4.0
"""Signal that counts one bit: two gray levels rms."""
QUIET_QUANTILE = 0.1
"""The quietest blocks: what is in them is in the whole picture, as noise and screens are and detail is not."""
QUIET_FACTOR = 2.0
"""How many times the quiet power is taken off the signal."""
HAZE_FACTOR = 50.0
"""A fiftieth of the signal's power in the quietest blocks costs one bit ..."""
HAZE_FLOOR = 80.0
"""... of the signal's power and this, so that grain below about a gray level costs little in smooth pictures."""
PEAK_RATIO = 16.0
"""A frequency this many times the median of the (whitened) spectrum costs one bit."""
GRID_DEPTH = 0.1
"""A grid that changes the mean gradient by this part costs one bit."""
GRID_LONGEST = 24
"""A grid has at least this many lines across the picture; what is slower is the subject."""
GRADIENT_CAP = 8.0
"""Steeper steps between neighbours count as this many gray levels, so that no single edge looks like a grid."""

_LUMA = (0.299, 0.587, 0.114)
_TINY_POWER = 1e-3
_PEAK_BANDS = (2.5, 7.5)
_GRID_NEIGHBOURS = 31
_GRID_EXCESS = 4.0
_GRADIENT_FLOOR = 0.1
_DECIMALS = 4


class _Analysis(NamedTuple):
    """What a block's power spectrum (BLOCK, BLOCK/2 + 1) is multiplied with."""

    window: Floats  # (BLOCK, BLOCK), unit energy
    cells: Floats  # (cells of the spectrum, bands x sectors): means
    whitening: Floats  # (cells,) squared frequency; 0 outside the band where peaks are looked for


def quality_score(image: NDArray[np.uint8]) -> float:
    """Score of one picture, in bits; higher is better.

    image (3, R, R) uint8 RGB, R >= 16. Comparable between pictures of one resolution; from R = 256 up, the same
    picture at R/2 scores what it does at R less the finest octave. At 1024² a sharp portrait has about 12 bits,
    one magnified from 88² about 4, a blank picture 0; noise and screens bring it below 0.
    Raises PictureError 'bad-pixels', UsageError below 16 pixels.
    """
    if image.ndim != 3 or image.shape[0] != 3 or image.shape[1] != image.shape[2] or image.dtype != np.uint8:
        raise PictureError("bad-pixels", f"(3, R, R) uint8 needed, found {image.shape} {image.dtype}")
    if image.shape[1] < BLOCK:
        raise UsageError(f"quality is scored from {BLOCK}x{BLOCK} pixels up, found {image.shape[1]}: no --keep there")
    level = luma(image)
    score = -np.log2(1 + grid_depth(level) / GRID_DEPTH)
    while True:
        score += level_score(level)
        if level.shape[0] < 2 * MIN_LEVEL:
            return round(float(score), _DECIMALS)
        level = halved(level)


def luma(image: NDArray[np.uint8]) -> Floats:
    """Rec. 601 luma: (3, R, R) uint8 -> (R, R) float32."""
    red, green, blue = np.ascontiguousarray(image)
    two = cv2.addWeighted(red, _LUMA[0], green, _LUMA[1], 0, dtype=cv2.CV_32F)
    return np.asarray(cv2.scaleAdd(blue.astype(np.float32), _LUMA[2], two), np.float32)


def halved(level: Floats) -> Floats:
    """2x2 means; an odd last row and column are dropped."""
    side = level.shape[0] // 2 * 2
    rows = level[0:side:2, :side] + level[1:side:2, :side]
    means: Floats = (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
    return means


def level_score(level: Floats) -> float:
    """Bits for the finest octave of one level: detail, less haze, less patterns."""
    analysis = _analysis()
    powers = block_powers(level, analysis.window)
    bands = (powers @ analysis.cells).reshape(len(powers), len(BANDS) - 1, SECTORS).astype(np.float64)
    quiet = np.quantile(bands.mean(axis=2), QUIET_QUANTILE, axis=0)
    everywhere = bands.mean(axis=0)
    # A harmonic mean is as small as its smallest member: power in few directions is worth little.
    sectors = np.maximum(everywhere - QUIET_FACTOR * quiet[:, None], _TINY_POWER)
    signal = 1 / (1 / sectors).mean(axis=1)
    detail = np.log2(1 + signal / VISIBLE_POWER).mean()
    haze = np.log2(1 + HAZE_FACTOR * quiet / (signal + HAZE_FLOOR)).mean()
    return float(detail - haze - np.log2(1 + peak_ratio(powers, analysis.whitening) / PEAK_RATIO))


def block_powers(level: Floats, window: Floats) -> Floats:
    """Power spectra of the level's windowed blocks: (blocks, cells) float32.

    The window's own spectrum ends at one cycle per block, so a block's mean reaches no cell that is looked at.
    """
    count = level.shape[0] // BLOCK
    whole = level[: count * BLOCK, : count * BLOCK]
    blocks = whole.reshape(count, BLOCK, count, BLOCK).swapaxes(1, 2) * window
    spectra = scipy.fft.rfft2(blocks, overwrite_x=True)
    powers: Floats = np.square(spectra.real) + np.square(spectra.imag)
    return powers.reshape(count * count, -1)


def peak_ratio(powers: Floats, whitening: Floats) -> float:
    """The strongest frequency of the octave over the median one, once weighted by f² as nature is by 1/f²."""
    weighted = (powers.mean(axis=0) * whitening)[whitening > 0]
    floor = VISIBLE_POWER * float(np.median(whitening[whitening > 0]))
    return float(weighted.max() / (np.median(weighted) + floor))


def grid_depth(level: Floats) -> float:
    """How much the mean gradient changes along a regular grid of columns and rows, as JPEG blocks make: 0 none."""
    across = np.minimum(cv2.absdiff(level[:, 1:], level[:, :-1]), np.float32(GRADIENT_CAP)).mean(axis=0)
    down = np.minimum(cv2.absdiff(level[1:], level[:-1]), np.float32(GRADIENT_CAP)).mean(axis=1)
    return (_line_depth(across) + _line_depth(down)) / 2


def _line_depth(profile: Floats) -> float:
    """Amplitudes that stand out of their neighbours in the spectrum of a gradient profile, over its mean."""
    window = np.hanning(len(profile))
    mean = float(profile.mean())
    amplitudes = np.abs(np.fft.rfft((profile - mean) * window)) * (2 / window.sum())
    usual = median_filter(amplitudes, _GRID_NEIGHBOURS, mode="mirror")
    excess = np.maximum(amplitudes - _GRID_EXCESS * usual, 0)[GRID_LONGEST:]
    return float(np.sqrt(np.square(excess).sum())) / (mean + _GRADIENT_FLOOR)


@functools.lru_cache(maxsize=1)
def _analysis() -> _Analysis:
    # Symmetric about the block's middle, so that a mirrored picture scores the same.
    hann = np.square(np.sin(np.pi * (np.arange(BLOCK) + 0.5) / BLOCK))
    window = np.outer(hann, hann)
    window /= np.sqrt(np.square(window).sum())
    fy = np.fft.fftfreq(BLOCK, 1 / BLOCK)[:, None]
    fx = np.fft.rfftfreq(BLOCK, 1 / BLOCK)[None, :]
    radius = np.hypot(fy, fx).ravel()
    turn = np.pi / SECTORS
    pairs = np.broadcast_to(np.where((fx > 0) & (fx < BLOCK / 2), 2.0, 1.0), (BLOCK, fx.size)).ravel()
    sector = np.floor(np.mod(np.arctan2(fy, fx).ravel() + turn / 2, np.pi) / turn)
    cells = np.zeros((radius.size, (len(BANDS) - 1) * SECTORS))
    for band, (low, high) in enumerate(itertools.pairwise(BANDS)):
        for direction in range(SECTORS):
            inside = (radius >= low) & (radius < high) & (sector == direction)
            cells[inside, band * SECTORS + direction] = pairs[inside] / pairs[inside].sum()
    once = ((fx > 0) | (fy > 0)).ravel()
    peaks = (radius >= _PEAK_BANDS[0]) & (radius <= _PEAK_BANDS[1]) & once
    arrays = (window, cells, np.where(peaks, np.square(radius), 0))
    return _Analysis(*(array.astype(np.float32) for array in arrays))
