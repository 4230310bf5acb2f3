"""Finding the 68-point landmark model of dlib on this machine, and opening it."""

import bz2
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from celebahq_tools.archives import shown
from celebahq_tools.errors import FormatError, MissingDependencyError
from celebahq_tools.names import one_line
from celebahq_tools.weights import cache_folder

MODEL_FILE = "shape_predictor_68_face_landmarks.dat"
MODEL_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
"""The model in PyPI face-recognition-models 0.3.0 and in Debian libdlib-data 19.24: the same file."""

MODEL_PACKAGE = "face_recognition_models"
SYSTEM_FOLDERS = (Path("/usr/share/dlib"), Path("/usr/local/share/dlib"))
PACKED_SUFFIX = ".bz2"
MAX_MODEL_BYTES = 1 << 30
BLOCK_BYTES = 1 << 20
POINTS = 68

HOW_TO_GET = (
    "pip install 'celebahq-tools[faces]' (PyPI face-recognition-models), or apt install libdlib-data, or give"
    f" the path of {MODEL_FILE} with --landmarks-model"
)


def find_landmarks_model(path: Path | None = None, *, cache: Path | None = None) -> Path:
    """Path of the 68-point model: `path` if given, else of the packages that carry it.

    Looks into PyPI's `face-recognition-models` (without importing it) and Debian's `libdlib-data`. A model
    still packed as .bz2, as dlib.net distributes it, is unpacked once into `cache` (by default the user's).

    Raises MissingDependencyError where there is none, saying how to get it; FormatError for a damaged .bz2.
    """
    if path is not None:
        if not path.is_file():
            raise MissingDependencyError(f"landmark model {shown(path)}: no such file; {HOW_TO_GET}")
        return _unpacked(path, cache)
    for folder in (*_package_folders(), *SYSTEM_FOLDERS):
        for name in (MODEL_FILE, MODEL_FILE + PACKED_SUFFIX):
            if (folder / name).is_file():
                return _unpacked(folder / name, cache)
    raise MissingDependencyError(
        "photographs without annotations need dlib's 68-point landmark model, which was not found: " + HOW_TO_GET
    )


def open_predictor(path: Path) -> Any:
    """Open the model as a `dlib.shape_predictor` (about 100 MB, half a second).

    Raises FormatError for a file that is no such model or has not 68 points, MissingDependencyError without
    dlib.
    """
    import numpy as np

    dlib = import_dlib()
    try:
        predictor = dlib.shape_predictor(str(path))
        blank = np.zeros((POINTS, POINTS, 3), np.uint8)
        points = predictor(blank, dlib.rectangle(0, 0, POINTS - 1, POINTS - 1)).num_parts
    except (RuntimeError, MemoryError, ValueError, OSError) as error:
        raise FormatError(
            f"landmark model {shown(path)}: cannot be opened ({one_line(error)}); expected {MODEL_FILE}: {HOW_TO_GET}"
        ) from None
    if points != POINTS:
        raise FormatError(f"landmark model {shown(path)}: expected {POINTS} points, found {points}; give {MODEL_FILE}")
    return predictor


def import_dlib() -> Any:
    """The module dlib, which has no type stubs; raises MissingDependencyError."""
    try:
        import dlib
    except ImportError as error:
        raise MissingDependencyError(
            f"finding faces needs dlib ({one_line(error)}): pip install dlib-bin, or pip install dlib to build it"
        ) from None
    return dlib


def _package_folders() -> list[Path]:
    """`models` folder of face_recognition_models, which cannot be imported without pkg_resources."""
    try:
        spec = importlib.util.find_spec(MODEL_PACKAGE)
    except (ImportError, ValueError):
        return []
    return [Path(place) / "models" for place in (spec.submodule_search_locations or ())] if spec else []


def _unpacked(path: Path, cache: Path | None) -> Path:
    """`path` itself, or the model unpacked from a .bz2 into the cache."""
    if path.suffix != PACKED_SUFFIX:
        return path
    folder = cache_folder() if cache is None else cache
    with path.open("rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else ""
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    target = folder / f"{path.stem.removesuffix('.dat')}-{digest[:16]}.dat"
    if target.is_file():
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _unpack_bz2(path, partial)
        partial.replace(target)
    except (OSError, EOFError, ValueError) as error:
        raise FormatError(
            f"landmark model {shown(path)}: cannot be unpacked to {shown(folder)} ({one_line(error)}); unpack"
            f" it with `bunzip2` and give the result with --landmarks-model"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return target


def _unpack_bz2(path: Path, target: Path) -> None:
    written = 0
    with bz2.open(path, "rb") as packed, target.open("wb") as file:
        while block := packed.read(BLOCK_BYTES):
            written += len(block)
            if written > MAX_MODEL_BYTES:
                raise ValueError(f"more than {MAX_MODEL_BYTES:,} bytes")
            file.write(block)
