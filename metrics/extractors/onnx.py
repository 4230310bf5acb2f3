"""`onnx:PATH`: anybody's network, run by onnxruntime. An ONNX file is a graph of known operators; no code of
its author is executed, and custom operator libraries are not loaded.

Legend: images (N, 3, H, W) or (N, H, W, 3), by the network's declared input shape; outputs (N, D).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.errors import MissingDependencyError, UsageError, WeightsError
from metrics.extractors.base import ExtractorStamp, Features
from metrics.resize import ResizeMode, resize
from metrics.weights import read_hashed

CHANNELS = 3
PIXEL_MAX = 255.0
LOGIT_NAMES = ("logits_unbiased", "logits")


class OnnxExtractor:
    """An onnxruntime session on the CPU. Layers are the outputs of shape (N, D), by their names.

    The first such output gives the features; one named `logits_unbiased` or `logits` the inception score.
    """

    def __init__(self, session: Any, *, where: str, sha256: str, resize: ResizeMode, low: float, high: float) -> None:
        self._session = session
        self._where = where
        self._resize: ResizeMode = resize
        self._low, self._high = low, high
        self._input, self._channels_last, self._size, self._takes_bytes = _describe_input(session, where)
        self.layers = _describe_outputs(session, where)
        self.feature_layer = next(iter(self.layers))
        self.logit_layer: str | None = next((name for name in LOGIT_NAMES if name in self.layers), None)
        self.device = "cpu"
        self.stamp = ExtractorStamp(
            name="onnx",
            weights_sha256=sha256,
            standard=False,
            resize="none" if self._size is None else f"{resize}-{self._size}",
            input_range="uint8" if self._takes_bytes else f"{low:g}:{high:g}",
        )

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Resized, scaled and laid out as the network takes it: float32 or uint8."""
        if self._size is None:
            pixels = images.astype(np.float32)
        else:
            pixels = resize(images, self._size, self._resize)
        if self._takes_bytes:
            prepared = np.rint(pixels).astype(np.uint8)
        else:
            prepared = pixels * np.float32((self._high - self._low) / PIXEL_MAX) + np.float32(self._low)
        return np.ascontiguousarray(prepared.transpose(0, 2, 3, 1) if self._channels_last else prepared)

    def run(self, prepared: NDArray[Any], layers: frozenset[str]) -> dict[str, Features]:
        """The named outputs, each (N, D) float32."""
        names = [name for name in self.layers if name in layers]
        try:
            outputs = self._session.run(names, {self._input: prepared})
        except Exception as error:  # onnxruntime has an exception type per failure, all outside this package
            raise WeightsError(f"{self._where} failed on {prepared.shape}: {_one_line(error)}") from None
        found = {}
        for name, output in zip(names, outputs, strict=True):
            flat = np.asarray(output, np.float32).reshape(len(output), -1)
            if flat.shape != (len(prepared), self.layers[name]):
                raise WeightsError(
                    f"{self._where}: output {name} has shape {output.shape} for {len(prepared)} images, "
                    f"expected ({len(prepared)}, {self.layers[name]})"
                )
            found[name] = flat
        return found


def open_onnx(path: Path, *, resize: ResizeMode, input_range: str, threads: int | None = None) -> OnnxExtractor:
    """The network in `path`; `input_range` is 'LOW:HIGH', what 0 and 255 are mapped to for float inputs."""
    low, high = _parse_range(input_range)
    data, digest = read_hashed(path)
    try:
        import onnxruntime  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError(
            "onnx:PATH needs onnxruntime, which is not installed: pip install 'celebahq-tools[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception type per kind of damage
        raise WeightsError(f"{path} is not a usable ONNX network: {_one_line(error)}") from None
    return OnnxExtractor(session, where=str(path), sha256=digest, resize=resize, low=low, high=high)


def _parse_range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise UsageError(f"input range {text!r} should be LOW:HIGH, such as 0:255, 0:1 or -1:1") from None
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UsageError(f"input range {text!r} should be two numbers, the lower one first")
    return low, high


def _describe_input(session: Any, where: str) -> tuple[str, bool, int | None, bool]:
    """(name, channels last, side or None where any will do, takes uint8)."""
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    kind = inputs[0].type if len(inputs) == 1 else ""
    if len(shape) != 4 or CHANNELS not in (shape[1], shape[3]) or kind not in ("tensor(float)", "tensor(uint8)"):
        raise WeightsError(
            f"{where} takes {len(inputs)} inputs, the first of shape {shape} and type {kind or '?'}; "
            "expected one of (N, 3, H, W) or (N, H, W, 3), float or uint8"
        )
    channels_last = shape[1] != CHANNELS
    height, width = shape[1:3] if channels_last else shape[2:4]
    if isinstance(shape[0], int):
        raise WeightsError(f"{where} takes batches of {shape[0]} only; export it with a dynamic batch axis")
    if not isinstance(height, int) and not isinstance(width, int):
        return inputs[0].name, channels_last, None, kind == "tensor(uint8)"
    if height != width:
        raise WeightsError(f"{where} takes images of {height} x {width}, expected squares")
    return inputs[0].name, channels_last, height, kind == "tensor(uint8)"


def _describe_outputs(session: Any, where: str) -> Mapping[str, int]:
    """{name: D} of float outputs (N, D) or (N, D, 1, 1)."""
    found = {}
    for output in session.get_outputs():
        shape = list(output.shape)
        fixed = len(shape) >= 2 and all(isinstance(side, int) for side in shape[1:])
        if output.type == "tensor(float)" and fixed and all(side == 1 for side in shape[2:]):
            found[output.name] = int(shape[1])
    if not found:
        shapes = ", ".join(f"{output.name} {output.shape}" for output in session.get_outputs())
        raise WeightsError(f"{where} has no float output of shape (N, D); it has {shapes}")
    return found


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
