"""The restorer interface: configuration, boxes, the share that is read, the restorer that copies."""

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebahq_tools.errors import UsageError
from celebahq_tools.restore import RestorerConfig, open_restorer, restored_share, widened_box


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "waifu", "restorer name 'waifu' is unknown: choose one of none, ours, realesrgan, spandrel"),
        ("precision", "fp16", "restorer precision 'fp16' is unknown: choose one of auto, fp32, bf16"),
        ("device", "tpu", "restorer device 'tpu' is unknown: choose one of auto, cpu, cuda"),
        ("tile", 4, "restorer tile is 4 pixels: at least 16 are needed"),
    ],
)
def test_config_refuses_what_it_does_not_know(field: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RestorerConfig(**{field: value})


def test_plain_restorer_copies(picture: np.ndarray) -> None:
    restorer = open_restorer(RestorerConfig(name="none"))
    whole = restorer.restore(picture)
    part = restorer.restore(picture, (3, 4, 10, 12))
    assert np.array_equal(whole, picture)
    assert not np.shares_memory(whole, picture)
    assert np.array_equal(part, picture[4:12, 3:10])
    assert part.flags.c_contiguous
    assert (restorer.scale, restorer.context) == (1, 0)


def test_plain_restorer_pickles_and_its_stamp_is_json() -> None:
    restorer = pickle.loads(pickle.dumps(open_restorer(RestorerConfig())))  # noqa: S301
    stamp = json.loads(json.dumps(dataclasses.asdict(restorer.stamp())))
    assert stamp["name"] == "none"
    assert stamp["weights_sha256"] is None


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, 0, 31, 5), (0, 0, 5, 21), (5, 5, 5, 9), (5, 9, 9, 5)], ids=lambda box: str(box)
)
def test_box_must_lie_in_the_picture(picture: np.ndarray, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="does not lie in the 30x20 picture"):
        open_restorer(RestorerConfig()).restore(picture, box)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["gray", "alpha", "float", "empty"],
)
def test_pixels_must_be_rgb_bytes(pixels: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"expects \(H, W, 3\) uint8 pixels"):
        open_restorer(RestorerConfig()).restore(pixels)


def test_restored_share_counts_the_clipped_context() -> None:
    assert restored_share((100, 200, 3), (0, 0, 200, 100), 64) == 1.0
    assert restored_share((100, 200, 3), (50, 50, 60, 60), 0) == pytest.approx(100 / 20_000)
    assert restored_share((100, 200, 3), (0, 0, 10, 10), 5) == pytest.approx(15 * 15 / 20_000)


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(0, 300),
)
def test_widened_box_holds_the_box_and_stays_inside(
    shape: tuple[int, int], parts: tuple[float, float, float, float], context: int
) -> None:
    height, width = shape
    x0, y0 = int(parts[0] * (width - 1)), int(parts[1] * (height - 1))
    x1, y1 = x0 + 1 + int(parts[2] * (width - 1 - x0)), y0 + 1 + int(parts[3] * (height - 1 - y0))
    wide = widened_box(shape, (x0, y0, x1, y1), context)
    assert 0 <= wide[0] <= x0 < x1 <= wide[2] <= width
    assert 0 <= wide[1] <= y0 < y1 <= wide[3] <= height
    assert wide[0] == 0 or x0 - wide[0] == context
    assert wide[3] == height or wide[3] - y1 == context
    assert 0 < restored_share(shape, (x0, y0, x1, y1), context) <= 1


def test_interface_loads_no_torch() -> None:
    code = "import sys, celebahq_tools.restore as r; r.open_restorer(r.RestorerConfig()); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
