"""The legacy operations on synthetic pictures: compiled against NumPy, and both against what is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import correlate1d

from celebahq_tools.errors import PictureError
from celebahq_tools.legacy import blur, estimate_loops, kernels, margin, median, quad
from celebahq_tools.legacy.compiled import HAVE_NUMBA
from celebahq_tools.legacy.lanczos import lanczos_taps, reduce_numpy, resize_lanczos, resize_numpy
from celebahq_tools.legacy.padding import edge_distance, gaussian_weights, pad_numpy
from celebahq_tools.legacy.plan import Padding, plan_face

needs_numba = pytest.mark.skipif(not HAVE_NUMBA, reason="the compiled loops need numba")

FACE = np.array([[-20.0, -20], [20, -20], [0, 5], [-18, 22], [18, 22]])


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth structure with noise and clipped areas."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / rng.uniform(3, 30) + k) + np.cos(y / rng.uniform(3, 30)) for k in range(3)]
    image = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


@needs_numba
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 120), st.integers(1, 120), st.integers(0, 9))
def test_compiled_lanczos_equals_numpy(height, width, to_height, to_width, seed):
    pixels = picture(height, width, seed)
    assert np.array_equal(resize_lanczos(pixels, to_width, to_height), resize_numpy(pixels, to_width, to_height))


@pytest.mark.parametrize(("size", "target"), [((40, 30), (160, 120)), ((200, 150), (77, 61))])
def test_lanczos_is_todays_pillow_but_for_single_steps(size, target):
    pixels = picture(size[1], size[0])
    today = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.LANCZOS))
    difference = np.abs(resize_numpy(pixels, *target).astype(int) - today)
    assert difference.max() <= 1
    assert (difference != 0).mean() < 0.005


def test_lanczos_weights_sum_to_one_and_stay_within_the_source():
    for source, target in [(4096, 1024), (10, 80), (7, 3), (2200, 1099), (5, 5)]:
        taps = lanczos_taps(source, target)
        assert np.abs(taps.weight.sum(axis=1) - 1).max() < 1e-5
        assert taps.start.min() >= 0
        assert (taps.start + taps.weight.shape[1]).max() <= source


@needs_numba
def test_compiled_quad_and_reduction_equal_numpy_on_the_first_rows():
    pixels = picture(700, 900)
    corners = np.array([[210.3, 60.9], [150.2, 610.1], [700.4, 670.3], [760.6, 121.2]], dtype=np.float32)
    rows = 40
    coefficients = quad.quad_coefficients(corners)
    packed = np.empty((702, 902), dtype=np.uint32)
    kernels.pack_pixels(pixels, packed)
    taps = lanczos_taps(4096, 1024)
    narrow = np.empty((3, rows, 1024), dtype=np.uint8)
    kernels.crop_rows(
        packed.reshape(-1), 902, coefficients, taps.start, taps.weight, quad._inner_outputs(), rows, narrow
    )
    band = quad.quad_rows_numpy(pixels, coefficients, 0, rows, 4096)
    expected = reduce_numpy(band.transpose(1, 0, 2), taps, 0, 1024).transpose(2, 1, 0)
    assert np.array_equal(narrow, expected)

    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    again = np.empty_like(packed)
    kernels.pack_planes(planes, again)
    assert np.array_equal(again, packed)


def test_quad_is_todays_pillow_half_an_output_pixel_on():
    pixels = picture(80, 100)
    corners = np.array([[20.2, 9.5], [14.7, 60.1], [68.3, 66.2], [74.8, 12.4]], dtype=np.float32)
    res = 128
    ours = quad.quad_rows_numpy(pixels, quad.quad_coefficients(corners, res), 0, res, res)
    # Pillow takes the mapping at (x + 0.5, y + 0.5) and its corners as they are.
    step = 0.5 / res
    nw, sw, se, ne = corners.astype(np.float64) + 0.5
    moved = [p - step * (ne - nw) - step * (sw - nw) for p in (nw, sw, se, ne)]
    today = np.asarray(
        Image.fromarray(pixels).transform(
            (res, res), Image.Transform.QUAD, [float(v) for p in moved for v in p], Image.Resampling.BILINEAR
        )
    )
    assert np.abs(ours.astype(int) - today).max() <= 2


def test_quad_is_black_outside_of_the_picture():
    pixels = np.full((10, 12, 3), 200, dtype=np.uint8)
    corners = np.array([[-6, 2], [-6, 8], [6, 8], [6, 2]], dtype=np.float32)
    out = quad.quad_rows_numpy(pixels, quad.quad_coefficients(corners, 24), 0, 24, 24)
    assert not out[:, :11].any()
    assert (out[:, 12:] == 200).all()


@needs_numba
@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 60),
    st.integers(2, 60),
    st.tuples(*[st.integers(1, 70)] * 4),
    st.floats(0.3, 9),
    st.integers(0, 2**32 - 1),
)
def test_compiled_gaussian_equals_scipy_where_it_is_wanted(height, width, pad, sigma, seed):
    left, top, right, bottom = pad
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 256, (height, width), dtype=np.uint8)
    weight = blur.filled_weights(gaussian_weights(sigma))
    radius = len(weight) - 1
    rows = blur.extended_lines(height, top, bottom, radius)
    columns = blur.extended_lines(width, left, right, radius)
    wanted = rng.random((height + top + bottom, width + left + right)) < rng.choice([0.01, 0.3, 1.0])
    out = np.full(wanted.shape, -1, dtype=np.float32)
    buffers = blur.vertical_buffers(plane, len(wanted))
    for part in (wanted & (rng.random(wanted.shape) < 0.5), wanted):
        blur.blur_where(plane, rows, columns, weight, part, *buffers, out)

    padded = np.pad(plane.astype(np.float32), ((top, bottom), (left, right)), "reflect")
    full = np.concatenate([weight[:0:-1], weight])
    expected = correlate1d(correlate1d(padded, full, axis=0, mode="reflect"), full, axis=1, mode="reflect")
    assert np.array_equal(out[wanted], expected[wanted])
    assert (out[~wanted] == -1).all()

    same_row, same_column = blur.same_lines(rows, radius), blur.same_lines(columns, radius)
    assert np.array_equal(expected[same_row][:, same_column], expected)


@needs_numba
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_the_blur_estimate_stays_within_its_bound(step):
    sigma, pad = 6.0 * step, 40
    plane = np.where(np.random.default_rng(step).random((90, 70)) < 0.5, 0, 255).astype(np.uint8)
    weight = blur.filled_weights(gaussian_weights(sigma))
    radius = len(weight) - 1
    rows = blur.extended_lines(90, pad, pad, radius)
    columns = blur.extended_lines(70, pad, pad, radius)
    estimate = median.estimate_blur(plane, rows, columns, weight, step)
    exact = np.empty((90 + 2 * pad, 70 + 2 * pad), dtype=np.float32)
    everywhere = np.ones(exact.shape, dtype=bool)
    blur.blur_where(plane, rows, columns, weight, everywhere, *blur.vertical_buffers(plane, len(exact)), exact)
    for y in range(exact.shape[0]):
        mixed = estimate.mix[y % step] @ estimate.grid[y // step : y // step + median.POINTS]
        assert np.abs(mixed - exact[y]).max() <= estimate.bound
    assert estimate.bound < 1


def pad_cases() -> list[tuple[str, np.ndarray, Padding]]:
    white = np.full((50, 60, 3), 255, dtype=np.uint8)
    half = picture(61, 50, 3)
    half[:, :30] = 0
    return [
        ("noisy", picture(64, 80), Padding(pad=(30, 25, 40, 33), sigma=3.0)),
        ("odd count", picture(61, 71, 1), Padding(pad=(20, 21, 22, 23), sigma=7.3)),
        ("wider than the picture", picture(20, 24, 2), Padding(pad=(50, 60, 70, 55), sigma=4.4)),
        ("white", white, Padding(pad=(30, 30, 30, 30), sigma=5.0)),
        ("half black", half, Padding(pad=(30, 30, 31, 30), sigma=6.1)),
        ("single pixel margins", picture(30, 30, 4), Padding(pad=(1, 1, 1, 1), sigma=0.4)),
    ]


@needs_numba
@pytest.mark.parametrize(("pixels", "padding"), [c[1:] for c in pad_cases()], ids=[c[0] for c in pad_cases()])
def test_compiled_margin_equals_numpy(pixels, padding):
    expected = pad_numpy(pixels, padding).transpose(2, 0, 1)
    assert np.array_equal(margin.pad_compiled(pixels, padding), expected)

    corners = np.array([[20, 10], [12, 50], [45, 60], [55, 18]], dtype=np.float32)
    spans = margin.quad_spans(corners, *expected.shape[1:])
    out = margin.pad_compiled(pixels, padding, spans)
    for y, (first, last) in enumerate(spans):
        assert np.array_equal(out[:, y, first:last], expected[:, y, first:last])


@needs_numba
@settings(max_examples=15, deadline=None)
@given(st.integers(20, 70), st.integers(20, 70), st.integers(0, 99), st.sampled_from([0, 1, 16, 200]))
def test_the_median_is_numpys(height, width, seed, contrast):
    rng = np.random.default_rng(seed)
    plane = (20 + rng.integers(0, contrast + 1, (height, width))).astype(np.uint8)
    pixels = np.stack([plane, plane // 2, 255 - plane], axis=-1)
    padding = Padding(pad=(12, 9, 15, 11), sigma=2.5)
    assert np.array_equal(margin.pad_compiled(pixels, padding), pad_numpy(pixels, padding).transpose(2, 0, 1))


def test_spans_hold_every_pixel_that_the_transform_reads():
    corners = np.array([[20.4, 8.2], [9.9, 41.7], [45.1, 50.3], [53.6, 17.2]], dtype=np.float32)
    spans = margin.quad_spans(corners, 64, 70)
    a = quad.quad_coefficients(corners, 256)
    y, x = np.mgrid[:256, :256].astype(float)
    x_in = np.floor(a[0] + a[1] * x + a[2] * y + a[3] * x * y - 0.5).astype(int)
    y_in = np.floor(a[4] + a[5] * x + a[6] * y + a[7] * x * y - 0.5).astype(int)
    for dy in (0, 1):
        assert (spans[y_in + dy, 0] <= x_in).all()
        assert (spans[y_in + dy, 1] > x_in + 1).all()
    assert (spans[:, 1] - spans[:, 0]).clip(0).sum() < 64 * 70


def test_edge_distance_is_that_of_the_nearer_end():
    assert edge_distance(7, 2, 3).tolist() == [0, 0.5, 1, 1, np.float32(2) / np.float32(3), np.float32(1) / 3, 0]


ESTIMATES = {"add_pairs_two_rows", "add_pairs_f32", "mix_row", "spread_columns"}
"""Loops whose results are checked against a bound and computed again where it does not decide."""


@needs_numba
def test_only_estimates_may_fuse_multiply_and_add():
    fused, exact = set(), set()
    for module in (kernels, blur, estimate_loops, margin):
        for name, function in vars(module).items():
            if hasattr(function, "targetoptions"):
                (fused if function.targetoptions["fastmath"] else exact).add(name)
    assert fused == ESTIMATES
    assert {"add_four", "mix_corners", "add_pairs", "blur_pixels", "vertical_pixel", "fade_exactly"} <= exact


@pytest.mark.parametrize(
    "landmarks",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        np.zeros((4, 2)),
        FACE * 1e6,
        FACE * 1e-3 + 50,
        FACE + 5000,
    ],
)
def test_landmarks_that_span_no_usable_square_are_refused(landmarks):
    with pytest.raises(PictureError) as error:
        plan_face(landmarks, (200, 150))
    assert error.value.reason == "landmarks"


def test_a_plan_leaves_a_small_face_inside_and_pads_one_at_the_edge():
    inside = plan_face(FACE * 0.5 + 500, (1000, 1000))
    assert inside.padding is None
    assert inside.box is not None
    assert inside.enlarge == 16
    edge = plan_face(FACE * 0.5 + (500, 12), (1000, 1000))
    assert edge.padding is not None
    assert edge.padding.pad[1] >= edge.padding.pad[3]
