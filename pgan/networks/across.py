"""Layers of D that look across the batch, over all processes if it is shared out.

A pass may hold several batches one after the other (`segments`: reals, then fakes); they never see each other.
"""

import torch
from torch import Tensor, nn

from pgan.networks.operators import append_map, closeness, group_size, group_stddev
from pgan.parallel import gather_over_processes, world

KERNEL_DIMS = 5
"""Dimensions of each kernel of minibatch discrimination."""


def stddev_map(x: Tensor, limit: int, segments: int = 1) -> Tensor:
    """Minibatch stddev (sec. 3) as one more feature map: (N, C, H, W) -> (N, C + 1, H, W).

    Per group of neighbours: stddev over the group (population, 1e-8 under the root) of every feature and pixel, then
    the mean over features and pixels. A group that is larger than this process's share spans processes.
    """
    return append_map(x, torch.cat([_stddev_of(part, limit) for part in x.chunk(segments)]))


def _stddev_of(x: Tensor, limit: int) -> Tensor:
    here = world()
    size = group_size(limit, len(x) * here.size)
    if len(x) % size == 0:
        return group_stddev(x.reshape(-1, size, *x.shape[1:])).repeat_interleave(size)
    whole = gather_over_processes(x)
    scalars = group_stddev(whole.reshape(-1, size, *whole.shape[1:])).repeat_interleave(size)
    return scalars[here.rank * len(x) : (here.rank + 1) * len(x)]


class MinibatchDiscrimination(nn.Module):
    """Minibatch discrimination (Salimans et al. 2016, sec. 3.2): (N, A) -> (N, A + B) with B kernels."""

    def __init__(self, units: int, kernels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.randn((units, kernels, KERNEL_DIMS), generator=generator)
        self.kernels = nn.Parameter(weight / units**0.5)

    def forward(self, x: Tensor, segments: int = 1) -> Tensor:
        """Append how close each sample is to the others of its segment."""
        m_NBD = torch.einsum("na,abd->nbd", x.float(), self.kernels)
        near = [closeness(part, gather_over_processes(part)) for part in m_NBD.chunk(segments)]
        return torch.cat([x, torch.cat(near).to(x.dtype)], dim=1)
