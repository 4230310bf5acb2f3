"""ONNX models of stored generators."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pgan.errors import ConfigError, MissingDependencyError, RunError
from pgan.export import TOLERANCE, export_onnx
from pgan.generate import read_generator


@pytest.mark.parametrize(("classes", "lod"), [(0, 1.5), (3, 0.0)])
def test_the_model_makes_the_same_images(
    make_generator: Callable[..., Path], tmp_path: Path, classes: int, lod: float
) -> None:
    import onnxruntime

    generator = read_generator(make_generator(tmp_path / "g.safetensors", label_size=classes, lod=lod))
    report = export_onnx(generator, tmp_path / "g.onnx")
    assert report.relative <= TOLERANCE
    assert report.checked == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.onnx", "g.safetensors"]
    session = onnxruntime.InferenceSession(str(tmp_path / "g.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == (["z", "labels"] if classes else ["z"])
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(5) % 3 if classes else None
    feeds = {"z": z.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
    images = session.run(None, feeds)[0]
    assert (images.shape, images.dtype) == ((5, 3, 16, 16), np.float32)
    shown = np.clip(np.rint(images * 127.5 + 127.5), 0, 255)
    np.testing.assert_allclose(shown, generator.images(z, labels), atol=1)


def test_a_model_that_differs_is_not_kept(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgan.export._compare", lambda *_: (1e-2, -1.0, 1.0))
    with pytest.raises(RunError, match=r"differ from the network's by 0\.01, which is 0\.005 of their range"):
        export_onnx(read_generator(tiny_run), tmp_path / "g.onnx")
    assert not list(tmp_path.glob("g.onnx*"))


def test_bad_places_and_missing_packages(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = read_generator(tiny_run)
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        export_onnx(generator, tmp_path / "g.pt")
    with pytest.raises(ConfigError, match="does not exist"):
        export_onnx(generator, tmp_path / "none" / "g.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"onnxscript.*pip install"):
        export_onnx(generator, tmp_path / "g.onnx")
