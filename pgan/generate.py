"""A stored generator, and images from it.

Shapes: z (N, L) float32, images (N, 3, R, R) uint8 [0, 255] at the final resolution R, however far it has grown.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pgan.config import Config, config_from_json, config_json
from pgan.draws import sample_latents
from pgan.errors import CheckpointError, RunError
from pgan.labels import draw_labels, label_table
from pgan.networks.build import build_generator
from pgan.networks.operators import up2
from pgan.snapshots import NETWORK, STATE, Snapshot, read_snapshot, write_snapshot

NETWORKS, CHECKPOINTS = "networks", "checkpoints"
EMA_PREFIX = "ema."


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredGenerator:
    """An averaged generator.

    network  takes (z, labels, lod), gives float32 images in [-1, 1]
    lod      level of detail it had grown to
    nimg     real images shown when it was stored
    path     where it came from
    """

    config: Config
    network: nn.Module
    lod: float
    nimg: int
    path: Path

    @torch.no_grad()
    def images(self, z: Tensor, labels: Tensor | None = None) -> NDArray[np.uint8]:
        """Images of latents: (N, 3, R, R) uint8."""
        device = next(self.network.parameters()).device
        labels = None if labels is None else labels.to(device)
        return to_uint8(at_full_size(self.network(z.to(device), labels, self.lod), self.config.network.res))

    def samples(self, seed: int, numbers: list[int]) -> NDArray[np.uint8]:
        """The numbered samples of a seed; a sample does not depend on which others are asked for with it."""
        network = self.config.network
        z = sample_latents(seed, numbers, network.latent)
        return self.images(z, draw_labels(network, label_table(self.network), seed, numbers))


def at_full_size(images: Tensor, res: int) -> Tensor:
    """Nearest-neighbour upsampling to `res`, as sample grids and metrics show networks that are still growing."""
    while images.shape[-1] < res:
        images = up2(images)
    return images


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """[-1, 1] float -> [0, 255] uint8, rounded and clipped."""
    scaled = (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    array: NDArray[np.uint8] = scaled.cpu().contiguous().numpy()
    return array


def write_generator(path: Path, config: Config, network: nn.Module, *, lod: float, nimg: int) -> None:
    """Store a generator by itself."""
    meta = {"config": config_json(config), "lod": lod, "nimg": nimg}
    write_snapshot(path, Snapshot(kind=NETWORK, meta=meta, tensors=network.state_dict()))


def read_generator(path: Path, device: str = "cpu") -> StoredGenerator:
    """The generator in a network file, in a checkpoint (its average), or the newest one of a run directory.

    Raises CheckpointError for files that cannot be used, RunError for a folder without any.
    """
    if path.is_dir():
        path = newest_network(path)
    snapshot = read_snapshot(path)
    config = config_from_json(snapshot.meta["config"], str(path))
    tensors = dict(snapshot.tensors)
    if snapshot.kind == STATE:
        tensors = {name[len(EMA_PREFIX) :]: value for name, value in tensors.items() if name.startswith(EMA_PREFIX)}
    network = build_generator(config, seed=0)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own configuration ({str(error).splitlines()[0]})") from None
    network.to(device).eval().requires_grad_(False)
    return StoredGenerator(
        config=config,
        network=network,
        lod=float(snapshot.meta["lod"]),
        nimg=int(snapshot.meta["nimg"]),
        path=path,
    )


def network_files(run: Path) -> list[Path]:
    """The generators of a run, oldest first."""
    return sorted((run / NETWORKS).glob("*.safetensors"))


def newest_network(run: Path) -> Path:
    """The newest generator of a run directory; RunError when it has none."""
    found = network_files(run) or sorted((run / CHECKPOINTS).glob("*.safetensors"))
    if not found:
        raise RunError(f"{run} holds no networks; expected the directory of a run that has stored some")
    return found[-1]
