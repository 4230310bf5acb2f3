"""The loops in C: what they refuse, that they are there, and products, which nothing else shows alone."""

import shutil
import sys
import sysconfig
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metrics.sliced
from metrics.sliced import acceleration
from metrics.sliced.acceleration import have_native

needs_native = pytest.mark.skipif(not have_native(), reason="the loops in C were not built")

if have_native():
    from metrics.sliced import _native


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_they_are_built_where_there_is_a_compiler() -> None:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler) or not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("no C compiler, or no headers of Python")
    assert have_native(), "install the package again"


@pytest.fixture
def forgotten() -> None:
    have_native.cache_clear()
    yield
    have_native.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_without_them_numpy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metrics.sliced._native", None)
    monkeypatch.delattr(metrics.sliced, "_native", raising=False)
    assert not have_native()


@pytest.mark.usefixtures("forgotten")
def test_those_of_other_sources_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.SimpleNamespace(VERSION=acceleration.VERSION - 1)
    monkeypatch.setitem(sys.modules, "metrics.sliced._native", old)
    monkeypatch.setattr(metrics.sliced, "_native", old, raising=False)
    with pytest.warns(UserWarning, match=f"version {old.VERSION}, expected {acceleration.VERSION}.*install"):
        assert not have_native()


@needs_native
@given(st.integers(1, 40), st.integers(1, 150), st.integers(1, 70), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_projections_are_products(directions: int, values: int, patches: int, images: int) -> None:
    rng = np.random.default_rng(directions)
    left = rng.standard_normal((directions, values), np.float32)
    right = rng.standard_normal((images, values, patches), np.float32)
    # Room on all sides must stay as it is.
    room = np.full((directions + 1, images + 1, patches + 3), np.nan, np.float32)
    _native.project(left, right, room[:directions, :images, :patches])
    expected = left.astype(np.float64) @ right.astype(np.float64)
    np.testing.assert_allclose(room[:directions, :images, :patches].swapaxes(0, 1), expected, atol=1e-4)
    assert np.isnan(room[directions]).all()
    assert np.isnan(room[:, images]).all()
    assert np.isnan(room[..., patches:]).all()


@needs_native
def test_a_projection_does_not_depend_on_others() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((50, 147), np.float32), rng.standard_normal((5, 147, 40), np.float32)
    whole = floats(50, 5, 40)
    _native.project(left, right, whole)
    for one, image in ((0, 0), (7, 3), (49, 4)):
        alone = floats(1, 1, 40)
        _native.project(left[one : one + 1], right[image : image + 1], alone)
        np.testing.assert_array_equal(alone[0, 0], whole[one, image])


@needs_native
@given(st.integers(1, 3), st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_sums_of_channels(images: int, patches: int) -> None:
    values = np.random.default_rng(patches).uniform(-255, 255, (images, 147, patches)).astype(np.float32)
    sums = np.full((images + 1, 3, 2), np.nan)
    _native.sum_channels(values, sums[:images])
    exact = values.reshape(images, 3, -1).astype(np.float64)
    np.testing.assert_allclose(sums[:images, :, 0], exact.sum(axis=2), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(sums[:images, :, 1], np.square(exact).sum(axis=2), rtol=1e-14)
    assert np.isnan(sums[images]).all()


@needs_native
@pytest.mark.parametrize("shift", [0.0, 3.25])
def test_values_that_are_no_numbers_fall_into_the_outer_bins(shift: float) -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 1e38, -1e38, 40.0, 40.5, 41.0, 3.0]], np.float32)
    counts, signs = np.empty((2, 64), np.int32), np.empty(4, np.int32)
    turns, rest = np.empty((65, 2), np.int32), floats(2, 40)
    given_values = values, values, values.size, shift, shift
    _, count, found = _native.count(*given_values, counts, signs, turns)
    assert counts[0].sum() == values.size
    assert _native.collect(*given_values, signs, turns, found, rest) == (count, count, 0)


COUNTED = (floats(2, 8), floats(2, 8), 16, 0.0, 0.0)
COUNTS, SIGNS, TURNS = np.zeros((2, 64), np.int32), np.zeros(4, np.int32), np.zeros((65, 2), np.int32)
POSITIVE = np.full(4, 0x55555555, np.int32)
CORNERS = np.zeros((1, 4), np.int64)


def refused() -> list[tuple[str, tuple[object, ...], type[Exception], str]]:
    """(function, arguments, error, what it says)."""
    planes, patches = floats(1, 3, 32, 32), floats(1, 147, 4)
    coarse, bytes_ = floats(1, 3, 16, 16), np.zeros((1, 3, 32, 32), np.uint8)
    read_only = floats(1, 3, 16, 16)
    read_only.flags.writeable = False
    return [
        ("halve", (bytes_, floats(1, 3, 16, 15), None), ValueError, "out"),
        ("halve", (bytes_, coarse, floats(1, 2, 8, 8)), ValueError, "again"),
        ("halve", (bytes_[..., :30, :30], floats(1, 3, 15, 15), None), ValueError, "planes"),
        ("halve", (bytes_[..., ::2, ::2], floats(1, 3, 8, 8), None), ValueError, "last axis"),
        ("halve", (bytes_.astype(np.float32), coarse, None), TypeError, "planes.*'B'.*'f'"),
        ("halve", (bytes_, read_only, None), ValueError, "read-only"),
        ("halve", ("planes", coarse, None), TypeError, "bytes-like"),
        ("cut", (planes, CORNERS.astype(np.int32), None, False, patches), TypeError, "corners"),
        ("cut", (planes, CORNERS - 1, None, False, patches), IndexError, "outside"),
        ("cut", (planes, CORNERS + 26, None, False, patches), IndexError, "outside"),
        ("cut", (planes, CORNERS + 26 * 32, None, False, patches), IndexError, "outside"),
        ("cut", (planes, CORNERS, floats(1, 3, 15, 15), False, patches), ValueError, "coarse"),
        ("cut", (planes, CORNERS, coarse, False, floats(1, 146, 4)), ValueError, "out"),
        ("cut", (planes[:, :2], CORNERS, coarse, False, patches), ValueError, "planes"),
        ("sum_channels", (patches[:, :146], np.zeros((1, 3, 2))), ValueError, "patches"),
        ("sum_channels", (patches, np.zeros((1, 3, 1))), ValueError, "out"),
        ("sum_channels", (patches, floats(1, 3, 2)), TypeError, "out.*'d'"),
        ("count", (*COUNTED[:2], 17, 0.0, 0.0, COUNTS, SIGNS, TURNS), ValueError, "real"),
        ("count", (*COUNTED[:2], 0, 0.0, 0.0, COUNTS, SIGNS, TURNS), ValueError, "real"),
        ("count", (floats(2, 8), floats(1, 8), *COUNTED[2:], COUNTS, SIGNS, TURNS), ValueError, "fake"),
        ("count", (*COUNTED, COUNTS[:1], SIGNS, TURNS), ValueError, "counts"),
        ("count", (*COUNTED, COUNTS, np.zeros(2, np.int32), TURNS), ValueError, "signs"),
        ("count", (*COUNTED, COUNTS, SIGNS, TURNS[1:]), ValueError, "turns"),
        ("collect", (*COUNTED, SIGNS, TURNS, 66, floats(2, 64)), ValueError, "turns"),
        ("collect", (*COUNTED, SIGNS, TURNS, 0, floats(1, 64)), ValueError, "rest"),
        ("collect", (*COUNTED, SIGNS, TURNS, 0, floats(2, 15)), ValueError, "no room"),
        ("collect", (*COUNTED, POSITIVE, TURNS + np.int32(9), 65, floats(2, 15)), ValueError, "no room"),
        ("project", (floats(4, 147), floats(2, 146, 8), floats(4, 2, 8)), ValueError, "descriptors"),
        ("project", (floats(4, 147), floats(2, 147, 8), floats(4, 2, 7)), ValueError, "out"),
        ("project", (floats(4, 147), floats(2, 147, 16)[..., :8], floats(4, 2, 8)), ValueError, "descriptors"),
        ("project", (floats(4, 147), floats(2, 147, 8)), TypeError, "3 arguments"),
    ]


@needs_native
@pytest.mark.parametrize(("name", "arguments", "error", "says"), refused())
def test_what_does_not_fit_is_refused(
    name: str, arguments: tuple[object, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        getattr(_native, name)(*arguments)
