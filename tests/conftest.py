"""Fixtures that every part of the suite may use."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's folder of test data beside the checkout; tests that use it are skipped without it."""
    folder = Path(os.environ.get("CELEBAHQ_SHARED", REPO.parent / "shared"))
    if not (folder / "specs").is_dir():
        pytest.skip(f"no folder of shared test data at {folder} (CELEBAHQ_SHARED names another)")
    return folder


@pytest.fixture
def make_celeba(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small CelebA root of synthetic pictures: make_celeba(count, size=..., name=...)."""

    def make(count: int, size: int = 160, name: str = "celeba") -> Path:
        root = tmp_path / name
        (root / "img_celeba").mkdir(parents=True)
        (root / "Anno").mkdir()
        lines = [
            str(count),
            "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y",
        ]
        for number in range(1, count + 1):
            rng = np.random.default_rng(number)
            file = f"{number:06d}.jpg"
            Image.fromarray(natural_like(rng, size)).save(root / "img_celeba" / file, quality=90)
            points = np.array([(-14, -14), (14, -14), (0, 2), (-12, 18), (12, 18)]) * rng.uniform(0.8, 1.6)
            points = points + size / 2 + rng.uniform(-20, 20, 2)
            lines.append(file + "".join(f" {round(value):4d}" for value in points.ravel()))
        (root / "Anno" / "list_landmarks_celeba.txt").write_text("\n".join(lines) + "\n")
        return root

    return make


def natural_like(rng: np.random.Generator, size: int) -> np.ndarray:
    """A (size, size, 3) uint8 picture with the 1/f spectrum of photographs."""
    frequencies = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequencies[0, 0] = 1 / size
    channels = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * rng.random(frequencies.shape))
        channel = np.fft.irfft2(phases / frequencies, s=(size, size))
        channels.append((channel - channel.min()) / np.ptp(channel) * 255)
    return np.stack(channels, axis=-1).round().astype(np.uint8)


@pytest.fixture(scope="session")
def official_root(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, np.ndarray]]:
    """A folder with celeba/ and deltas/ in the official format, made from the sample, and its final images by idx."""
    for package in ("jpeglib", "cryptography"):
        pytest.importorskip(package, reason=f"the official recipe needs {package}")
    place = Path(__file__).with_name("official_encoder.py")
    spec = importlib.util.spec_from_file_location("official_encoder", place)
    assert spec is not None
    assert spec.loader is not None
    encoder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(encoder)
    out = tmp_path_factory.mktemp("official")
    return out, encoder.encode_official(REPO / "celebahq_tools" / "sample" / "celeba", out)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven through Selenium; tests that use it are skipped where either is absent."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="browser tests need selenium")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("browser tests need chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    # A container has no user namespaces for the sandbox and little shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()
