"""Windows cover a box once, and computing window by window changes nothing."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from celebahq_tools.restore.rrdbnet import RRDBNet, RRDBNetConfig
from celebahq_tools.restore.tiles import run_windowed, split_evenly, windows

# Channels as in the real network: below about 20,000 values torch takes another kernel, which rounds differently.
SHORT = RRDBNetConfig(features=64, blocks=1, growth=32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the workers; and threads that wait for each other are slow where tests run in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@given(st.integers(0, 1000), st.integers(1, 5000), st.integers(1, 700))
def test_split_evenly(start: int, length: int, longest: int) -> None:
    borders = split_evenly(start, start + length, longest)
    sizes = np.diff(borders)
    assert borders[0] == start
    assert borders[-1] == start + length
    assert len(sizes) == -(-length // longest)
    assert sizes.max() <= longest
    assert sizes.max() - sizes.min() <= 1


@given(st.data())
def test_windows_cover_the_box_once_and_read_inside_the_picture(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    tile, halo = data.draw(st.integers(1, 50)), data.draw(st.integers(0, 20))
    count = np.zeros((height, width), int)
    numbered = np.arange(height * width).reshape(height, width)
    for window in windows((height, width), (x0, y0, x1, y1), tile=tile, halo=halo):
        left, top, right, bottom = window.core
        count[top:bottom, left:right] += 1
        read = numbered[window.read[1] : window.read[3], window.read[0] : window.read[2]]
        assert max(read.shape) <= tile + 2 * halo
        assert np.array_equal(read[window.inner(1)], numbered[top:bottom, left:right])
        enlarged = read.repeat(4, axis=0).repeat(4, axis=1)
        assert np.array_equal(enlarged[window.inner(4)][::4, ::4], numbered[top:bottom, left:right])
    expected = np.zeros_like(count)
    expected[y0:y1, x0:x1] = 1
    assert np.array_equal(count, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("tile", [33, 64])
def test_features_in_windows_equal_the_whole_bit_for_bit(tile: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = RRDBNet(SHORT).eval()
    network.set_precision(dtype)
    x = torch.rand(1, 3, 85, 91).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        whole = network.features(x, tile=1000)
        assert torch.equal(network.features(x, tile=tile), whole)
        assert torch.equal(network.enlarge(whole), network(x))


def test_windows_need_their_halo() -> None:
    conv = torch.nn.Conv2d(2, 2, 3, padding=1)
    x = torch.rand(1, 2, 20, 20)
    with torch.inference_mode():
        whole = conv(x)
        assert torch.allclose(run_windowed(conv, x, halo=1, tile=8), whole, atol=1e-6)
        assert not torch.allclose(run_windowed(conv, x, halo=0, tile=8), whole, atol=1e-3)
