"""Faces and their landmarks in photographs, with dlib.

Detection: histograms of oriented gradients (Dalal & Triggs 2005) on a copy of bounded size. Landmarks: 68
points by an ensemble of regression trees (Kazemi & Sullivan 2014), predicted in a cut-out in which every face
has the same width, so that their precision does not depend on the size of the photograph.

Positions are (x, y) in pixels of the picture given, origin at the centre of its top-left pixel. Left and
right are the viewer's. The detector knows upright, roughly frontal faces.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import UsageError
from celebahq_tools.landmarks_model import find_landmarks_model, import_dlib, open_predictor
from celebahq_tools.records import Landmarks

__all__ = ["Face", "FaceFinder", "find_landmarks_model", "five_from_68"]

DETECT_SIDE = 1280
"""Longest side of the copy that is searched; smaller pictures are doubled while they stay within it."""
MAX_DOUBLINGS = 2
"""The detector's smallest face is 80 pixels wide, hence 20 in a small picture."""

FACE_WIDTH = 384
"""Width of the detected box in the cut-out for landmarks: dlib returns whole pixels of it."""
MAX_ENLARGEMENT = 4.0
CUTOUT_MARGIN = 0.5
"""Kept around the box on each side, as a part of its width: landmarks of the chin and brows leave the box."""

DETECTION_THRESHOLD = 0.0
SURE_CONFIDENCE = 0.2
"""Least confidence of a face that is not the most confident of its picture; false alarms score below."""

EYE_LEFT, EYE_RIGHT = slice(36, 42), slice(42, 48)
NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT = 30, 48, 54
"""Indices into dlib's 68 points, from 0."""

EYE_REACH, MOUTH_REACH = 4.0, 3.6
"""Crop side over the distance between the eyes, and from eyes to mouth (Karras et al. 2018, appendix C)."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture.

    landmarks    (5, 2) float64: left eye, right eye, nose tip, left and right mouth corner
    landmarks68  (68, 2) float64, dlib's order
    box          left, top, right, bottom of the detection
    confidence   the detector's score, 0 at its threshold
    """

    landmarks: Landmarks
    landmarks68: Landmarks
    box: tuple[float, float, float, float]
    confidence: float

    @property
    def crop_side(self) -> float:
        """Side in pixels of the square the paper would crop: max(4 |eye to eye|, 3.6 |eyes to mouth|)."""
        eyes, mouth = self.landmarks[:2], self.landmarks[3:]
        eye_to_eye = float(np.hypot(*(eyes[1] - eyes[0])))
        eye_to_mouth = float(np.hypot(*(mouth.mean(0) - eyes.mean(0))))
        return max(EYE_REACH * eye_to_eye, MOUTH_REACH * eye_to_mouth)


class FaceFinder:
    """Finds faces; opens the detector and the model on first use in a process. Picklable, thread safe."""

    def __init__(self, model_path: Path, min_face_px: float = 0, which: Literal["largest", "all"] = "largest") -> None:
        """Remember what to look for.

        model_path   dlib's 68-point model, see `find_landmarks_model`
        min_face_px  faces whose crop would be smaller are left out, but never the biggest one
        which        only the biggest face of a picture, or all
        """
        if which not in ("largest", "all"):
            raise UsageError(f"faces {which!r}: expected 'largest' or 'all'")
        self.model_path = model_path
        self.min_face_px = min_face_px
        self.which = which
        self._lock = threading.Lock()
        self._tools: tuple[Any, Any, Any] | None = None

    def __reduce__(self) -> tuple[type["FaceFinder"], tuple[Path, float, str]]:
        return FaceFinder, (self.model_path, self.min_face_px, self.which)

    def find(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """Faces in a picture, biggest first; empty where there is none.

        pixels: (H, W, 3) uint8 RGB. Raises FormatError for a damaged model.
        """
        faces = [self._face(pixels, box, confidence) for box, confidence in self._detect(pixels)]
        if not faces:
            return []
        best = max(face.confidence for face in faces)
        faces = [face for face in faces if face.confidence >= min(best, SURE_CONFIDENCE)]
        faces.sort(key=lambda face: (-face.crop_side, face.box[1], face.box[0]))
        if self.which == "largest":
            return faces[:1]
        return faces[:1] + [face for face in faces[1:] if face.crop_side >= self.min_face_px]

    def _detect(self, pixels: NDArray[np.uint8]) -> list[tuple[tuple[float, float, float, float], float]]:
        """Boxes (left, top, right, bottom) in pixel positions of `pixels` and confidences."""
        _, detector, _ = self._opened()
        searched = _resized(pixels, _search_size(pixels.shape[0], pixels.shape[1]))
        scale_x, scale_y = searched.shape[1] / pixels.shape[1], searched.shape[0] / pixels.shape[0]
        with self._lock:
            rectangles, confidences, _ = detector.run(searched, 0, DETECTION_THRESHOLD)
        return [
            (
                (
                    (box.left() + 0.5) / scale_x - 0.5,
                    (box.top() + 0.5) / scale_y - 0.5,
                    (box.right() + 0.5) / scale_x - 0.5,
                    (box.bottom() + 0.5) / scale_y - 0.5,
                ),
                float(confidence),
            )
            for box, confidence in zip(rectangles, confidences, strict=True)
        ]

    def _face(self, pixels: NDArray[np.uint8], box: tuple[float, float, float, float], confidence: float) -> Face:
        """Predict the landmarks of a detected face in a cut-out of standard size."""
        dlib, _, predictor = self._opened()
        left, top, right, bottom = box
        margin = CUTOUT_MARGIN * (right - left)
        x0, y0 = max(0, int(left - margin)), max(0, int(top - margin))
        x1 = min(pixels.shape[1], int(right + margin) + 2)
        y1 = min(pixels.shape[0], int(bottom + margin) + 2)
        scale = min(FACE_WIDTH / (right - left), MAX_ENLARGEMENT)
        size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        cutout = _resized(pixels[y0:y1, x0:x1], size)
        factor = np.array([size[0] / (x1 - x0), size[1] / (y1 - y0)])
        corner = np.array([x0, y0])
        inside = np.rint((np.array(box).reshape(2, 2) - corner + 0.5) * factor - 0.5).astype(int)
        with self._lock:
            shape = predictor(cutout, dlib.rectangle(*inside.reshape(-1).tolist()))
        points = np.array([(part.x, part.y) for part in shape.parts()], dtype=np.float64)
        points = (points + 0.5) / factor - 0.5 + corner
        return Face(five_from_68(points), points, box, confidence)

    def _opened(self) -> tuple[Any, Any, Any]:
        """The module dlib, its detector, the landmark predictor."""
        with self._lock:
            if self._tools is None:
                dlib = import_dlib()
                self._tools = dlib, dlib.get_frontal_face_detector(), open_predictor(self.model_path)
            return self._tools


def five_from_68(points: Landmarks) -> Landmarks:
    """CelebA's five landmarks (5, 2) from dlib's 68 (68, 2): each eye is the mean of its six points."""
    return np.stack(
        [
            points[EYE_LEFT].mean(axis=0),
            points[EYE_RIGHT].mean(axis=0),
            points[NOSE_TIP],
            points[MOUTH_LEFT],
            points[MOUTH_RIGHT],
        ]
    )


def _search_size(height: int, width: int) -> tuple[int, int]:
    """Width and height of the copy that is searched."""
    longest = max(height, width)
    if longest > DETECT_SIDE:
        scale = DETECT_SIDE / longest
        return max(1, round(width * scale)), max(1, round(height * scale))
    doublings = sum(longest << count <= DETECT_SIDE for count in range(1, MAX_DOUBLINGS + 1))
    return width << doublings, height << doublings


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W, 3) to (width, height): area means when shrinking, bilinear when enlarging."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return np.ascontiguousarray(pixels)
    method = cv2.INTER_AREA if size[0] < pixels.shape[1] else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)
