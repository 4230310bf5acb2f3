"""Crops of synthetic pictures: where known points land, what borders and filters do."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from celebahq_tools.align import extract_crop, needed_box, paper_quad, quad_side, scale_quad
from celebahq_tools.align.resample import lanczos, magnify, with_fourth
from celebahq_tools.errors import PictureError

BACKGROUND = 60.0
TEMPLATE = np.array([[-0.5, 0], [0.5, 0], [0.03, 0.48], [-0.52, 1.15], [0.54, 1.15]])
"""Eyes one unit apart."""


def face(eyes_px: float, angle_deg: float, centre: tuple[float, float]) -> np.ndarray:
    turn = np.deg2rad(angle_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return TEMPLATE * eyes_px @ rotation.T + centre


def dots(shape: tuple[int, int], points: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W, 3) uint8: bright Gaussian dots, centred on `points` to a fraction of a pixel."""
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    total = np.full(shape, BACKGROUND)
    for x, y in points:
        total += 180 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(np.minimum(total, 255)).astype(np.uint8)[..., None], 3, axis=2)


def expected_positions(landmarks: np.ndarray, res: int) -> np.ndarray:
    """Pixel positions of the landmarks in the crop, from the paper's formulas written in complex numbers."""
    z = landmarks[:, 0] + 1j * landmarks[:, 1]
    eyes, mouth = (z[0] + z[1]) / 2, (z[3] + z[4]) / 2
    axis = (z[1] - z[0]) - 1j * (mouth - eyes)
    side = max(4 * abs(z[1] - z[0]), 3.6 * abs(mouth - eyes))
    centre = eyes + 0.1 * (mouth - eyes)
    u = (z - centre) / (axis / abs(axis)) / side * res + (0.5 + 0.5j) * res - (0.5 + 0.5j)
    return np.stack([u.real, u.imag], axis=1)


def centroid(plane: np.ndarray, near: np.ndarray, radius: float) -> np.ndarray:
    x0, y0 = np.rint(near - radius).astype(int)
    size = int(2 * radius) + 1
    window = plane[y0 : y0 + size, x0 : x0 + size].astype(float) - BACKGROUND
    ys, xs = np.mgrid[y0 : y0 + size, x0 : x0 + size]
    return np.array([(window * xs).sum(), (window * ys).sum()]) / window.sum()


def assert_dots_land(pixels: np.ndarray, landmarks: np.ndarray, sigma: float, res: int) -> None:
    quad = paper_quad(landmarks)
    crop = extract_crop(pixels, quad, res)
    assert crop.shape == (3, res, res)
    assert crop.dtype == np.uint8
    radius = max(4 * sigma * res / quad_side(quad), 4)
    for point in expected_positions(landmarks, res):
        assert centroid(crop[1], point, radius) == pytest.approx(point, abs=0.1)


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_landmarks_land_where_the_formulas_say_at_every_angle(angle: int) -> None:
    landmarks = face(61.7, angle + 3.3, (250.3, 247.9))
    assert_dots_land(dots((500, 500), landmarks, 2.5), landmarks, 2.5, 512)


@pytest.mark.parametrize(
    ("eyes_px", "res", "size"),
    [
        (33.0, 1024, 200),
        (205.0, 1024, 1150),  # about one to one
        (700.0, 256, 3400),  # 11 source pixels per output pixel: averaged down three times
    ],
)
def test_small_and_huge_faces(eyes_px: float, res: int, size: int) -> None:
    landmarks = face(eyes_px, 11.0, (size / 2 + 0.37, size / 2 - eyes_px / 10))
    sigma = eyes_px / 24
    assert_dots_land(dots((size, size), landmarks, sigma), landmarks, sigma, res)


def test_nine_pixels_between_the_eyes() -> None:
    """Magnified 28 times, one dot at a time; eight bits hold a dot's place to about 0.005 px, so measure that."""
    res, landmarks, sigma = 1024, face(9.0, 11.0, (30.37, 28.4)), 0.9
    quad = paper_quad(landmarks)
    per_pixel = res / quad_side(quad)
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]]) / quad_side(quad)
    for landmark, expected in zip(landmarks, expected_positions(landmarks, res), strict=True):
        pixels = dots((60, 60), landmark[None], sigma)
        error = centroid(pixels[..., 1], landmark, 8 * sigma) - landmark
        assert np.abs(error).max() < 0.02
        found = centroid(extract_crop(pixels, quad, res)[1], expected, 8 * sigma * per_pixel)
        assert found == pytest.approx(expected + axes @ error * per_pixel, abs=0.1)


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("angle", [0, 180, -25])
def test_faces_at_the_border(corner: tuple[int, int], angle: int) -> None:
    size, eyes_px = 330, 50.0
    margin = 82.0  # the square reaches about 100 px from the face's centre
    turned = face(eyes_px, angle, (0, 0))
    centre = np.where(corner, size - margin, margin) - turned.mean(axis=0)
    landmarks = turned + centre
    quad = paper_quad(landmarks)
    assert quad.min() < -5 or quad.max() > size + 5, "the case must leave the picture"
    assert_dots_land(dots((size, size), landmarks, 2.0), landmarks, 2.0, 512)


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def upright(x0: float, y0: float, side: float) -> np.ndarray:
    """The square whose outline is [x0 - 0.5, x0 - 0.5 + side]: pixel x0 is its first when side is whole."""
    x0, y0 = x0 - 0.5, y0 - 0.5
    return np.array([[x0, y0], [x0, y0 + side], [x0 + side, y0 + side], [x0 + side, y0]], float)


def test_four_source_pixels_per_output_pixel_give_their_means_rounded_half_to_even() -> None:
    pixels = noise((400, 420))
    crop = extract_crop(pixels, upright(40, 60, 256), 64)
    blocks = pixels[60:316, 40:296].reshape(64, 4, 64, 4, 3)
    assert np.array_equal(crop, np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8).transpose(2, 0, 1))


def test_one_source_pixel_per_output_pixel_is_the_box_of_bilinear_samples() -> None:
    """Samples at -3/8, -1/8, 1/8, 3/8 around a pixel: 3/4 of it and 1/8 of each neighbour, per axis."""
    pixels = noise((100, 100))
    crop = extract_crop(pixels, upright(20, 30, 64), 64)
    kernel = np.array([0.125, 0.75, 0.125])
    expected = ndimage.convolve1d(ndimage.convolve1d(pixels.astype(float), kernel, axis=0), kernel, axis=1)
    assert np.abs(crop - expected[30:94, 20:84].transpose(2, 0, 1)).max() < 0.9  # 16 rounded samples
    assert abs((crop - expected[30:94, 20:84].transpose(2, 0, 1)).mean()) < 0.05


def test_shrinking_takes_whole_means() -> None:
    pixels = np.repeat(np.repeat(noise((80, 80)), 8, axis=0), 8, axis=1)  # flat 8x8 blocks
    crop = extract_crop(pixels, upright(40, 48, 512), 64)  # 8 source pixels per output pixel: halved first
    assert np.array_equal(crop, pixels[48:560:8, 40:552:8].transpose(2, 0, 1))


@pytest.mark.parametrize("side", [90.0, 64.0, 250.0])
def test_samples_are_bilinear(side: float) -> None:
    """Against samples in float64, for a square in general position that needs no magnification."""
    res, pixels = 64, noise((420, 420))
    turn = side * np.exp(0.4j)
    corners = 200 + 200j + turn * np.array([-0.5 - 0.5j, -0.5 + 0.5j, 0.5 + 0.5j, 0.5 - 0.5j])
    quad = np.stack([corners.real, corners.imag], axis=1)
    steps = (np.arange(4 * res) + 0.5) / (4 * res)
    grid = corners[0] + turn * (steps[None, :] + 1j * steps[:, None])
    for channel in range(3):
        samples = ndimage.map_coordinates(pixels[..., channel].astype(float), [grid.imag, grid.real], order=1)
        means = samples.reshape(res, 4, res, 4).mean(axis=(1, 3))
        # 16 rounded samples and a rounded mean; positions to 1/64 px in old OpenCV versions.
        assert np.abs(extract_crop(pixels, quad, res)[channel] - means).max() < 1.5


def test_constant_stays_constant_everywhere() -> None:
    pixels = np.full((90, 70, 3), (10, 200, 77), np.uint8)
    for eyes_px, angle in ((30, 20), (9, 100), (18, 0)):
        crop = extract_crop(pixels, paper_quad(face(eyes_px, angle, (30, 40))), 128)
        assert np.array_equal(np.unique(crop.reshape(3, -1), axis=1), [[10], [200], [77]])


@settings(max_examples=25, deadline=None)
@given(st.floats(6, 60), st.floats(0, 360), st.floats(20, 180), st.floats(20, 130), st.integers(0, 3))
def test_only_the_needed_box_is_read(eyes_px: float, angle: float, x: float, y: float, seed: int) -> None:
    pixels = noise((150, 200), seed)
    quad = paper_quad(face(eyes_px, angle, (x, y)))
    centre = quad.mean(axis=0)
    if not (0 <= centre[0] < 200 and 0 <= centre[1] < 150):
        return
    x0, y0, x1, y1 = needed_box(quad, (150, 200))
    whole = extract_crop(pixels, quad, 32)
    assert np.array_equal(whole, extract_crop(pixels[y0:y1, x0:x1], quad - (x0, y0), 32))


def test_padding_leaves_the_interior_alone() -> None:
    wide = ndimage.gaussian_filter(noise((500, 500)).astype(float), (2, 2, 0))
    wide = np.clip((wide - 127) * 6 + 127, 0, 255).astype(np.uint8)
    quad = upright(120, 150, 200)
    full = extract_crop(wide, quad, 400)
    cut = extract_crop(wide[:, 160:], quad - (160, 0), 400)  # the left 40 of 200 px are missing
    # A third of the padding's width inside the edge is blurred: 0.3 * 200 / 3 = 20 px.
    inside = (40 + 20 + 4) * 2
    assert np.array_equal(full[:, 8:-8, inside:-8], cut[:, 8:-8, inside:-8])
    assert not np.array_equal(full[:, :, :80], cut[:, :, :80])


def test_border_shows_no_edge() -> None:
    """A picture with a steep slope towards its edges: no step across them, and calmer outside than inside."""
    ys, xs = np.mgrid[:300, :300]
    plane = 127 + 100 * np.sin(xs / 2.5) * np.cos(ys / 3.0)
    pixels = np.repeat(np.rint(plane).astype(np.uint8)[..., None], 3, axis=2)
    quad = upright(-60, -80, 240)
    crop = extract_crop(pixels, quad, 240).astype(int)
    inside = np.abs(np.diff(extract_crop(pixels, upright(30, 30, 240), 240).astype(int), axis=2)).max()
    assert np.abs(np.diff(crop, axis=2)).max() <= inside + 1
    assert np.abs(np.diff(crop, axis=1)).max() <= inside + 1
    left = np.abs(np.diff(crop[0, 150:, :60], axis=1)).max()
    assert left < inside / 3
    # Towards the corner everything fades to the median colour.
    median = np.median(pixels)
    assert abs(crop[:, :4, :4].mean() - median) < 5
    assert crop[:, :6, :6].std() < 3


def test_far_padding_is_the_median_colour() -> None:
    pixels = noise((40, 200))
    pixels[..., 0] = 30
    crop = extract_crop(pixels, upright(50, -60, 160), 160)
    assert np.array_equal(np.unique(crop[0]), [30])
    # d = 1 at 60 px above: the whole first row is the median, up to the noise of a small sample.
    assert np.ptp(crop[1, 0]) <= 6


@pytest.mark.parametrize("res", [4, 33, 100, 1024])
def test_every_resolution_shows_the_same_square(res: int) -> None:
    ys, xs = np.mgrid[:200, :200]
    pixels = np.stack([xs, ys, xs], axis=-1).astype(np.uint8)
    crop = extract_crop(pixels, upright(40, 60, 100), res)
    expected = 39.5 + 100 * (np.arange(res) + 0.5) / res
    assert np.abs(crop[0, res // 2] - expected).max() < 1
    assert np.abs(crop[1, :, res // 2] - (expected + 20)).max() < 1


def test_threads_of_opencv_change_nothing() -> None:
    pixels, quad = noise((300, 300)), paper_quad(face(60, 30, (80, 120)))
    before = cv2.getNumThreads()
    try:
        crops = []
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            crops.append(extract_crop(pixels, quad, 256))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(crops[0], crops[1])
    assert np.array_equal(crops[0], crops[2])


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_magnification_interpolates(factor: int) -> None:
    pixels = noise((20, 24))
    large = magnify(with_fourth(pixels), factor)[..., :3]
    assert large.shape == (20 * factor, 24 * factor, 3)
    y, x = 10 * factor + 1, 12 * factor  # phase 1 of row 10 and phase 0 of column 12
    rows, cols = (1.5 / factor - 0.5) % 1, (0.5 / factor - 0.5) % 1
    first_y = 10 + int(np.floor(1.5 / factor - 0.5)) - 2
    block = pixels[first_y : first_y + 6, 9:15].astype(float)
    expected = np.einsum("i,ijc,j->c", lanczos(rows), block, lanczos(cols))
    assert np.abs(large[y, x] - np.clip(expected, 0, 255)).max() <= 0.51


def test_restored_pictures_are_cropped_at_the_same_place() -> None:
    """The road of the restorers: the needed box, magnified four times, and the quad taken along."""
    landmarks = face(40, 17, (110.2, 95.6))
    pixels = dots((200, 220), landmarks, 2.5)
    quad = paper_quad(landmarks)
    x0, y0, x1, y1 = needed_box(quad, pixels.shape[:2])
    restored = magnify(with_fourth(pixels[y0:y1, x0:x1]), 4)[..., :3]
    crop = extract_crop(restored, scale_quad(quad - (x0, y0), 4), 512)
    for point in expected_positions(landmarks, 512):
        assert centroid(crop[0], point, 40) == pytest.approx(point, abs=0.1)


def test_bad_pictures_and_squares_are_named() -> None:
    quad = upright(10, 10, 50)
    for wrong in (np.zeros((60, 60), np.uint8), np.zeros((60, 60, 3)), np.zeros((0, 60, 3), np.uint8)):
        with pytest.raises(PictureError, match=r"\(H, W, 3\) uint8") as caught:
            extract_crop(wrong, quad)
        assert caught.value.reason == "bad-pixels"
    with pytest.raises(PictureError, match="parallelogram"):
        extract_crop(noise((99, 99)), quad * [[1, 1], [1, 1], [2, 1], [1, 1]])
    with pytest.raises(PictureError, match="dwarfs"):
        extract_crop(noise((99, 99)), upright(-200_000, -200_000, 400_000))
