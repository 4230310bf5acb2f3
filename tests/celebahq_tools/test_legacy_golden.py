"""Every stage of the twelve golden pictures, made with NumPy 1.13, Pillow 3.1.1 and libjpeg 8d."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celebahq_tools.legacy.compiled import HAVE_NUMBA
from celebahq_tools.legacy.face import cut_face, scale_and_crop
from celebahq_tools.legacy.jpeg8d import decode_jpeg8d
from celebahq_tools.legacy.lanczos import resize_lanczos, resize_numpy
from celebahq_tools.legacy.margin import pad_compiled, quad_spans
from celebahq_tools.legacy.padding import pad_numpy
from celebahq_tools.legacy.plan import FacePlan, plan_face
from celebahq_tools.legacy.quad import crop_numpy, quad_coefficients, quad_rows_numpy

pytestmark = pytest.mark.shared
pytest.importorskip("jpeglib", reason="the golden pictures are decoded with jpeglib")

CASES = range(12)
PADDED = (4, 5, 7, 8, 9, 10)
SMALLEST_PADDED, TINY = 10, 11

Case = dict[str, Any]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Callable[[int], tuple[Case, np.ndarray, FacePlan]]:
    """golden(i) -> the case, its decoded picture and its plan."""
    folder = shared / "golden" / "celebahq"
    cases = json.loads((folder / "manifest.json").read_text())["cases"]

    def load(number: int) -> tuple[Case, np.ndarray, FacePlan]:
        case = cases[number]
        data = (folder / "celeba" / "img_celeba" / case["orig_file"]).read_bytes()
        pixels = decode_jpeg8d(data, name=case["orig_file"])
        return case, pixels, plan_face(np.array(case["landmarks"]), (pixels.shape[1], pixels.shape[0]))

    return load


def md5(array: np.ndarray) -> str:
    return hashlib.md5(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("number", CASES)
def test_decode_plan_and_scaling_equal_the_golden_stages(number, golden):
    case, pixels, plan = golden(number)
    stages, expected = case["stages"], case["plan"]
    assert md5(pixels) == stages["decoded"]["md5"]

    assert plan.quad.astype(">f4").tobytes().hex() == expected["quad_float32_hex"]
    assert repr(plan.zoom) == expected["zoom"]
    assert plan.border == expected["border"]
    assert (None if plan.padding is None else list(plan.padding.pad)) == expected["pad"]

    if "shrunk" in stages:
        assert plan.shrink_size is not None
        pixels = resize_lanczos(pixels, *plan.shrink_size)
        assert md5(pixels) == stages["shrunk"]["md5"]
    if "cropped" in stages:
        assert plan.box is not None
        left, top, right, bottom = plan.box
        assert [left, top, right, bottom] == stages["cropped"]["box"]
        pixels = pixels[top:bottom, left:right]
        assert md5(pixels) == stages["cropped"]["md5"]
    if "superres" in stages:
        size = pixels.shape[1] * plan.enlarge, pixels.shape[0] * plan.enlarge
        assert md5(resize_lanczos(pixels, *size)) == stages["superres"]["md5"]


@pytest.mark.parametrize("number", CASES)
def test_the_cut_face_has_the_golden_md5(number, golden):
    case, pixels, _ = golden(number)
    assert md5(cut_face(pixels, np.array(case["landmarks"]))) == case["proc_md5"]


@pytest.mark.skipif(not HAVE_NUMBA, reason="the compiled loops need numba")
@pytest.mark.parametrize("number", PADDED)
def test_the_whole_padded_picture_has_the_golden_md5(number, golden):
    case, pixels, plan = golden(number)
    padded = pad_compiled(scale_and_crop(pixels, plan), plan.padding)
    assert md5(padded.transpose(1, 2, 0)) == case["stages"]["padded"]["md5"]

    if number != SMALLEST_PADDED:
        return
    spans = quad_spans(plan.quad, *padded.shape[1:])
    looked_at = pad_compiled(scale_and_crop(pixels, plan), plan.padding, spans)
    inside = (np.arange(padded.shape[2]) >= spans[:, :1]) & (np.arange(padded.shape[2]) < spans[:, 1:])
    assert (looked_at == padded)[:, inside].all()


def test_the_numpy_margin_has_the_golden_md5(golden):
    case, pixels, plan = golden(SMALLEST_PADDED)
    assert md5(pad_numpy(scale_and_crop(pixels, plan), plan.padding)) == case["stages"]["padded"]["md5"]


@pytest.mark.slow
def test_numpy_alone_has_the_golden_md5s(golden):
    case, pixels, plan = golden(TINY)
    left, top, right, bottom = plan.box
    pixels = pixels[top:bottom, left:right]
    pixels = resize_numpy(pixels, pixels.shape[1] * plan.enlarge, pixels.shape[0] * plan.enlarge)
    assert md5(pixels) == case["stages"]["superres"]["md5"]
    digest = hashlib.md5()
    for row in range(0, 4096, 512):
        digest.update(quad_rows_numpy(pixels, quad_coefficients(plan.quad), row, row + 512, 4096).tobytes())
    assert digest.hexdigest() == case["stages"]["quad4096"]["md5"]
    assert md5(crop_numpy(pixels, plan.quad)) == case["proc_md5"]
