"""Two processes make the steps of one: minibatch stddev, gradient penalty and batch norm over the global batch."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pgan.config import ATTRIBUTES, CONTINUOUS, Config
from pgan.networks.forms import PLAIN_FORM
from pgan.parallel import World, gather_over_processes, sum_over_processes, world
from pgan.state import TrainState
from pgan.step import Real, Stepper
from pgan.walk import walk

STEPS = 3


def reals(config: Config, here: World) -> Iterator[Real]:
    """This process's share of batches that depend on their position."""
    for iteration in walk(config, TrainState(config, torch.device("cpu")).position):
        for nimg in iteration.d_starts():
            stage = iteration.stage
            generator = torch.Generator().manual_seed(nimg)
            images = torch.rand((stage.batch, 3, stage.res, stage.res), generator=generator) * 2 - 1
            share = stage.batch // here.size
            own = slice(here.rank * share, (here.rank + 1) * share)
            labels = torch.randint(2, (stage.batch, config.label_size), generator=generator).float()
            yield Real(images=images[own], labels=labels[own] if config.label_size else None)


def trajectory(config: Config) -> torch.Tensor:
    """Losses, norms and scores of a few iterations, then the sum of all weights."""
    here = world()
    state = TrainState(config, torch.device("cpu"))
    stepper = Stepper(state, forms=PLAIN_FORM, world=here)
    feed, rows = reals(config, here), []
    for iteration, _ in zip(walk(config, state.position), range(STEPS), strict=False):
        stepper.iterate(iteration, feed)
        means = stepper.sums.means()
        rows.append([means[name] for name in sorted(means)])
    weights = [
        float(p.detach().double().square().sum()) for net in (state.g, state.d, state.ema) for p in net.parameters()
    ]
    return torch.tensor([value for row in rows for value in row] + [sum(weights)], dtype=torch.float64)


def second_derivative() -> torch.Tensor:
    """d/dx of |d/dx f|^2 through a gather and a sum, this process's part."""
    rank = world().rank
    x = torch.tensor([1.0 + rank, 2.0 - rank], dtype=torch.float64, requires_grad=True)
    whole = gather_over_processes(x)
    value = (whole**3).sum() / world().size + (sum_over_processes((x**2).sum()) ** 2) / world().size
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), x)
    return again


def child(rank: int, size: int, port: int, configs: list[Config], out: str) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=size)
    found = {"trajectories": [trajectory(config) for config in configs], "second": second_derivative()}
    torch.save(found, Path(out) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_follow_the_trajectory_of_one(tiny: Config, tmp_path: Path) -> None:
    base = replace(
        tiny,
        schedule=replace(tiny.schedule, batch=8, start_res=8),
        optimizer=replace(tiny.optimizer, eps=1.0, reset_on_growth=True),
    )
    spanning = replace(base, network=replace(base.network, mbstd_group=8))
    normed = replace(
        base,
        network=replace(base.network, g_batch_norm=True, d_layer_norm=True, pixel_norm=False, mbdisc_kernels=2),
    )
    both = replace(base, loss=replace(base.loss, same_pass=True))
    told = replace(base.network, label_size=2, label_kind=ATTRIBUTES, label_names=("a", "b"))
    valued = replace(told, label_kind=CONTINUOUS, label_scale=((0.0, 1.0), (0.0, 1.0)))
    configs = [base, spanning, normed, both, replace(base, network=told), replace(base, network=valued)]
    alone = [trajectory(config) for config in configs]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(child, args=(2, port, configs, str(tmp_path)), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for one, first, second in zip(alone, found[0]["trajectories"], found[1]["trajectories"], strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        torch.testing.assert_close(one, first, rtol=2e-5, atol=2e-6)
    x = torch.tensor([1.0, 2.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    value = (x**3).sum() + (x**2).sum() ** 2
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), x)
    torch.testing.assert_close(torch.cat([found[0]["second"], found[1]["second"]]), again)


def test_alone_the_collectives_are_the_identity() -> None:
    x = torch.ones(2)
    assert gather_over_processes(x) is x
    assert sum_over_processes(x) is x
    assert world() == World(rank=0, size=1)
