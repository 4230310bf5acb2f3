"""What the trainer does at `nimg` real images shown: a pure function (Karras et al. 2018, sec. 2, appendix A).

lod = log2(final resolution / present resolution), fractional while a new resolution fades in.
"""

import math
from dataclasses import dataclass

from pgan.config import Config, by_res

KIMG = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Settings in force at one moment.

    lod        level of detail, 0 at the final resolution
    res        side of the images the networks work on, pixels
    batch      real images per step of D, over all processes
    lr         learning rate of both networks
    tick_kimg  thousands of images between progress reports
    """

    lod: float
    res: int
    batch: int
    lr: float
    tick_kimg: float

    @property
    def fade(self) -> float:
        """Weight of the older, coarser path: the fractional part of lod."""
        return self.lod - math.floor(self.lod)


def lod_at(config: Config, nimg: int) -> float:
    """Level of detail: a phase holds it for training_kimg and then lowers it by one over transition_kimg."""
    schedule = config.schedule
    start = config.network.res_log2 - (schedule.start_res.bit_length() - 1)
    phase_kimg = schedule.training_kimg + schedule.transition_kimg
    kimg = nimg / KIMG
    phase = math.floor(kimg / phase_kimg)
    lod = float(start - phase)
    if schedule.transition_kimg > 0:
        lod -= max(kimg - phase * phase_kimg - schedule.training_kimg, 0.0) / schedule.transition_kimg
    return max(lod, 0.0)


def stage_at(config: Config, nimg: int) -> Stage:
    """The settings in force when `nimg` real images have been shown."""
    lod = lod_at(config, nimg)
    res = config.network.res >> math.floor(lod)
    optimizer = config.optimizer
    ramp = min(nimg / KIMG / optimizer.rampup_kimg, 1.0) if optimizer.rampup_kimg > 0 else 1.0
    return Stage(
        lod=lod,
        res=res,
        batch=int(by_res(config.schedule.batch_by_res, res, config.schedule.batch)),
        lr=ramp * by_res(optimizer.lr_by_res, res, optimizer.lr),
        tick_kimg=by_res(config.schedule.tick_kimg, res, config.schedule.tick_kimg[-1][1]),
    )


def active_layers(lod: float) -> tuple[int, int]:
    """Identifies the set of layers in use; Adam starts afresh when it changes."""
    return math.floor(lod), math.ceil(lod)


def growth_resolutions(config: Config) -> tuple[int, ...]:
    """Resolutions the run reaches, in order."""
    reached = stage_at(config, math.ceil(config.schedule.total_kimg * KIMG)).res
    resolutions, res = [], config.schedule.start_res
    while res <= reached:
        resolutions.append(res)
        res *= 2
    return tuple(resolutions)
