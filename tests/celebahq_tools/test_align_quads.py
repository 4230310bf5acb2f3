"""The crop square against the formulas of Karras et al. 2018, appendix C, and against the golden plans."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebahq_tools.align import ffhq_quad, needed_box, paper_quad, published_quad, quad_side, scale_quad
from celebahq_tools.align.quads import published_factors
from celebahq_tools.errors import PictureError

FACE = np.array([[40, 50], [60, 50], [50, 62], [42, 75], [58, 75]], float)

coordinates = st.floats(-1000, 1000, allow_nan=False)


@st.composite
def faces(draw: st.DrawFn) -> np.ndarray:
    """Five landmarks of a plausible face: a template, jittered, then any similarity."""
    jitter = draw(st.lists(st.floats(-4, 4), min_size=10, max_size=10))
    angle = draw(st.floats(0, 2 * np.pi))
    scale = draw(st.floats(0.5, 50))
    shift = complex(draw(coordinates), draw(coordinates))
    points = FACE + np.reshape(jitter, (5, 2))
    return moved(points, scale * np.exp(1j * angle), shift)


def moved(points: np.ndarray, factor: complex, shift: complex) -> np.ndarray:
    z = (points[:, 0] + 1j * points[:, 1]) * factor + shift
    return np.stack([z.real, z.imag], axis=1)


def appendix_c(landmarks: np.ndarray) -> tuple[complex, float, complex]:
    """Centre, side and x axis exactly as the paper writes them, in complex numbers (rot90 is times i)."""
    e0, e1, _, m0, m1 = (complex(*p) for p in landmarks)
    x1 = e1 - e0
    y1 = (e0 + e1) / 2 - (m0 + m1) / 2
    c = (e0 + e1) / 2 - 0.1 * y1
    s = max(4.0 * abs(x1), 3.6 * abs(y1))
    # Counter-clockwise on the screen, where y points down, is times -i: it takes the upward y' to the left.
    x = x1 - (-1j) * y1
    return c, s, x / abs(x)


@given(faces())
def test_square_is_the_papers(landmarks: np.ndarray) -> None:
    quad = paper_quad(landmarks)
    centre, side, axis = appendix_c(landmarks)
    corners = quad[:, 0] + 1j * quad[:, 1]
    tolerance = 1e-9 * (side + abs(centre) + 1)
    assert abs(corners.mean() - centre) < tolerance
    assert quad_side(quad) == pytest.approx(side, rel=1e-9)
    assert abs((corners[3] - corners[0]) / side - axis) < 1e-9
    assert abs((corners[1] - corners[0]) / side - 1j * axis) < 1e-9  # a square, and not mirrored
    assert abs(corners[2] - corners[1] - corners[3] + corners[0]) < tolerance


@given(faces(), st.floats(0, 2 * np.pi), st.floats(0.5, 3), coordinates, coordinates)
def test_square_moves_with_the_face(face: np.ndarray, angle: float, scale: float, dx: float, dy: float) -> None:
    factor, shift = scale * np.exp(1j * angle), complex(dx, dy)
    expected = moved(paper_quad(face), factor, shift)
    assert paper_quad(moved(face, factor, shift)) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_upright_face_by_hand() -> None:
    # Eyes 20 apart; mouth 25 below: 3.6 * 25 = 90 > 80. Centre 2.5 below the eyes.
    quad = paper_quad(FACE)
    assert quad == pytest.approx(np.array([[5, 7.5], [5, 97.5], [95, 97.5], [95, 7.5]]))


def test_wide_face_is_measured_by_its_eyes() -> None:
    face = FACE.copy()
    face[:2, 0] = [30, 70]  # 4 * 40 = 160 > 90
    assert quad_side(paper_quad(face)) == pytest.approx(160)


def test_nose_does_not_matter() -> None:
    face = FACE.copy()
    face[2] += 30
    assert np.array_equal(paper_quad(face), paper_quad(FACE))


def test_ffhq_square_uses_eye_means_and_lip_corners() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (68, 2))
    points[36:42] = rng.uniform(-3, 3, (6, 2)) + np.array([40, 50])
    points[42:48] = rng.uniform(-3, 3, (6, 2)) + np.array([60, 50])
    points[48], points[54] = [42, 75], [58, 75]
    five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    assert ffhq_quad(points) == pytest.approx(paper_quad(five))


BAD = {
    "eyes coincide": np.array([[40, 50], [40, 50], [50, 62], [42, 75], [58, 75]], float),
    "mouth on eyes": np.array([[40, 50], [60, 50], [50, 62], [45, 50], [55, 50]], float),
    "all the same": np.full((5, 2), 30.0),
    "on one line": np.array([[0, 0], [20, 20], [30, 30], [40, 40], [50, 50]], float),
    "eyes exchanged": np.array([[62.5, 50], [37.5, 50], [50, 62], [42, 75], [58, 75]], float),
    "below a pixel": FACE * 0.02,
    "not a number": np.where(np.arange(10).reshape(5, 2) == 3, np.nan, FACE),
    "infinite": np.where(np.arange(10).reshape(5, 2) == 3, np.inf, FACE),
    "overflowing": FACE * 1e300,
    "four points": FACE[:4],
    "three dimensions": np.ones((5, 3)),
}


@pytest.mark.parametrize("landmarks", BAD.values(), ids=BAD.keys())
def test_degenerate_landmarks_are_refused(landmarks: np.ndarray) -> None:
    with pytest.raises(PictureError, match="landmark") as caught:
        paper_quad(landmarks)
    assert caught.value.reason == "bad-landmarks"
    assert "\n" not in str(caught.value)


def test_profiles_are_no_degenerate_faces() -> None:
    profile = np.array([[50, 50], [51, 53], [60, 60], [45, 80], [46, 81]], float)
    assert quad_side(paper_quad(profile)) > 90
    with pytest.raises(PictureError, match="68 landmarks"):
        ffhq_quad(profile)


def test_scaled_quad_keeps_pixel_centres() -> None:
    quad = np.array([[0, 0], [0, 10], [10, 10], [10, 0]], float)
    # The centre of pixel 0 is the middle of four fine pixels 0..3, that is 1.5; its outline starts at -0.5.
    assert scale_quad(quad, 4)[0] == pytest.approx([1.5, 1.5])
    assert scale_quad(quad - 0.5, 4)[0] == pytest.approx([-0.5, -0.5])
    assert scale_quad(scale_quad(quad, 4), 0.25) == pytest.approx(quad)


def test_needed_box_is_clipped_to_the_picture() -> None:
    quad = paper_quad(FACE)  # 5..95 x 7.5..97.5, a tenth of 90 around it
    assert needed_box(quad, (400, 300)) == (0, 0, 105, 107)
    assert needed_box(quad + 100, (400, 300)) == (96, 99, 205, 207)
    assert needed_box(quad + 100, (400, 300), margin=0) == (105, 108, 196, 198)
    assert needed_box(quad, (60, 60)) == (0, 0, 60, 60)


def test_a_square_around_nothing_is_refused() -> None:
    with pytest.raises(PictureError, match="outside the 30x20 picture"):
        needed_box(paper_quad(FACE), (20, 30))


@pytest.mark.shared
def test_golden_plans(shared: Path) -> None:
    """Our square, taken through the published steps, lands on the published corners bit for bit but rounding."""
    manifest = json.loads((shared / "golden/celebahq/manifest.json").read_text())
    for case in manifest["cases"]:
        plan, stages = case["plan"], case["stages"]
        quad = paper_quad(np.array(case["landmarks"], float)) + 0.5  # counted from the corner
        shrink, magnify = published_factors(quad_side(quad))
        assert (max(plan["shrink"], 1), max(plan["superres"], 1)) == (shrink, magnify), case["idx"]
        box = stages.get("cropped", {}).get("box", [0, 0])
        pad = plan["pad"] or [0, 0]
        ours = (quad / shrink - box[:2]) * magnify + pad[:2]
        golden = np.frombuffer(bytes.fromhex(plan["quad_float32_hex"]), ">f4").reshape(4, 2)
        assert ours == pytest.approx(golden.astype(float), abs=2e-3), case["idx"]
        height, width = stages["decoded"]["shape"][:2]
        mapped = published_quad(quad - 0.5, (height, width)) + 0.5
        samples = quad_side(quad) / 4096
        assert np.abs(mapped - quad).max() < 0.75 * max(shrink / magnify, samples) + 1e-3 * max(width, height)
