"""The configurations of the paper, of the authors' releases, and a small demo. Figures: Karras et al. 2018."""

import re
from collections.abc import Callable
from dataclasses import replace

from pgan.config import (
    CONV,
    LSGAN,
    MNIST,
    RELU,
    Config,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    ScheduleConfig,
    Table,
    TrainConfig,
)
from pgan.errors import ConfigError

RELEASE_BATCH: Table = ((4, 128), (8, 128), (16, 128), (32, 64), (64, 32), (128, 16), (256, 8), (512, 4))
STEPS_OF_16_IN_320 = 20
STEPS_OF_16_IN_80 = 5
GULRAJANI_LR = 1e-4


def preset_names() -> tuple[str, ...]:
    """All names `preset` knows."""
    rows = (*(f"table1-{row}" for row in "abcdefgh"), "table1-e-star")
    releases = ("v1-1gpu", "v2-1gpu", "v2-2gpus", "v2-4gpus", "v2-8gpus")
    mnist = ("mnist1k", "mnist1k-k4", "mnist1k-grown", "mnist1k-grown-k4")
    return ("celebahq-1024", *releases, "cifar10", *rows, *mnist, "lsgan", "demo")


def preset(name: str) -> Config:
    """The configuration of a name. Raises ConfigError for unknown ones."""
    makers: dict[str, Callable[[], Config]] = {
        "celebahq-1024": lambda: _paper("celebahq-1024"),
        "v1-1gpu": lambda: _paper("v1-1gpu"),
        "v2-1gpu": lambda: _release("v2-1gpu", 4, RELEASE_BATCH, ((1024, 0.0015),)),
        "v2-2gpus": lambda: _release("v2-2gpus", 8, _V2_2, ((512, 0.0015), (1024, 0.002))),
        "v2-4gpus": lambda: _release("v2-4gpus", 16, _V2_4, ((256, 0.0015), (512, 0.002), (1024, 0.003))),
        "v2-8gpus": lambda: _release("v2-8gpus", 32, _V2_8, ((128, 0.0015), (256, 0.002), (512, 0.003), (1024, 0.003))),
        "cifar10": _cifar10,
        "mnist1k": lambda: _mnist1k("mnist1k", 2),
        "mnist1k-k4": lambda: _mnist1k("mnist1k-k4", 4),
        "mnist1k-grown": lambda: _mnist1k_grown("mnist1k-grown", 2),
        "mnist1k-grown-k4": lambda: _mnist1k_grown("mnist1k-grown-k4", 4),
        "lsgan": _lsgan,
        "demo": _demo,
    }
    if name in makers:
        return makers[name]()
    row = re.fullmatch(r"table1-(a|b|c|d|e-star|e|f|g|h)", name)
    if row:
        return _table1(row[1])
    raise ConfigError(f"preset {name!r} is unknown; choose one of {', '.join(preset_names())}")


_V2_2: Table = ((4, 256), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16), (256, 8))
_V2_4: Table = ((4, 512), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16))
_V2_8: Table = ((4, 512), (8, 256), (16, 128), (32, 64), (64, 32))


def _paper(name: str) -> Config:
    """CelebA-HQ at 1024² as in the paper (appendix A.1)."""
    return Config(
        preset=name,
        network=NetworkConfig(mbstd_group=16),
        schedule=ScheduleConfig(
            training_kimg=800.0,
            transition_kimg=800.0,
            total_kimg=19_000.0,
            batch=16,
            batch_by_res=((256, 14), (512, 6), (1024, 3)),
        ),
        optimizer=OptimizerConfig(rampup_kimg=40.0 if name == "v1-1gpu" else 0.0),
        loss=LossConfig(),
        train=TrainConfig(mirror=True),
    )


def _release(name: str, batch: int, batches: Table, lr: Table) -> Config:
    """The second release's presets by number of GPUs."""
    return Config(
        preset=name,
        network=NetworkConfig(downsample=CONV),
        schedule=ScheduleConfig(batch=batch, batch_by_res=batches),
        optimizer=OptimizerConfig(lr_by_res=lr),
        loss=LossConfig(),
        train=TrainConfig(mirror=True),
    )


def _cifar10() -> Config:
    """CIFAR-10 (sec. 6.5)."""
    return Config(
        preset="cifar10",
        network=NetworkConfig(res=32, fmap_base=4096, fmap_max=128, latent=128, mbstd_group=16),
        schedule=ScheduleConfig(training_kimg=400.0, transition_kimg=400.0, total_kimg=20_000.0, batch=16),
        optimizer=OptimizerConfig(),
        loss=LossConfig(gp_target=750.0, same_pass=True),
        train=TrainConfig(mirror=False, metrics=("swd", "ms-ssim")),
    )


def _lsgan() -> Config:
    """LSGAN with multiplicative noise (appendix B)."""
    paper = _paper("lsgan")
    return replace(paper, loss=LossConfig(loss=LSGAN, gp_lambda=0.0, drift=0.0))


def _table1(row: str) -> Config:
    """A row of table 1: each changes one thing of the row before."""
    name = f"table1-{row}"
    order = ("a", "b", "c", "d", "e-star", "e", "f", "g", "h")
    at_least = {other: order.index(row) >= order.index(other) for other in order}
    own = row == "a"
    network = NetworkConfig(
        res=128,
        fmap_base=2048,
        latent=512 if at_least["d"] else 128,
        normalize_latent=at_least["d"],
        equalized=at_least["f"],
        pixel_norm=at_least["g"],
        g_activation="lrelu" if at_least["d"] else RELU,
        g_batch_norm=not at_least["d"],
        d_layer_norm=not at_least["d"],
        tanh=not at_least["d"],
        mbstd_group=16 if at_least["e"] else 0,
        mbdisc_kernels=100 if row == "e-star" else 0,
    )
    schedule = ScheduleConfig(
        start_res=128 if own else 4,
        training_kimg=800.0,
        transition_kimg=800.0,
        total_kimg=19_000.0 if row == "h" else 10_000.0,
        batch=16 if at_least["c"] else 64,
        d_repeats=1 if at_least["d"] else 5,
    )
    ema = 0.999
    if not at_least["d"]:
        ema = ema ** (STEPS_OF_16_IN_80 if at_least["c"] else STEPS_OF_16_IN_320)
    optimizer = OptimizerConfig(
        lr=1e-3 if at_least["f"] else GULRAJANI_LR, beta2=0.99 if at_least["d"] else 0.9, ema_decay=ema
    )
    return Config(
        preset=name,
        network=network,
        schedule=schedule,
        optimizer=optimizer,
        loss=LossConfig(drift=0.001 if at_least["d"] else 0.0),
        train=TrainConfig(mirror=False),
    )


def _mnist1k(name: str, cripple: int) -> Config:
    """The discrete mode test (appendix E), not grown; D has 1/cripple of the maps."""
    return Config(
        preset=name,
        network=NetworkConfig(
            family=MNIST,
            res=32,
            latent=64,
            g_batch_norm=True,
            tanh=True,
            mbstd_group=0,
            equalized=False,
            pixel_norm=False,
            mnist_cripple=cripple,
        ),
        schedule=ScheduleConfig(
            start_res=32, training_kimg=10_000.0, transition_kimg=0.0, total_kimg=10_000.0, batch=64, d_repeats=5
        ),
        optimizer=OptimizerConfig(),
        loss=LossConfig(drift=0.0),
        train=TrainConfig(),
    )


def _mnist1k_grown(name: str, cripple: int) -> Config:
    """The discrete mode test (appendix E) with growing."""
    base = _mnist1k(name, cripple)
    return replace(
        base,
        schedule=replace(base.schedule, start_res=4, training_kimg=500.0, transition_kimg=2000.0, total_kimg=15_000.0),
    )


def _demo() -> Config:
    """A minute on two cores: shows that everything works, makes no faces."""
    return Config(
        preset="demo",
        network=NetworkConfig(res=32, fmap_base=256, fmap_max=64, latent=64, downsample=CONV),
        schedule=ScheduleConfig(
            training_kimg=0.6, transition_kimg=0.6, total_kimg=6.0, batch=16, tick_kimg=((32, 1.0),)
        ),
        optimizer=OptimizerConfig(ema_decay=0.99),
        loss=LossConfig(),
        train=TrainConfig(mirror=True, grid=(6, 4), image_ticks=1, snapshot_ticks=3, network_ticks=3),
    )
