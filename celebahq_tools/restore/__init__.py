"""Restoration: JPEG-artifact removal and super-resolution before the crop. Importing this loads no torch."""

from dataclasses import replace

from celebahq_tools.restore.base import (
    Box,
    Restorer,
    RestorerConfig,
    RestorerStamp,
    named_restorer,
    restored_share,
    widened_box,
)

__all__ = [
    "Box",
    "Restorer",
    "RestorerConfig",
    "RestorerStamp",
    "configure_worker_threads",
    "named_restorer",
    "open_restorer",
    "restored_share",
    "settled_config",
    "widened_box",
]


def open_restorer(config: RestorerConfig) -> Restorer:
    """The restorer that `config` names; picklable, and its weights are read on first use in each process.

    Raises MissingDependencyError when its weights are not there and UsageError when a weights file is of an
    unknown kind, so that a build fails before it starts.
    """
    if config.name == "none":
        from celebahq_tools.restore.plain import PlainRestorer

        return PlainRestorer()
    if config.name == "ours":
        from celebahq_tools.restore.ours import OursRestorer

        return OursRestorer(config)
    if config.name == "spandrel":
        from celebahq_tools.restore.foreign import SpandrelRestorer

        return SpandrelRestorer(config)
    from celebahq_tools.restore.realesrgan import RealESRGANRestorer

    return RealESRGANRestorer(config)


def settled_config(config: RestorerConfig) -> RestorerConfig:
    """`config` with its 'auto' settings replaced by what this machine takes.

    Settle once and hand the result to all workers: machines of different kinds then compute alike.
    """
    if config.name == "none":
        return config
    from celebahq_tools.restore.precision import resolve_device, resolve_precision

    device = resolve_device(config.device)
    if config.name == "spandrel" and config.precision == "auto":
        return replace(config, device=device, precision="fp32")
    return replace(config, device=device, precision=resolve_precision(config.precision, device))


def configure_worker_threads() -> None:
    """Give torch one thread in this process; call it first thing in each worker that restores.

    Workers are the parallelism: one picture each. One thread also makes the result of a picture independent of
    how many processors and workers the machine has, because sums are then never split between threads.
    """
    import torch

    torch.set_num_threads(1)
