"""Reading ncnn model files: the text `.param` (layers and how they are wired) and the binary `.bin` (weights).

Only what a plain convolutional network needs. Everything unknown is refused: a wrong guess here would give wrong
pictures without a word. Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError

PARAM_MAGIC = "7767517"
FLAG_FLOAT16 = 0x01306B47
FLAG_FLOAT32 = 0
WEIGHT_ALIGNMENT = 4
# Keys at or below this one hold arrays: key = ARRAY_KEY - (number of the parameter).
ARRAY_KEY = -23300
MAX_LAYERS = 100_000
LAYER_FIELDS = 4  # type, name, number of inputs, number of outputs


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of a `.param` file; `params` holds (number, values) in ascending order of the number."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[tuple[int, tuple[float, ...]], ...]


def _whole(text: str, what: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise FormatError(f"{where}: expected {what} as a whole number, found {text[:40]!r}") from None


def _parse_setting(text: str, where: str) -> tuple[int, tuple[float, ...]]:
    key_text, equals, value_text = text.partition("=")
    if not equals:
        raise FormatError(f"{where}: expected key=value, found {text[:40]!r}")
    key = _whole(key_text, "a parameter's key", where)
    try:
        values = tuple(float(part) for part in value_text.split(","))
    except ValueError:
        raise FormatError(f"{where}: parameter {key} is no number: {value_text[:40]!r}") from None
    if key > ARRAY_KEY:
        if len(values) != 1:
            raise FormatError(f"{where}: parameter {key} has {len(values)} values, expected one")
        return key, values
    if values[0] != len(values) - 1:
        raise FormatError(f"{where}: array {key} says {values[0]:g} values and has {len(values) - 1}")
    return ARRAY_KEY - key, values[1:]


def _parse_layer(line: str, where: str) -> Layer:
    fields = line.split()
    if len(fields) < LAYER_FIELDS:
        raise FormatError(f"{where}: expected type, name and two counts, found {line[:60]!r}")
    n_inputs = _whole(fields[2], "the number of inputs", where)
    n_outputs = _whole(fields[3], "the number of outputs", where)
    blobs_end = LAYER_FIELDS + n_inputs + n_outputs
    if n_inputs < 0 or n_outputs < 0 or len(fields) < blobs_end:
        raise FormatError(f"{where}: {n_inputs} inputs and {n_outputs} outputs do not fit into {line[:60]!r}")
    params = sorted(_parse_setting(text, where) for text in fields[blobs_end:])
    if len({key for key, _ in params}) != len(params):
        raise FormatError(f"{where}: a parameter of layer {fields[1]!r} is given twice")
    outputs_start = LAYER_FIELDS + n_inputs
    return Layer(
        kind=fields[0],
        name=fields[1],
        inputs=tuple(fields[LAYER_FIELDS:outputs_start]),
        outputs=tuple(fields[outputs_start:blobs_end]),
        params=tuple(params),
    )


def parse_param(data: bytes, *, name: str) -> list[Layer]:
    """The layers of a `.param` file, in order; `name` is for messages. FormatError when it is not one."""
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise FormatError(f"{name}: not an ncnn .param file: it is not plain text") from None
    lines = [line.strip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or lines[0] != PARAM_MAGIC:
        found = lines[0][:40] if lines else ""
        raise FormatError(f"{name}: not an ncnn .param file: expected {PARAM_MAGIC} in line 1, found {found!r}")
    counts = lines[1].split() if len(lines) > 1 else []
    if len(counts) != 2:
        raise FormatError(f"{name}, line 2: expected the numbers of layers and blobs, found {' '.join(counts)[:40]!r}")
    n_layers, n_blobs = (_whole(text, "a count", f"{name}, line 2") for text in counts)
    if n_layers > MAX_LAYERS or n_layers != len(lines) - 2:
        raise FormatError(f"{name}: {n_layers} layers announced, {len(lines) - 2} found: truncated or edited")
    layers = [_parse_layer(line, f"{name}, line {number}") for number, line in enumerate(lines[2:], start=3)]
    blobs = [blob for layer in layers for blob in layer.outputs]
    if len(blobs) != n_blobs or len(set(blobs)) != n_blobs:
        raise FormatError(f"{name}: {n_blobs} blobs announced, {len(set(blobs))} found: truncated or edited")
    return layers


class BinReader:
    """Takes the weights of a `.bin` file one after the other."""

    def __init__(self, data: bytes, *, name: str) -> None:
        self._data = data
        self._name = name
        self._offset = 0

    def _take(self, size: int, what: str) -> bytes:
        end = self._offset + size
        if end > len(self._data):
            raise FormatError(
                f"{self._name}: truncated: {what} needs bytes {self._offset} to {end}, the file has {len(self._data)}"
            )
        taken = self._data[self._offset : end]
        self._offset = end
        return taken

    def _finite(self, values: NDArray[np.float32], what: str) -> NDArray[np.float32]:
        if not np.isfinite(values).all():
            raise FormatError(f"{self._name}: {what} holds values that are not finite: damaged")
        return values

    def weights(self, count: int, what: str) -> NDArray[np.float32]:
        """(count,) float32 after a 4-byte flag: half precision, padded to 4 bytes, or float32."""
        (flag,) = struct.unpack("<I", self._take(4, what))
        if flag == FLAG_FLOAT16:
            size = count * 2
            data = self._take(-(-size // WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT, what)
            return self._finite(np.frombuffer(data, "<f2", count).astype(np.float32), what)
        if flag == FLAG_FLOAT32:
            return self._finite(np.frombuffer(self._take(count * 4, what), "<f4").astype(np.float32), what)
        raise FormatError(
            f"{self._name}: {what} is stored as {flag:#010x}: expected half ({FLAG_FLOAT16:#010x}) or single precision"
        )

    def biases(self, count: int, what: str) -> NDArray[np.float32]:
        """(count,) float32, stored without a flag."""
        return self._finite(np.frombuffer(self._take(count * 4, what), "<f4").astype(np.float32), what)

    def finish(self) -> None:
        """FormatError when bytes are left over."""
        left = len(self._data) - self._offset
        if left:
            raise FormatError(f"{self._name}: {left} bytes left over after the last layer: not this network's weights")
