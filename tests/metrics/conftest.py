"""Image sets for the metrics' tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

MakeImages = Callable[..., Any]


@pytest.fixture(scope="session")
def natural_images() -> MakeImages:
    """natural_images(n, res, seed=0, tint=0.0) -> (n, 3, res, res) uint8 with the 1/f spectrum of photographs.

    Images differ in contrast and brightness; `tint` adds that many grey levels to the first channel.
    """

    def make(n: int, res: int, seed: int = 0, tint: float = 0.0) -> Any:
        rng = np.random.default_rng(seed)
        frequencies = np.hypot(np.fft.fftfreq(res)[:, None], np.fft.rfftfreq(res)[None])
        frequencies[0, 0] = 1 / res
        phases = np.exp(2j * np.pi * rng.random((n, 3, *frequencies.shape)))
        waves = np.fft.irfft2(phases / frequencies, s=(res, res))
        waves -= waves.mean(axis=(2, 3), keepdims=True)
        waves /= waves.std(axis=(2, 3), keepdims=True)
        contrast = rng.uniform(20, 50, (n, 1, 1, 1))
        brightness = rng.uniform(90, 160, (n, 3, 1, 1))
        brightness[:, 0] += tint
        return np.clip(np.rint(brightness + contrast * waves), 0, 255).astype(np.uint8)

    return make
