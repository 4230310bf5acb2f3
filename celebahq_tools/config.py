"""What a build makes (`BuildConfig`) and how it is run (`RunOptions`).

Only `BuildConfig` decides the pixels; it is stored in the pyramid, and a resumed build must bring the same one.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from celebahq_tools.errors import UsageError
from celebahq_tools.restore.base import RestorerConfig

RecipeName = Literal["paper", "plain", "ffhq", "official", "images"]
FacesOption = Literal["largest", "all"]
FitOption = Literal["crop", "pad", "refuse"]

MAX_RES = 4096
MIN_RES = 4
MAX_LEVEL = 255
DEFAULT_MIN_FACE_PX = 24
SAMPLES_PER_SIDE = 4
"""The paper samples the crop at 4096² before the box filter takes it to 1024²: four samples a side and pixel."""

NO_RESTORER = RestorerConfig(name="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildConfig:
    """Everything that decides the pixels and the order of a pyramid.

    recipe       paper | plain | ffhq | official | images
    res          finest resolution, a power of two in [4, 4096]
    keep         keep only the best this many by quality score, or None for all
    faces        which faces of a photograph become items
    min_face_px  smallest side in source pixels of a crop that is taken
    fit          what happens to pictures that are not square (recipe `images`)
    max_drift    largest low-pass difference, in levels, that restoring may make to a picture (recipe `paper`)
    restorer     the network run before the crop (recipe `paper`)
    ids          only these files, keys or (recipe `official`) idx numbers
    limit        at most this many files of the source, in its order
    """

    recipe: RecipeName
    res: int = 1024
    keep: int | None = None
    faces: FacesOption = "largest"
    min_face_px: int = DEFAULT_MIN_FACE_PX
    fit: FitOption = "refuse"
    max_drift: float | None = None
    restorer: RestorerConfig = NO_RESTORER
    ids: tuple[str, ...] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.recipe not in get_args(RecipeName):
            raise UsageError(f"recipe {self.recipe!r} is unknown: use one of {', '.join(get_args(RecipeName))}")
        if not MIN_RES <= self.res <= MAX_RES or self.res & (self.res - 1):
            raise UsageError(f"--res {self.res}: expected a power of two from {MIN_RES} to {MAX_RES}")
        for name, value in (("--keep", self.keep), ("--limit", self.limit), ("--min-face", self.min_face_px)):
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: expected at least 1")
        if self.max_drift is not None and not 0 < self.max_drift <= MAX_LEVEL:
            raise UsageError(f"--max-drift {self.max_drift:g}: expected levels above 0, at most {MAX_LEVEL}")

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON values, stable in order, free of paths of this machine."""
        values = dataclasses.asdict(self)
        values["restorer"] = {name: value for name, value in values["restorer"].items() if name != "weights"}
        return values

    def digest(self, *parts: str) -> str:
        """Sha256 hex digest of the config and any further `parts` that decide the pixels."""
        text = json.dumps([self.to_json(), *parts], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a build is run; none of it may change a pixel.

    jobs             worker processes on this machine
    dask             address of a Dask scheduler whose workers share this file system, or None
    strict           a rejected picture stops the build
    overwrite        replace a finished output that was made otherwise
    landmarks_model  path of the 68-point model, or None to look for the packages that carry it
    deltas           folder of the official delta zips and image_list.txt (recipe `official`)
    """

    jobs: int = 1
    dask: str | None = None
    strict: bool = False
    overwrite: bool = False
    landmarks_model: Path | None = None
    deltas: Path | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: expected at least 1")
