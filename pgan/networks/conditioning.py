"""How labels get into G: behind the latent, before it is normalised.

Shapes: z (N, L) float32; labels (N,) int64 classes, or (N, K) float32 attributes (0 or 1) or standardised values.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgan.config import CLASS, NetworkConfig
from pgan.networks.operators import pixel_norm

TABLE_ROWS = 1024
"""Label vectors of the data that a generator carries, so that its samples can have labels like them."""


def latent_input(z: Tensor, labels: Tensor | None, config: NetworkConfig) -> Tensor:
    """What G's first layer sees: z (N, L), labels (classes one-hot) behind it, on the hypersphere if so configured."""
    if config.label_size:
        assert labels is not None
        given = F.one_hot(labels, config.label_size) if config.label_kind == CLASS else labels
        z = torch.cat([z, given.to(z.dtype)], dim=1)
    return pixel_norm(z, config.pixel_norm_eps) if config.normalize_latent else z


def add_label_table(network: nn.Module, config: NetworkConfig) -> None:
    """Give a generator room for label vectors of the data, (TABLE_ROWS, K); classes are drawn without."""
    if config.label_size and config.label_kind != CLASS:
        network.register_buffer("label_table", torch.zeros(TABLE_ROWS, config.label_size))
