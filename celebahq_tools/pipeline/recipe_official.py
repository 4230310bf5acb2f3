"""The official images: CelebA's pictures and the published deltas, each proven by both of its checksums."""

import numpy as np

from celebahq_tools.align import paper_quad
from celebahq_tools.deltas import DeltaReader
from celebahq_tools.errors import PictureError
from celebahq_tools.legacy.plan import CROP_RES
from celebahq_tools.official import rebuild_official
from celebahq_tools.pipeline.candidates import Candidate, Point
from celebahq_tools.pipeline.recipes import FileTask, RecipeSpec, Rendered
from celebahq_tools.pyramid import build_levels
from celebahq_tools.records import Landmarks


class OfficialRecipe:
    """`celebahq build --recipe official`."""

    def __init__(self, spec: RecipeSpec) -> None:
        assert spec.deltas is not None
        self._res = spec.config.res
        assert spec.reader is not None
        self._reader = spec.reader
        self._deltas = DeltaReader(spec.deltas)

    def survey(self, task: FileTask) -> list[Candidate]:
        """The one image of the index that is made of the file; nothing is read."""
        record, row = task.record, task.official
        assert record is not None
        assert record.landmarks is not None
        assert row is not None
        return [
            Candidate(
                key=f"{row.idx:05d}",
                file=task.file,
                quad=_quad(record.landmarks),
                landmarks=tuple((float(x), float(y)) for x, y in record.landmarks),
                identity=record.identity,
                attributes=record.attributes,
                partition=record.partition,
                official=row,
            )
        ]

    def render(self, candidate: Candidate) -> Rendered:
        """Rebuild at 1024², check, and give the level that is asked for: (3, res, res) uint8."""
        row = candidate.official
        assert row is not None
        jpeg = self._reader.read(candidate.file)
        landmarks = np.array(candidate.landmarks, np.float32)
        image = rebuild_official(jpeg, candidate.file, landmarks, self._deltas.token(row.idx), row)
        if self._res == CROP_RES:
            return Rendered(image)
        return Rendered(build_levels(image)[self._res])


def _quad(landmarks: Landmarks) -> tuple[Point, ...] | None:
    """The square for the index; None where the paper's formula gives none: the checksums decide, not this."""
    try:
        return tuple((float(x), float(y)) for x, y in paper_quad(landmarks))
    except PictureError:
        return None
