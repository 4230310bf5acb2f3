"""The level rule, against the formula of the authors' data sets written out plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from celebahq_tools.pyramid import (
    EXACT_HALVINGS,
    build_levels,
    check_levels,
    level_resolutions,
    mean_2x2,
    round_to_uint8,
)


def plain_levels(image: np.ndarray, min_res: int) -> dict[int, np.ndarray]:
    """((a00 + a01) + a10) + a11, times 0.25, chained on unrounded float32 values."""
    levels = {image.shape[-1]: image}
    values = image.astype(np.float32)
    while values.shape[-1] > min_res:
        a00, a01 = values[..., 0::2, 0::2], values[..., 0::2, 1::2]
        a10, a11 = values[..., 1::2, 0::2], values[..., 1::2, 1::2]
        values = (((a00 + a01) + a10) + a11) * np.float32(0.25)
        levels[values.shape[-1]] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def assert_same(found: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for res, level in expected.items():
        assert found[res].dtype == np.uint8
        np.testing.assert_array_equal(found[res], level, err_msg=f"level {res}")


@given(
    image=st.sampled_from([1, 2, 4, 8, 16, 32]).flatmap(
        lambda res: arrays.arrays(np.uint8, (3, res, res), elements=st.integers(0, 255), fill=st.integers(0, 255))
    )
)
@settings(max_examples=60, deadline=None)
def test_levels_are_the_formula_bit_for_bit(image: np.ndarray) -> None:
    assert_same(build_levels(image, 1), plain_levels(image, 1))


@pytest.mark.parametrize("res", [64, 256, 1024])
@pytest.mark.parametrize("kind", ["noise", "bright", "white", "halves"])
def test_deep_pyramids_are_the_formula_bit_for_bit(res: int, kind: str) -> None:
    rng = np.random.default_rng(res)
    image = {
        "noise": lambda: rng.integers(0, 256, (3, res, res)),
        "bright": lambda: rng.integers(254, 256, (3, res, res)),
        "white": lambda: np.full((3, res, res), 255),
        "halves": lambda: np.tile(np.array([[0, 1], [1, 0]]), (3, res // 2, res // 2)) + 2 * (np.arange(res) // 2 % 2),
    }[kind]().astype(np.uint8)
    assert_same(build_levels(image, 1), plain_levels(image, 1))


def test_beyond_the_exact_halvings_float32_rounds_as_the_formula_does() -> None:
    # One more bit than float32 holds: at the ninth halving the order of the additions matters.
    image = np.random.default_rng(0).integers(0, 256, (1, 2048, 2048), dtype=np.uint8)
    assert level_resolutions(2048)[EXACT_HALVINGS + 1 :] == (4,)
    assert_same(build_levels(image, 1), plain_levels(image, 1))


@pytest.mark.parametrize(("total", "expected"), [(2, 0), (6, 2), (10, 2), (14, 4), (1, 0), (3, 1), (1018, 254)])
def test_halves_round_to_even(total: int, expected: int) -> None:
    parts = [total // 4 + (k < total % 4) for k in range(4)]
    image = np.array(parts, np.uint8).reshape(1, 2, 2)
    assert build_levels(image, 1)[1].item() == expected


def test_levels_chain_on_unrounded_values() -> None:
    # Every 2x2 mean is 0.5 and rounds to 0; a chain on rounded values would stay 0.5 -> 0 for other reasons,
    # so half of the blocks are 1.5 (rounds to 2): the unrounded mean is 1.0, the rounded ones' mean too, and
    # with three of 0.5 and one of 1.5 it is 0.75 -> 1 against (0 + 0 + 0 + 2) / 4 = 0.5 -> 0.
    half, three_halves = np.array([[1, 1], [0, 0]]), np.array([[2, 2], [1, 1]])
    image = np.block([[half, half], [half, three_halves]]).astype(np.uint8)[None]
    levels = build_levels(image, 1)
    assert levels[2].ravel().tolist() == [0, 0, 0, 2]
    assert levels[1].item() == 1


@given(shift=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_constant_offsets_pass_through(shift: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 250, (3, 16, 16), dtype=np.uint8)
    # An even offset does not change which way halves round.
    shifted = build_levels((image + 2 * shift).astype(np.uint8))
    for res, level in build_levels(image).items():
        np.testing.assert_array_equal(shifted[res], level + 2 * shift)


def test_views_and_batches_give_the_same_and_are_not_changed() -> None:
    batch = np.random.default_rng(1).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    picture = np.ascontiguousarray(batch[0].transpose(1, 2, 0))
    kept = batch.copy()
    from_batch = build_levels(batch)
    from_view = build_levels(picture.transpose(2, 0, 1))
    batch.setflags(write=False)
    assert_same(build_levels(batch), from_batch)
    for res, level in from_view.items():
        np.testing.assert_array_equal(level, from_batch[res][0])
    np.testing.assert_array_equal(batch, kept)


def test_resolutions() -> None:
    assert level_resolutions(1024) == (1024, 512, 256, 128, 64, 32, 16, 8, 4)
    assert level_resolutions(4, 1) == (4, 2, 1)
    assert level_resolutions(4) == (4,)
    assert list(build_levels(np.zeros((3, 2, 2), np.uint8))) == [2]
    for res, min_res in [(0, 4), (96, 4), (1024, 3), (4, 8), (-4, 4)]:
        with pytest.raises(ValueError, match=r"power of two|larger"):
            level_resolutions(res, min_res)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 8, 8), np.float32),
        np.zeros((3, 8, 4), np.uint8),
        np.zeros((3, 12, 12), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected square uint8|power of two"):
        build_levels(image)


def test_check_levels_names_the_wrong_one() -> None:
    levels = build_levels(np.random.default_rng(2).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    assert check_levels(levels) == []
    levels[8] = levels[8].copy()
    levels[8][1, 2, 3] ^= 1
    assert check_levels(levels) == [8]


def test_the_rule_itself() -> None:
    values = np.array([[[0.25, 0.5], [0.75, 1.0]]], np.float32)
    assert mean_2x2(values).item() == 0.625
    assert round_to_uint8(np.array([-3.0, 0.5, 1.5, 254.5, 300.0], np.float32)).tolist() == [0, 0, 2, 254, 255]
