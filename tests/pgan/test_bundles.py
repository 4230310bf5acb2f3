"""Batches that travel together are the batches that were asked for, in their order."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from pgan.config import Config
from pgan.data import BUNDLE_BATCHES, BUNDLE_BYTES, PyramidBatches, bundles, open_batches, requests
from pgan.parallel import World
from pgan.walk import Position


def test_bundles_keep_the_order_and_are_bounded(tiny: Config) -> None:
    def wanted() -> list[object]:
        return list(islice(requests(tiny, Position(), World()), 60))

    found = list(islice(bundles(requests(tiny, Position(), World())), 12))
    assert [request for bundle in found for request in bundle][:60] == wanted()
    for bundle in found:
        assert len({(request.res, request.count) for request in bundle}) == 1
        assert len(bundle) <= BUNDLE_BATCHES
        one = 3 * bundle[0].res ** 2 * bundle[0].count
        assert len(bundle) == 1 or len(bundle) * one <= BUNDLE_BYTES
    assert max(len(bundle) for bundle in found) > 1


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_are_those_of_their_positions(tiny: Config, make_data: Callable[..., Path], workers: int) -> None:
    data = make_data()
    config = replace(tiny, train=replace(tiny.train, workers=workers))
    single = PyramidBatches(data, seed=config.train.seed, mirror=config.train.mirror, network=config.network)
    start = Position(nimg=16, stage_nimg=16)
    wanted = requests(config, start, World())
    for images, labels in islice(open_batches(data, config, start, World()), 40):
        request = next(wanted)
        expected = single[(request,)][0][0]
        assert images.shape == (request.count, 3, request.res, request.res)
        assert torch.equal(images, expected)
        assert len(labels) == 0
