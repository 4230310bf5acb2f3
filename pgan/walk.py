"""The order of a run's steps: a pure walk from a position, the same for the trainer and for those who read ahead."""

from collections.abc import Iterator
from dataclasses import dataclass

from pgan.config import Config
from pgan.schedule import Stage, stage_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a run is.

    nimg        real images shown
    stage_nimg  nimg at which the schedule was last evaluated
    repeat      steps made since then
    """

    nimg: int = 0
    stage_nimg: int = 0
    repeat: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """One step of G with its steps of D: where it starts, its settings, and where the run is after it."""

    start: Position
    stage: Stage
    after: Position

    def d_starts(self) -> range:
        """nimg at the start of each step of D."""
        return range(self.start.nimg, self.after.nimg, self.stage.batch)


def walk(config: Config, position: Position) -> Iterator[Iteration]:
    """All iterations from a position on, without end; the schedule is evaluated every `minibatch_repeats`."""
    while True:
        if position.repeat == 0:
            position = Position(nimg=position.nimg, stage_nimg=position.nimg, repeat=0)
        stage = stage_at(config, position.stage_nimg)
        after = Position(
            nimg=position.nimg + config.schedule.d_repeats * stage.batch,
            stage_nimg=position.stage_nimg,
            repeat=(position.repeat + 1) % config.schedule.minibatch_repeats,
        )
        yield Iteration(start=position, stage=stage, after=after)
        position = after
