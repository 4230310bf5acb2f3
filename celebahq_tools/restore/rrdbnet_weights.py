"""RRDBNet's weights from a published `.pth` or from an ncnn pair, checked to be exactly this network's.

Legend: a state maps 'body.0.rdb1.conv1.weight' and the like to float32 tensors, (out, in, 3, 3) or (out,).
"""

import io
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from celebahq_tools.errors import FormatError
from celebahq_tools.restore.ncnn_format import BinReader, Layer, parse_param
from celebahq_tools.restore.rrdbnet import (
    DENSE_CONVS,
    LEAKY_SLOPE,
    RDBS_PER_BLOCK,
    RESIDUAL_SCALE,
    RRDBNet,
    RRDBNetConfig,
)

# Real-ESRGAN stores the running average under the first name; checkpoints without one under the second.
STATE_KEYS = ("params_ema", "params")
MAX_UNPACKED_BYTES = 512 * 2**20
NCNN_LEAKY_RELU = 2.0
NCNN_ELTWISE_SUM = 1.0
NCNN_NEAREST = 1.0
UPSCALE = 2.0

State = dict[str, Tensor]
Params = dict[int, tuple[float, ...]]


def expected_shapes(config: RRDBNetConfig) -> dict[str, tuple[int, ...]]:
    """The keys of RRDBNet's state and their shapes; allocates no weights."""
    with torch.device("meta"):
        network = RRDBNet(config)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def read_pth(data: bytes, config: RRDBNetConfig, *, name: str) -> State:
    """The state in the bytes of a `.pth` file. FormatError when it is damaged or another network's."""
    try:
        unpacked = _unpacked_bytes(data)
        if unpacked <= MAX_UNPACKED_BYTES:
            with warnings.catch_warnings():
                # torch warns of odd pickles before it refuses them; one message is enough.
                warnings.simplefilter("ignore")
                loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make torch's and zipfile's readers raise nearly anything
        first_line = str(error).strip().split("\n")[0][:120]
        raise FormatError(f"{name}: no readable .pth weights: {first_line or type(error).__name__}") from None
    if unpacked > MAX_UNPACKED_BYTES:
        raise FormatError(f"{name}: unpacks to {unpacked} bytes, more than the {MAX_UNPACKED_BYTES} allowed: refused")
    found = list(loaded) if isinstance(loaded, dict) else [type(loaded).__name__]
    key = next((key for key in STATE_KEYS if key in found), None)
    if key is None or not isinstance(loaded[key], dict):
        raise FormatError(f"{name}: expected weights under {' or '.join(STATE_KEYS)}, found {str(found)[:80]}")
    return _checked_state(loaded[key], config, name)


def _unpacked_bytes(data: bytes) -> int:
    """Size of what a `.pth` unpacks to; the older kind that is no zip archive is not compressed."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sum(info.file_size for info in archive.infolist())


def _checked_state(state: dict[object, object], config: RRDBNetConfig, name: str) -> State:
    expected = expected_shapes(config)
    if missing := sorted(set(expected) - set(state)):
        raise FormatError(f"{name}: {len(missing)} weights missing, such as {missing[0]!r}: another network's?")
    if surplus := sorted(str(key) for key in set(state) - set(expected)):
        raise FormatError(f"{name}: {len(surplus)} weights too many, such as {surplus[0]!r}: another network's?")
    checked: State = {}
    for key, shape in expected.items():
        value = state[key]
        if not isinstance(value, Tensor) or tuple(value.shape) != shape or not value.is_floating_point():
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise FormatError(f"{name}: {key} has shape {found}, expected {shape}: another network's?")
        if not torch.isfinite(value).all():
            raise FormatError(f"{name}: {key} holds values that are not finite: damaged")
        checked[key] = value.to(torch.float32).contiguous()
    return checked


@dataclass(frozen=True, slots=True)
class GraphStep:
    """One operation of the network: what it reads (numbers of earlier steps), its settings, its module if any."""

    kind: str
    inputs: tuple[int, ...]
    params: Params
    module: str = ""


class _Graph:
    """Collects the operations in the order in which the network performs them."""

    def __init__(self) -> None:
        self.steps = [GraphStep("Input", (), {})]

    def add(self, kind: str, inputs: tuple[int, ...], params: Params, module: str = "") -> int:
        self.steps.append(GraphStep(kind, inputs, params, module))
        return len(self.steps) - 1

    def conv(self, source: int, module: str, shape: tuple[int, ...], *, leaky: bool) -> int:
        out, channels, kernel = shape[:3]
        params: Params = {
            0: (float(out),),
            1: (float(kernel),),
            4: (float(kernel // 2),),
            5: (1.0,),
            6: (float(out * channels * kernel * kernel),),
        }
        if leaky:
            params |= {9: (NCNN_LEAKY_RELU,), 10: (LEAKY_SLOPE,)}
        return self.add("Convolution", (source,), params, module)

    def scaled_sum(self, change: int, source: int) -> int:
        """change * 0.2 + source."""
        return self.add("Eltwise", (change, source), {0: (NCNN_ELTWISE_SUM,), 1: (RESIDUAL_SCALE, 1.0)})


def expected_graph(config: RRDBNetConfig) -> list[GraphStep]:
    """RRDBNet as ncnn writes it, with the splits left out."""
    shapes = expected_shapes(config)
    graph = _Graph()

    def conv(source: int, module: str, *, leaky: bool = False) -> int:
        return graph.conv(source, module, shapes[f"{module}.weight"], leaky=leaky)

    stream = first = conv(0, "conv_first")
    for block in range(config.blocks):
        entry = stream
        for dense in range(1, RDBS_PER_BLOCK + 1):
            prefix = f"body.{block}.rdb{dense}"
            stack = [stream]
            for number in range(1, DENSE_CONVS):
                source = stack[0] if number == 1 else graph.add("Concat", tuple(stack), {})
                stack.append(conv(source, f"{prefix}.conv{number}", leaky=True))
            change = conv(graph.add("Concat", tuple(stack), {}), f"{prefix}.conv{DENSE_CONVS}")
            stream = graph.scaled_sum(change, stream)
        stream = graph.scaled_sum(stream, entry)
    stream = graph.add("BinaryOp", (first, conv(stream, "conv_body")), {})
    for module in ("conv_up1", "conv_up2"):
        stream = graph.add("Interp", (stream,), {0: (NCNN_NEAREST,), 1: (UPSCALE,), 2: (UPSCALE,)})
        stream = conv(stream, module, leaky=True)
    conv(conv(stream, "conv_hr", leaky=True), "conv_last")
    return graph.steps


def _wired(layers: list[Layer], name: str) -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """The layers without the splits, each with the numbers of the layers it reads."""
    origin: dict[str, int] = {}
    number = 0
    for layer in layers:
        try:
            inputs = tuple(origin[blob] for blob in layer.inputs)
        except KeyError as error:
            raise FormatError(f"{name}: layer {layer.name!r} reads {error} before anything writes it") from None
        if layer.kind == "Split" and len(inputs) == 1:
            origin.update(dict.fromkeys(layer.outputs, inputs[0]))
            continue
        if len(layer.outputs) != 1:
            raise FormatError(f"{name}: layer {layer.name!r} has {len(layer.outputs)} outputs, expected one")
        origin[layer.outputs[0]] = number
        number += 1
        yield layer, inputs


def check_graph(layers: list[Layer], config: RRDBNetConfig, *, name: str) -> list[GraphStep]:
    """The expected operations, when the layers are exactly these; FormatError naming the first difference."""
    expected = expected_graph(config)
    kinds = Counter(layer.kind for layer in layers if layer.kind != "Split")
    for kind, count in Counter(step.kind for step in expected).items():
        if kinds[kind] != count:
            raise FormatError(f"{name}: {kinds[kind]} layers {kind}, expected {count}: another network")
    if surplus := sorted(set(kinds) - {step.kind for step in expected}):
        raise FormatError(f"{name}: layers of kind {surplus[0]} are not part of this network")
    for step, (layer, inputs) in zip(expected, _wired(layers, name), strict=True):
        params = dict(layer.params)
        if (layer.kind, inputs, params) != (step.kind, step.inputs, step.params):
            raise FormatError(
                f"{name}: layer {layer.name!r} is {layer.kind} of {inputs} with {params}, expected {step.kind} "
                f"of {step.inputs} with {step.params}: another network"
            )
    return expected


def read_ncnn(param: bytes, weights: bytes, config: RRDBNetConfig, *, name: str) -> State:
    """The state in the bytes of a `.param` and a `.bin` file. FormatError when either is not this network's."""
    steps = check_graph(parse_param(param, name=f"{name}.param"), config, name=f"{name}.param")
    shapes = expected_shapes(config)
    reader = BinReader(weights, name=f"{name}.bin")
    state: State = {}
    for step in steps:
        if not step.module:
            continue
        for key, read in ((f"{step.module}.weight", reader.weights), (f"{step.module}.bias", reader.biases)):
            shape = shapes[key]
            state[key] = torch.from_numpy(read(torch.Size(shape).numel(), key).reshape(shape))
    reader.finish()
    return state
