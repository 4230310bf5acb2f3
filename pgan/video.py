"""Films: walks through latent space, and how samples changed while a run was trained.

Shapes: F frames, M cells of the grid, L latent; a frame is (H, W, 3) uint8.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pgan.draws import numpy_generator
from pgan.errors import ConfigError
from pgan.generate import StoredGenerator, read_generator
from pgan.grids import grid_image, write_png
from pgan.sampling import check_label, inputs_of, labels_of, numbered_samples

WALK = "walk"
STRIP_FRAMES = 10
BATCH = 16
MAX_FRAMES = 100_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoConfig:
    """A film.

    seconds, fps   its length and frames per second
    smoothing_sec  standard deviation of the Gaussian that smooths the latents along time
    seed           of the latents
    columns, rows  of the grid in each frame
    label          of all cells, as for samples; None: each its own, drawn (conditional networks only)
    zoom           every pixel becomes zoom x zoom
    """

    seconds: float = 60.0
    fps: int = 30
    smoothing_sec: float = 1.0
    seed: int = 0
    columns: int = 1
    rows: int = 1
    label: int | str | None = None
    zoom: int = 1

    def __post_init__(self) -> None:
        for name in ("fps", "columns", "rows", "zoom"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not self.smoothing_sec > 0:
            raise ConfigError(f"smoothing_sec is {self.smoothing_sec}, expected more than 0")
        if not 0 < self.seconds * self.fps <= MAX_FRAMES:
            raise ConfigError(f"{self.seconds} s at {self.fps} frames a second: expected 1 to {MAX_FRAMES} frames")

    @property
    def frames(self) -> int:
        """F, at least 1."""
        return max(1, round(self.seconds * self.fps))

    @property
    def cells(self) -> int:
        """M."""
        return self.columns * self.rows


def walk_latents(seed: int, frames: int, cells: int, latent: int, sigma_frames: float) -> NDArray[np.float32]:
    """Latents of a closed walk: (F, M, L), normal noise smoothed along time and brought back to unit variance.

    The Gaussian wraps around, so the last frame leads to the first (supplementary video of Karras et al. 2018).
    """
    from scipy.ndimage import gaussian_filter

    noise = numpy_generator(seed, WALK, frames).standard_normal((frames, cells, latent), dtype=np.float32)
    smooth: NDArray[np.float32] = gaussian_filter(noise, (sigma_frames, 0, 0), mode="wrap")
    smooth /= np.sqrt(np.mean(np.square(smooth, dtype=np.float64))).astype(np.float32)
    return smooth


def walk_frames(
    generator: StoredGenerator, config: VideoConfig, numbers: Iterable[int] | None = None
) -> Iterator[NDArray[np.uint8]]:
    """The frames of a walk, or those of the given numbers: grids of columns x rows."""
    check_label(generator, config.label)
    network = generator.config.network
    z = walk_latents(config.seed, config.frames, config.cells, network.latent, config.smoothing_sec * config.fps)
    labels = labels_of(generator, list(numbered_samples(config.seed, config.cells)), config.label)
    for number in range(config.frames) if numbers is None else numbers:
        cells = []
        for start in range(0, config.cells, BATCH):
            part = slice(start, start + BATCH)
            cells.append(generator.images(torch.from_numpy(z[number, part]), None if labels is None else labels[part]))
        yield zoomed(grid_image(np.concatenate(cells), config.columns), config.zoom)


def strip_numbers(config: VideoConfig) -> list[int]:
    """Frames of the strip: half a smoothing time apart, so that neighbours are alike; they wrap around."""
    step = max(1, round(config.smoothing_sec * config.fps / 2))
    return [number * step % config.frames for number in range(STRIP_FRAMES)]


def write_strip(generator: StoredGenerator, config: VideoConfig, out: Path) -> None:
    """Write one row of ten frames of the first cell's walk as a PNG."""
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: a strip is a PNG; choose a name that ends in .png")
    res = generator.config.network.res * config.zoom
    frames = [frame[:res, :res] for frame in walk_frames(generator, config, strip_numbers(config))]
    write_png(out, np.concatenate(frames, axis=1))


def training_frames(networks: list[Path], config: VideoConfig, device: str = "cpu") -> Iterator[NDArray[np.uint8]]:
    """Frames of one grid of fixed latents through the networks of a run, oldest first.

    Every network gets an equal share of the time: it stands for the first half and fades to the next in the second.
    Raises ConfigError when the networks make images of different sizes.
    """
    counts = shares(config.frames, len(networks))
    before: NDArray[np.uint8] | None = None
    held = 0
    for path, count in zip(networks, counts, strict=True):
        grid = _grid_of(path, config, device)
        if before is not None:
            if before.shape != grid.shape:
                raise ConfigError(f"{path} makes images of another size than the networks before it")
            yield from _held_and_faded(before, grid, held)
        before, held = grid, count
    assert before is not None
    for _ in range(held):
        yield before


def shares(frames: int, networks: int) -> list[int]:
    """Frames of each network: as equal as can be, `frames` together, at least one each."""
    if frames < networks:
        raise ConfigError(f"{frames} frames are too few for {networks} networks; make it longer with --seconds")
    edges = [frames * k // networks for k in range(networks + 1)]
    return [stop - start for start, stop in itertools.pairwise(edges)]


def _held_and_faded(grid: NDArray[np.uint8], after: NDArray[np.uint8], count: int) -> Iterator[NDArray[np.uint8]]:
    fading = count // 2
    for _ in range(count - fading):
        yield grid
    for step in range(1, fading + 1):
        share = step / (fading + 1)
        yield ((1 - share) * grid.astype(np.float32) + share * after.astype(np.float32)).round().astype(np.uint8)


def _grid_of(path: Path, config: VideoConfig, device: str) -> NDArray[np.uint8]:
    generator = read_generator(path, device)
    check_label(generator, config.label)
    samples = list(numbered_samples(config.seed, config.cells))
    images = []
    for start in range(0, len(samples), BATCH):
        z, labels = inputs_of(generator, samples[start : start + BATCH], config.label)
        images.append(generator.images(z, labels))
    return zoomed(grid_image(np.concatenate(images), config.columns), config.zoom)


def zoomed(image: NDArray[np.uint8], zoom: int) -> NDArray[np.uint8]:
    """(H, W, 3) with every pixel as zoom x zoom."""
    return image if zoom == 1 else image.repeat(zoom, axis=0).repeat(zoom, axis=1)
