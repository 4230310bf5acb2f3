"""Crops of the golden pictures against the published pipeline's, by registration to a tenth of a pixel."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from celebahq_tools.align import extract_crop, needed_box, paper_quad, published_quad, quad_side, scale_quad
from celebahq_tools.align.quads import published_factors

pytestmark = pytest.mark.shared

RES = 1024
CASES = range(12)
ILL_CONDITIONED = 11
"""A rocket's edge from top to bottom: hardly anything in it tells a shift along it, nothing in its quarters."""
TOLERANCE_PX = 0.1


class Golden:
    """One golden case: the picture, our square for it, the published crop (gray)."""

    def __init__(self, folder: Path, index: int) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        self.case = next(case for case in manifest["cases"] if case["idx"] == index)
        with Image.open(folder / "celeba" / "img_celeba" / self.case["orig_file"]) as picture:
            self.pixels = np.asarray(picture.convert("RGB"))
        with Image.open(folder / "expected" / f"proc_{index:05d}.png") as picture:
            self.published = np.asarray(picture.convert("L"))
        self.shape = self.pixels.shape[:2]
        self.quad = paper_quad(np.array(self.case["landmarks"], float))

    def unpadded(self) -> np.ndarray:
        """(RES, RES) bool: output pixels away from the continued border and the crop's own edge."""
        side = quad_side(self.quad)
        ys, xs = np.mgrid[:RES, :RES] + 0.5
        to_x, to_y = (self.quad[3] - self.quad[0]) / RES, (self.quad[1] - self.quad[0]) / RES
        x, y = self.quad[0][:, None, None] + to_x[:, None, None] * xs + to_y[:, None, None] * ys
        keep = np.zeros((RES, RES), bool)
        keep[16:-16, 16:-16] = True
        if self.case["plan"]["pad"]:
            reach = max(-self.quad.min(), (self.quad.max(axis=0) - self.shape[::-1]).max(), 0.2 * side) + 0.1 * side
            keep &= (x > reach / 3) & (y > reach / 3)
            keep &= (x < self.shape[1] - reach / 3) & (y < self.shape[0] - reach / 3)
        return keep


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest, shared: Path) -> Golden:
    return Golden(shared / "golden" / "celebahq", request.param)


def gray(crop: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(crop.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY))


def shift_between(reference: np.ndarray, image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Least-squares translation (dx, dy) with image(x) = a * reference(x + d) + b on the pixels `where`."""
    fixed, moving = (cv2.GaussianBlur(plane.astype(np.float64), (0, 0), 3) for plane in (image, reference))
    shift = np.zeros(2)
    for _ in range(3):
        warped = ndimage.shift(moving, -shift[::-1], order=3, mode="nearest")
        slope_y, slope_x = np.gradient(warped)
        system = np.stack([plane[where] for plane in (slope_x, slope_y, warped, np.ones_like(warped))], axis=1)
        step = np.linalg.solve(system.T @ system, system.T @ (fixed - warped)[where])
        shift += step[:2]
    return shift


def test_registration_finds_known_shifts(shared: Path) -> None:
    picture = Golden(shared / "golden" / "celebahq", 0).published
    for known in ((0.3, -0.2), (0.05, 0.6)):
        moved = ndimage.shift(picture.astype(float), (-known[1], -known[0]), order=3, mode="nearest")
        where = np.zeros(picture.shape, bool)
        where[20:-20, 20:-20] = True
        assert shift_between(picture, moved, where) == pytest.approx(known, abs=0.01)


def test_crops_of_the_published_square_register(golden: Golden) -> None:
    crop = gray(extract_crop(golden.pixels, published_quad(golden.quad, golden.shape), RES))
    where = golden.unpadded()
    assert np.abs(shift_between(golden.published, crop, where)).max() < TOLERANCE_PX
    assert np.abs(crop.astype(int) - golden.published)[where].mean() < 0.8
    if golden.case["idx"] == ILL_CONDITIONED:
        return
    for y in (0, RES // 2):  # all quarters alike: neither scale nor rotation differ
        for x in (0, RES // 2):
            part = np.s_[y : y + RES // 2, x : x + RES // 2]
            inside = where[part].copy()
            inside[[*range(16), *range(-16, 0)]] = inside[:, [*range(16), *range(-16, 0)]] = False
            if inside.sum() > 20_000:
                assert np.abs(shift_between(golden.published[part], crop[part], inside)).max() < TOLERANCE_PX


def test_crops_of_the_papers_square_differ_by_the_known_shift(golden: Golden) -> None:
    """Without `published_quad` the crops are off by what docs/geometry.md derives, and by nothing else."""
    target = published_quad(golden.quad, golden.shape)
    axes = np.stack([golden.quad[3] - golden.quad[0], golden.quad[1] - golden.quad[0]], axis=1) / RES
    corner, middle = np.zeros(2), np.full(2, RES / 2)
    origin = np.linalg.solve(axes, target[0] - golden.quad[0])
    stretch = np.linalg.solve(axes, (target[2] - target[0]) - (golden.quad[2] - golden.quad[0])) / RES
    crop = gray(extract_crop(golden.pixels, golden.quad, RES))
    found = shift_between(golden.published, crop, golden.unpadded())
    assert np.abs(found).max() < 0.6
    tolerance = TOLERANCE_PX if golden.case["plan"]["shrink"] < 2 else 2 * TOLERANCE_PX  # that one is stretched
    if golden.case["idx"] == ILL_CONDITIONED:
        found, origin = found[:1], origin[:1]
        stretch, corner, middle = stretch[:1], corner[:1], middle[:1]
    assert found == pytest.approx(-(origin + stretch * (middle - corner)), abs=tolerance)


def test_restored_pictures_register(golden: Golden) -> None:
    """The published stand-in for super-resolution (Lanczos), done outside: the road that restorers take."""
    shrink, magnify = published_factors(quad_side(golden.quad))
    if shrink > 1 or magnify == 1:
        pytest.skip("this case is not magnified")
    box = needed_box(golden.quad, golden.shape)
    part = Image.fromarray(golden.pixels).crop(box)
    large = part.resize((part.width * magnify, part.height * magnify), Image.Resampling.LANCZOS)
    quad = scale_quad(published_quad(golden.quad, golden.shape) - np.array(box[:2]), magnify)
    crop = gray(extract_crop(np.asarray(large), quad, RES))
    where = golden.unpadded()
    assert np.abs(shift_between(golden.published, crop, where)).max() < TOLERANCE_PX
