"""The restorer that reads foreign weights, with a stand-in for spandrel (it needs torchvision)."""

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError
from celebahq_tools.restore import RestorerConfig, open_restorer, settled_config


@dataclass
class StandIn:
    """What the restorer uses of spandrel's ImageModelDescriptor: nearest enlargement, twice as large."""

    scale: int = 2
    input_channels: int = 3
    output_channels: int = 3

    @property
    def architecture(self) -> SimpleNamespace:
        return SimpleNamespace(name="Nearest")

    def eval(self) -> "StandIn":
        return self

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, scale_factor=self.scale, mode="nearest")


class Loader:
    def __init__(self, device: str) -> None:
        assert device == "cpu"

    def load_from_file(self, path: Path) -> Any:
        text = Path(path).read_text()
        if text == "broken":
            raise RuntimeError("unsupported model")
        if text == "gray":
            return StandIn(input_channels=1)
        return StandIn() if text == "good" else object()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = ModuleType("spandrel")
    module.ModelLoader = Loader  # type: ignore[attr-defined]
    module.ImageModelDescriptor = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spandrel", module)
    path = tmp_path / "net.pth"
    path.write_text("good")
    return path


def test_foreign_network_restores_in_pieces(weights: Path) -> None:
    config = RestorerConfig(name="spandrel", weights=weights, tile=20)
    assert settled_config(config).precision == "fp32"
    restorer = open_restorer(config)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    expected = pixels.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(restorer.restore(pixels), expected)
    np.testing.assert_array_equal(restorer.restore(pixels, (3, 5, 60, 40)), expected[10:80, 6:120])
    again = pickle.loads(pickle.dumps(restorer))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(again.restore(pixels), expected)
    stamp = restorer.stamp()
    assert (stamp.name, stamp.version, stamp.precision, restorer.scale) == ("spandrel", "Nearest", "fp32", 2)


def test_what_is_not_usable_is_refused(weights: Path) -> None:
    config = RestorerConfig(name="spandrel", weights=weights)
    for text, message in (
        ("broken", "spandrel cannot read it"),
        ("gray", "takes 1 channels"),
        ("other", "no network from one picture to one"),
    ):
        weights.write_text(text)
        with pytest.raises(FormatError, match=message):
            open_restorer(config)
    weights.write_text("good")
    with pytest.raises(UsageError, match="computes in fp32 only"):
        open_restorer(RestorerConfig(name="spandrel", weights=weights, precision="bf16"))
    with pytest.raises(UsageError, match="needs a weights file"):
        open_restorer(RestorerConfig(name="spandrel"))
    with pytest.raises(MissingDependencyError, match="weights cannot be read"):
        open_restorer(RestorerConfig(name="spandrel", weights=weights.with_name("absent.pth")))


def test_without_spandrel(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'celebahq-tools\[spandrel\]'"):
        open_restorer(RestorerConfig(name="spandrel", weights=weights))
