"""Faces cut out of photographs: the recipes `paper`, `plain` and `ffhq` (Karras et al. 2018, appendix C)."""

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from celebahq_tools.align import extract_crop, ffhq_quad, needed_box, paper_quad, published_quad, quad_side, scale_quad
from celebahq_tools.config import SAMPLES_PER_SIDE
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import PictureError
from celebahq_tools.faces import Face, FaceFinder
from celebahq_tools.names import printable
from celebahq_tools.pipeline.candidates import Candidate
from celebahq_tools.pipeline.recipes import FileTask, RecipeSpec, Rendered
from celebahq_tools.quality import quality_score
from celebahq_tools.records import Record
from celebahq_tools.restore import Restorer, configure_worker_threads, open_restorer, restored_share
from celebahq_tools.restore.drift import drift

Pixels = NDArray[np.uint8]
Quad = NDArray[np.float64]


class FaceRecipe:
    """Geometry, with restoration before it for the recipe `paper`."""

    def __init__(self, spec: RecipeSpec) -> None:
        self._config = spec.config
        assert spec.reader is not None
        self._reader = spec.reader
        self._annotated = spec.source_kind == "celeba"
        self._restorer: Restorer | None = None
        if spec.config.recipe == "paper":
            configure_worker_threads()
            self._restorer = open_restorer(spec.config.restorer)
        self._finder: FaceFinder | None = None
        if spec.landmarks_model is not None:
            self._finder = FaceFinder(spec.landmarks_model, spec.config.min_face_px, spec.config.faces)

    def survey(self, task: FileTask) -> list[Candidate]:
        """The annotated face of a CelebA picture, or the faces found in a photograph."""
        pixels = self._decode(task.file)
        records = self._records(task, pixels)
        candidates = [self._candidate(record, pixels) for record in records]
        big_enough = [item for item in candidates if quad_side(_quad(item)) >= self._config.min_face_px]
        if not big_enough:
            largest = max(quad_side(_quad(item)) for item in candidates)
            raise PictureError(
                "face-too-small",
                f"{printable(task.file)}: the crop is {largest:.0f} pixels wide, expected at least "
                f"{self._config.min_face_px} (--min-face)",
            )
        if self._config.keep is None:
            return big_enough
        return [self._scored(item, pixels) for item in big_enough]

    def render(self, candidate: Candidate) -> Rendered:
        """Restore what the crop will look at, then crop. PictureError `drift` beyond the largest that is allowed."""
        return self._crop(self._decode(candidate.file), _quad(candidate), candidate.file)

    def _decode(self, file: str) -> Pixels:
        # CelebA's landmarks were taken on the pixels as stored.
        return decode_picture(self._reader.read(file), name=file, apply_orientation=not self._annotated)

    def _records(self, task: FileTask, pixels: Pixels) -> list[Record]:
        if self._annotated and (task.record is None or task.record.landmarks is None):
            raise PictureError(
                "no-landmarks",
                f"{printable(task.file)}: no line in list_landmarks_celeba.txt; add one or remove the picture",
            )
        if self._finder is None:
            assert task.record is not None
            return [task.record]
        faces = self._finder.find(pixels)
        if not faces:
            raise PictureError("no-face", f"{printable(task.file)}: no face found; crop it by hand or leave it out")
        if task.record is not None:
            return [_annotated_face(task.record, faces)]
        return [_face_record(task.file, face, number) for number, face in enumerate(faces, start=1)]

    def _candidate(self, record: Record, pixels: Pixels) -> Candidate:
        assert record.landmarks is not None
        if self._config.recipe == "ffhq":
            assert record.landmarks68 is not None
            quad = ffhq_quad(record.landmarks68)
        else:
            # Published images lie up to half a pixel beside the formula (docs/geometry.md); ours lie on them.
            quad = published_quad(paper_quad(record.landmarks), (pixels.shape[0], pixels.shape[1]))
        return Candidate(
            key=record.key,
            file=record.file,
            quad=tuple((float(x), float(y)) for x, y in quad),
            landmarks=tuple((float(x), float(y)) for x, y in record.landmarks),
            identity=record.identity,
            attributes=record.attributes,
            partition=record.partition,
            restored_share=self._restored_share(pixels, quad),
        )

    def _scored(self, candidate: Candidate, pixels: Pixels) -> Candidate:
        return dataclasses.replace(
            candidate, quality=quality_score(self._crop(pixels, _quad(candidate), candidate.file).pixels)
        )

    def _restored_share(self, pixels: Pixels, quad: Quad) -> float | None:
        """Part of the whole picture's pixels that the restorer has to look at."""
        if self._restorer is None or self._restorer.name == "none":
            return None
        height, width = pixels.shape[:2]
        factor = limit_factor(quad, self._max_side(self._restorer))
        context = math.ceil(self._restorer.context / factor)
        return restored_share((height, width), needed_box(quad, (height, width)), context) * factor**2

    def _crop(self, pixels: Pixels, quad: Quad, file: str) -> Rendered:
        res = self._config.res
        if self._restorer is None or self._restorer.name == "none":
            return Rendered(extract_crop(pixels, quad, res))
        pixels, quad = limit_crop(pixels, quad, self._max_side(self._restorer))
        box = needed_box(quad, (pixels.shape[0], pixels.shape[1]))
        restored = self._restorer.restore(pixels, box)
        x0, y0, x1, y1 = box
        moved = drift(pixels[y0:y1, x0:x1], restored)
        if self._config.max_drift is not None and moved > self._config.max_drift:
            raise PictureError(
                "drift",
                f"{printable(file)}: restoring moved its coarse detail by {moved:.2f} levels, more than "
                f"{self._config.max_drift:g} (--max-drift)",
            )
        return Rendered(extract_crop(restored, scale_quad(quad - box[:2], self._restorer.scale), res), moved)

    def _max_side(self, restorer: Restorer) -> float:
        return SAMPLES_PER_SIDE * self._config.res / restorer.scale


def limit_factor(quad: Quad, max_side: float) -> float:
    """By how much a picture is to be shrunk for its crop to be at most `max_side` pixels wide."""
    return min(1.0, max_side / quad_side(quad))


def limit_crop(pixels: Pixels, quad: Quad, max_side: float) -> tuple[Pixels, Quad]:
    """Shrink the picture by area means so that the crop is at most `max_side` pixels wide.

    The crop is sampled at a fixed number of points; a network that enlarges more than that only makes pixels
    that nobody reads. (The paper enlarges the whole picture whatever its size.)
    """
    factor = limit_factor(quad, max_side)
    if factor == 1.0:
        return pixels, quad
    height, width = pixels.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    scale = np.array([size[0] / width, size[1] / height])
    return shrunk.astype(np.uint8, copy=False), (quad + 0.5) * scale - 0.5


def _quad(candidate: Candidate) -> Quad:
    assert candidate.quad is not None
    return np.array(candidate.quad, np.float64)


def _face_record(file: str, face: Face, number: int) -> Record:
    key = printable(file if number == 1 else f"{file}#{number}")
    return Record(key=key, file=file, landmarks=face.landmarks, landmarks68=face.landmarks68)


def _annotated_face(record: Record, faces: list[Face]) -> Record:
    """The annotation with the 68 landmarks of the face found nearest to it."""
    assert record.landmarks is not None
    centre = record.landmarks.mean(axis=0)
    reach = float(np.ptp(record.landmarks, axis=0).max())
    nearest = min(faces, key=lambda face: float(np.hypot(*(face.landmarks.mean(axis=0) - centre))))
    if np.hypot(*(nearest.landmarks.mean(axis=0) - centre)) > reach:
        raise PictureError(
            "no-face",
            f"{printable(record.file)}: no face found where the annotation has one; use --recipe plain",
        )
    return dataclasses.replace(record, landmarks68=nearest.landmarks68)
