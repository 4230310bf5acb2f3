"""Several processes that train one network: differentiable sums, gathers, and the few plain ones.

All functions are the identity when there is one process. Collectives are differentiable twice, which the
gradient penalty needs when a layer looks across the batch.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among all: rank of size."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


def world() -> World:
    """The process group that is set up, or a world of one."""
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    return World(rank=dist.get_rank(), size=dist.get_world_size())


class _Sum(torch.autograd.Function):
    """Sum over processes. Every process's loss depends on it, so its gradient is the sum of theirs: itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        result: Tensor = _Sum.apply(gradients[0].contiguous())  # type: ignore[no-untyped-call]
        return result


class _Gather(torch.autograd.Function):
    """All processes' tensors, one after the other along the first dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.detach().contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        result: Tensor = _ScatterSum.apply(gradients[0].contiguous())  # type: ignore[no-untyped-call]
        return result


class _ScatterSum(torch.autograd.Function):
    """The adjoint of `_Gather`: sum over processes, then this process's part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        result: Tensor = _Gather.apply(gradients[0].contiguous())  # type: ignore[no-untyped-call]
        return result


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum of all processes' tensors, the same in each; differentiable."""
    if world().size == 1:
        return x
    total: Tensor = _Sum.apply(x.contiguous())  # type: ignore[no-untyped-call]
    return total


def gather_over_processes(x: Tensor) -> Tensor:
    """(n, ...) of each process -> (size * n, ...) in order of rank; differentiable."""
    if world().size == 1:
        return x
    gathered: Tensor = _Gather.apply(x.contiguous())  # type: ignore[no-untyped-call]
    return gathered


@torch.no_grad()
def average_gradients(parameters: list[Tensor]) -> None:
    """Replace the gradients by their mean over processes, in one message."""
    size = world().size
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if size == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= size
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world().size > 1:
        dist.barrier()


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process."""
    if world().size == 1:
        return flag
    value = torch.tensor([float(flag)], device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


@torch.no_grad()
def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of a tensor over processes; not differentiable."""
    size = world().size
    if size == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / size
