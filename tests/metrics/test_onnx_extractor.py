"""ONNX files for these tests are encoded by hand: a dozen protobuf fields need no further package."""

import builtins
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics.errors import MissingDependencyError, UsageError, WeightsError
from metrics.extractors import open_extractor
from metrics.resize import resize_clean, resize_legacy_tensorflow

FLOAT, UINT8, INT8 = 1, 2, 3
WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4) / 10


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(kind: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    parts = [field(1, name) for name in inputs] + [field(2, output), field(4, kind)]
    return field(1, b"".join(parts) + (field(5, attribute) if attribute else b""))


def value_info(number: int, name: str, kind: int, shape: tuple[int | str, ...]) -> bytes:
    dims = b"".join(field(1, field(1 if isinstance(side, int) else 2, side)) for side in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, kind) + field(2, dims))))


def network(
    shape: tuple[int | str, ...] = ("n", 3, "h", "w"),
    kind: int = FLOAT,
    features: tuple[int | str, ...] = ("n", 3),
    op: str = "GlobalAveragePool",
) -> bytes:
    """Mean of each channel as `features`, and those times WEIGHTS as `logits`."""
    cast = field(1, "to") + field(3, FLOAT) + field(20, 2)
    nodes = node("Cast", ["pixels"], "x", cast) + node(op, ["x"], "pooled") + node("Flatten", ["pooled"], "features")
    nodes += node("MatMul", ["features", "weights"], "logits")
    raw = struct.pack("<12f", *WEIGHTS.ravel())
    weights = field(5, field(1, 3) + field(1, 4) + field(2, FLOAT) + field(8, "weights") + field(9, raw))
    graph = nodes + field(2, "net") + weights + value_info(11, "pixels", kind, shape)
    graph += value_info(12, "features", FLOAT, features) + value_info(12, "logits", FLOAT, ("n", 4))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")

    def write(content: bytes) -> str:
        path = tmp_path / "net.onnx"
        path.write_bytes(content)
        return f"onnx:{path}"

    return write


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 20), dtype=np.uint8)


def run(name: str, **options: Any) -> dict[str, np.ndarray]:
    extractor = open_extractor(name, **options)
    return extractor.run(extractor.prepare(IMAGES), frozenset(extractor.layers))


def test_layers_values_and_stamp(write: Any) -> None:
    content = network()
    extractor = open_extractor(write(content))
    assert extractor.layers == {"features": 3, "logits": 4}
    assert (extractor.feature_layer, extractor.logit_layer) == ("features", "logits")
    stamp = extractor.stamp
    assert stamp.weights_sha256 == hashlib.sha256(content).hexdigest()
    assert (stamp.name, stamp.standard, stamp.resize, stamp.input_range) == ("onnx", False, "none", "0:255")
    found = extractor.run(extractor.prepare(IMAGES), frozenset({"features", "logits"}))
    np.testing.assert_allclose(found["features"], IMAGES.mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["logits"], IMAGES.mean((2, 3)) @ WEIGHTS, rtol=1e-5)
    assert set(extractor.run(extractor.prepare(IMAGES), frozenset({"logits"}))) == {"logits"}


def test_input_range_is_applied(write: Any) -> None:
    found = run(write(network()), input_range="-1:1")["features"]
    np.testing.assert_allclose(found, IMAGES.mean((2, 3)) / 127.5 - 1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "function"), [("legacy-tensorflow", resize_legacy_tensorflow), ("clean", resize_clean)]
)
def test_images_are_resized_to_a_fixed_input(write: Any, mode: Any, function: Any) -> None:
    name = write(network(("n", 3, 12, 12)))
    extractor = open_extractor(name, resize=mode)
    assert extractor.stamp.resize == f"{mode}-12"
    np.testing.assert_allclose(run(name, resize=mode)["features"], function(IMAGES, 12).mean((2, 3)), rtol=1e-5)


def test_uint8_input_takes_the_images_as_they_are(write: Any) -> None:
    name = write(network(kind=UINT8))
    assert open_extractor(name).stamp.input_range == "uint8"
    np.testing.assert_allclose(run(name)["features"], IMAGES.mean((2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (network(kind=INT8), "expected one of"),
        (network((1, 3, "h", "w")), "batches of 1 only"),
        (network(("n", 3, 10, 12)), "10 x 12, expected squares"),
        (network()[:-40], "not a usable ONNX network"),
        (b"hello", "not a usable ONNX network"),
        (network(op="SomebodysOwnOperator"), "not a usable ONNX network"),
    ],
)
def test_unusable_files_are_refused_in_one_line(write: Any, content: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        open_extractor(write(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1", "a:b", "1:0", "0:inf"])
def test_bad_ranges_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="input range"):
        open_extractor(f"onnx:{tmp_path / 'x.onnx'}", input_range=text)


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    real_import = builtins.__import__

    def no_onnx(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_onnx)
    with pytest.raises(MissingDependencyError, match=r"celebahq-tools\[onnx\]"):
        open_extractor(f"onnx:{tmp_path / 'net.onnx'}")
