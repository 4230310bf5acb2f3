"""Samples of a stored generator as files: a folder of PNGs, an `.npy` array, a pyramid, a grid."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pgan.draws import sample_latents
from pgan.errors import ConfigError, DiskSpaceError, RunError
from pgan.generate import StoredGenerator
from pgan.grids import grid_image, remove, write_error, write_png
from pgan.labels import draw_labels, label_table, with_wish
from pgan.snapshots import digest_of

BATCH = 16
RECORD = "samples.json"
"""In a folder of samples: what they are samples of, so that an interrupted command can go on."""

Progress = Callable[[int, int], None]
Batches = Iterator[tuple[list["Sample"], NDArray[np.uint8]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Number `number` of the samples of a seed, called `name` where it has a file of its own."""

    seed: int
    number: int
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """Which samples.

    samples     in order
    label       of all of them: a class, its name, or NAME=VALUE,... of attributes or values (those that are not named
                are drawn); None: each its own, drawn (conditional networks only)
    truncation  refused unless None: see `truncation` below
    batch       images per pass
    """

    samples: tuple[Sample, ...]
    label: int | str | None = None
    truncation: float | None = None
    batch: int = BATCH

    def __post_init__(self) -> None:
        if not self.samples:
            raise ConfigError("no samples are asked for; expected 1 or more")
        if self.batch < 1:
            raise ConfigError(f"batch is {self.batch}, expected 1 or more")
        if self.truncation is not None:
            raise ConfigError(
                "truncation is not defined for progressive GANs: their latents are normalised to a hypersphere, so "
                "scaling them changes nothing, and they have no mapping to an intermediate latent; leave it out"
            )


def numbered_samples(seed: int, n: int) -> tuple[Sample, ...]:
    """Samples 0 ... n - 1 of one seed: those that metrics take."""
    return tuple(Sample(seed=seed, number=number, name=f"{number:06d}") for number in range(n))


def seeded_samples(seeds: list[int]) -> tuple[Sample, ...]:
    """The first sample of each of several seeds."""
    if len(set(seeds)) != len(seeds):
        raise ConfigError("a seed is named twice; name each once")
    return tuple(Sample(seed=seed, number=0, name=f"seed{seed:06d}") for seed in seeds)


def parse_seeds(text: str) -> list[int]:
    """'0-3,20' -> [0, 1, 2, 3, 20]. Raises ConfigError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"seeds are {text!r}, expected numbers and ranges by commas, as 0-15,20")
        low, high = int(first), int(last) if dash else int(first)
        if high < low:
            raise ConfigError(f"seeds are {text!r}: the range {part.strip()} is empty")
        found.extend(range(low, high + 1))
    return found


def parse_grid(text: str) -> tuple[int, int]:
    """'8x4' -> (8, 4), columns and rows. Raises ConfigError for anything else."""
    columns, _, rows = text.lower().partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
        raise ConfigError(f"grid is {text!r}, expected columns x rows, as 8x8")
    return int(columns), int(rows)


def check_label(generator: StoredGenerator, label: int | str | None) -> None:
    """ConfigError for a label the generator does not have."""
    if label is None:
        return
    if not generator.config.network.label_size:
        raise ConfigError(f"{generator.path} is not conditional, so it takes no label; leave it out")
    labels_of(generator, [Sample(seed=0, number=0, name="")], label)


def inputs_of(
    generator: StoredGenerator, samples: list[Sample], label: int | str | None
) -> tuple[Tensor, Tensor | None]:
    """Latents (n, L) float32 and labels (None: unconditional) of samples."""
    network = generator.config.network
    z = torch.cat([sample_latents(one.seed, [one.number], network.latent) for one in samples])
    return z, labels_of(generator, samples, label)


def labels_of(generator: StoredGenerator, samples: list[Sample], label: int | str | None) -> Tensor | None:
    """Labels of samples, (n,) int64 or (n, K) float32: each its own, with `label` put in; None: unconditional."""
    network, table = generator.config.network, label_table(generator.network)
    if not network.label_size:
        return None
    drawn = [draw_labels(network, table, one.seed, [one.number]) for one in samples]
    labels = torch.cat([one for one in drawn if one is not None])
    return labels if label is None else with_wish(network, labels, label, str(generator.path))


def sample_batches(
    generator: StoredGenerator, samples: tuple[Sample, ...], config: SampleConfig, progress: Progress | None = None
) -> Batches:
    """Yield (samples, images (n, 3, R, R) uint8) batch by batch."""
    check_label(generator, config.label)
    for start in range(0, len(samples), config.batch):
        some = list(samples[start : start + config.batch])
        z, labels = inputs_of(generator, some, config.label)
        yield some, generator.images(z, labels)
        if progress is not None:
            progress(start + len(some), len(samples))


def write_samples(
    generator: StoredGenerator, config: SampleConfig, out: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Write all samples to `out`: an `.npy` array (N, 3, R, R), an `.h5` pyramid, else a folder of PNGs.

    A folder that was begun by the same command is completed; other places must be free. Returns what was made.
    Raises ConfigError when the place is taken, DiskSpaceError when the disk is full.
    """
    check_label(generator, config.label)
    check_out(generator, config, out)
    suffix = out.suffix.lower()
    written = len(config.samples)
    if suffix == ".npy":
        _write_npy(generator, config, out, progress)
    elif suffix in (".h5", ".hdf5"):
        from pgan.sample_pyramid import write_sample_pyramid

        write_sample_pyramid(generator, config, out, progress)
    else:
        written = _write_folder(generator, config, out, progress)
    return {
        "out": str(out),
        "network": str(generator.path),
        "n": len(config.samples),
        "written": written,
        "res": generator.config.network.res,
    }


def check_out(generator: StoredGenerator, config: SampleConfig, out: Path) -> None:
    """ConfigError when `out` is taken by something else, DiskSpaceError when an array will not fit."""
    if out.suffix.lower() in (".npy", ".h5", ".hdf5"):
        if out.exists():
            raise ConfigError(f"{out} exists already; remove it or choose another name")
        if not out.absolute().parent.is_dir():
            raise ConfigError(f"{out}: the folder {out.absolute().parent} does not exist; create it first")
        needed = len(config.samples) * 3 * generator.config.network.res**2
        free = shutil.disk_usage(out.absolute().parent).free
        if needed > free:
            raise DiskSpaceError(
                f"{out} needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; free some space"
            )
    elif out.suffix.lower() in (".npz", ".zip", ".png", ".jpg", ".tfrecords"):
        raise ConfigError(f"{out}: samples go to a folder, an .npy array or an .h5 pyramid; choose one")
    elif out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; expected a folder, or a name that ends in .npy or .h5")
    elif out.is_dir() and any(out.iterdir()) and _recorded(out) != record_of(generator, config):
        raise ConfigError(f"{out} holds files that are not of this command; choose a new folder")


def record_of(generator: StoredGenerator, config: SampleConfig) -> dict[str, Any]:
    """What a folder of samples says it holds: it decides every pixel."""
    text = json.dumps([[one.seed, one.number, one.name] for one in config.samples])
    return {
        "network": str(generator.path.name),
        "weights_sha256": digest_of(generator.network.state_dict()),
        "lod": generator.lod,
        "n": len(config.samples),
        "samples_sha256": sha256(text.encode()).hexdigest(),
        "label": config.label,
    }


def _recorded(folder: Path) -> Any:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_folder(generator: StoredGenerator, config: SampleConfig, out: Path, progress: Progress | None) -> int:
    """Write the PNGs that are not there yet; their number."""
    record, partial = out / RECORD, out / f"{RECORD}.partial"
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(record_of(generator, config), indent=2) + "\n", encoding="utf-8")
        partial.replace(record)
    except OSError as error:
        remove(partial)
        raise write_error(record, error) from None
    missing = tuple(one for one in config.samples if not (out / f"{one.name}.png").exists())
    for some, images in sample_batches(generator, missing, config, progress):
        for one, image in zip(some, images, strict=True):
            write_png(out / f"{one.name}.png", image.transpose(1, 2, 0))
    return len(missing)


def _write_npy(generator: StoredGenerator, config: SampleConfig, out: Path, progress: Progress | None) -> None:
    res = generator.config.network.res
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(config.samples), 3, res, res)}
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, images in sample_batches(generator, config.samples, config, progress):
                file.write(np.ascontiguousarray(images).data)
        np.load(partial, mmap_mode="r", allow_pickle=False)
        partial.replace(out)
    except (OSError, ValueError) as error:
        remove(partial)
        if isinstance(error, ValueError):
            raise RunError(f"{out} was not written whole ({error}); start again") from None
        raise write_error(out, error) from None


def check_grid(count: int, grid: tuple[int, int] | None, out: Path) -> tuple[int, int]:
    """Columns and rows for `count` samples (None: about a square); ConfigError for too few, or a name of no PNG."""
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: a grid is a PNG; choose a name that ends in .png")
    if grid is None:
        side = math.ceil(math.sqrt(count))
        return side, -(-count // side)
    if grid[0] * grid[1] > count:
        raise ConfigError(
            f"a grid of {grid[0]}x{grid[1]} shows {grid[0] * grid[1]} samples, {count} are asked for; raise --n"
        )
    return grid


def write_sample_grid(generator: StoredGenerator, config: SampleConfig, grid: tuple[int, int] | None, out: Path) -> int:
    """Write the first columns x rows samples as one PNG; the number shown.

    grid None: all samples in about a square. Raises ConfigError when there are fewer samples than cells.
    """
    columns, rows = check_grid(len(config.samples), grid, out)
    shown = config.samples[: columns * rows]
    images = np.concatenate([images for _, images in sample_batches(generator, shown, config)])
    write_png(out, grid_image(images, columns))
    return len(shown)
