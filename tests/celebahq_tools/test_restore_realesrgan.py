"""The Real-ESRGAN restorer on a small network with seeded weights, and on the real one where its weights are."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError
from celebahq_tools.restore import Restorer, RestorerConfig, configure_worker_threads, open_restorer, settled_config
from celebahq_tools.restore import precision as precision_module
from celebahq_tools.restore.precision import cpu_has_fast_bf16, resolve_device, resolve_precision
from celebahq_tools.restore.realesrgan import RealESRGANRestorer
from celebahq_tools.restore.rrdbnet import RRDBNet, RRDBNetConfig
from celebahq_tools.restore.rrdbnet_weights import read_pth
from celebahq_tools.weights import REALESRGAN, status

TINY = RRDBNetConfig(features=8, blocks=1, growth=4)
BF16_MAX_LEVELS = 6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the workers; and threads that wait for each other are slow where tests run in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = RRDBNet(TINY)
    with torch.no_grad():
        network.conv_last.weight.mul_(4)
        network.conv_last.bias.fill_(0.5)
    return network.state_dict()


def pth_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.pth"
    path.write_bytes(pth_bytes({"params_ema": tiny_state()}))
    return path


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (70, 95, 3), dtype=np.uint8)


def restorer(weights: Path, *, precision: str = "fp32", tile: int = 768) -> RealESRGANRestorer:
    config = RestorerConfig(name="realesrgan", weights=weights, precision=precision, tile=tile)
    return RealESRGANRestorer(config, TINY)


def levels(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_restores_what_the_network_computes(weights: Path, picture: np.ndarray) -> None:
    network = RRDBNet(TINY).eval()
    network.load_state_dict(tiny_state())
    with torch.inference_mode():
        x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
        expected = (network(x)[0].permute(1, 2, 0).clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    found = restorer(weights).restore(picture)
    assert found.shape == (280, 380, 3)
    assert found.std() > 10
    assert levels(found, expected) <= 1


@pytest.mark.parametrize("tile", [16, 33, 64])
def test_pieces_show_no_seams(weights: Path, picture: np.ndarray, tile: int) -> None:
    """The context covers all that this network looks at, so only the last bit of a sum may differ."""
    whole = restorer(weights).restore(picture)
    pieces = restorer(weights, tile=tile).restore(picture)
    assert levels(pieces, whole) <= 1
    assert np.mean(pieces != whole) < 1e-4


def test_a_box_is_that_part_of_the_whole(weights: Path, picture: np.ndarray) -> None:
    opened = restorer(weights)
    x0, y0, x1, y1 = box = (30, 20, 61, 44)
    assert levels(opened.restore(picture, box), opened.restore(picture)[4 * y0 : 4 * y1, 4 * x0 : 4 * x1]) <= 1


def test_nothing_is_read_beyond_the_context(weights: Path, picture: np.ndarray) -> None:
    opened = restorer(weights)
    x0, y0, x1, y1 = box = (40, 30, 50, 40)
    c = opened.context
    changed = np.full_like(picture, 255)
    changed[y0 - c : y1 + c, x0 - c : x1 + c] = picture[y0 - c : y1 + c, x0 - c : x1 + c]
    assert c == TINY.reach_px == 19
    assert np.array_equal(opened.restore(changed, box), opened.restore(picture, box))


def test_memory_is_bounded_by_the_tile(weights: Path, picture: np.ndarray) -> None:
    opened = restorer(weights, tile=20)
    opened.restore(picture[:16, :16])
    seen: list[int] = []
    assert opened._network is not None
    for module in opened._network.modules():
        module.register_forward_pre_hook(lambda _, inputs: seen.append(max(inputs[0].shape[2:])))
    opened.restore(picture)
    assert 4 * 20 < max(seen) <= 4 * (20 + 2 * 2)


def test_one_pixel_and_read_only_pictures(weights: Path) -> None:
    pixels = np.full((1, 1, 3), 128, np.uint8)
    pixels.setflags(write=False)
    assert restorer(weights).restore(pixels).shape == (4, 4, 3)


def test_result_repeats_and_survives_pickling(weights: Path, picture: np.ndarray) -> None:
    opened = restorer(weights)
    first = opened.restore(picture)
    data = pickle.dumps(opened)
    assert len(data) < 2000
    copy = pickle.loads(data)  # noqa: S301
    assert copy.stamp() == opened.stamp()
    assert np.array_equal(copy.restore(picture), first)
    assert np.array_equal(opened.restore(picture), first)


def test_workers_get_one_thread() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        configure_worker_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_bf16_is_close_to_fp32(weights: Path, picture: np.ndarray) -> None:
    single, half = (restorer(weights, precision=name).restore(picture) for name in ("fp32", "bf16"))
    assert 0 < levels(single, half) <= BF16_MAX_LEVELS


def test_stamp_says_what_made_the_picture(weights: Path) -> None:
    stamp = restorer(weights, precision="bf16", tile=99).stamp()
    assert stamp.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (stamp.name, stamp.precision, stamp.device, stamp.tile) == ("realesrgan", "bf16", "cpu", 99)
    assert stamp.licence == "BSD-3-Clause"


def test_weights_that_change_while_work_goes_on_are_refused(weights: Path, picture: np.ndarray) -> None:
    opened = restorer(weights)
    opened.stamp()
    weights.write_bytes(pth_bytes({"params": tiny_state()}))
    with pytest.raises(FormatError, match="when the work began"):
        opened.restore(picture)


def test_settled_config_leaves_nothing_to_the_worker(weights: Path) -> None:
    config = RestorerConfig(name="realesrgan", weights=weights, device="auto")
    settled = settled_config(config)
    assert settled.precision in ("fp32", "bf16")
    assert settled.device in ("cpu", "cuda")
    assert settled == settled_config(settled) == RealESRGANRestorer(config, TINY).config
    assert settled_config(RestorerConfig()) == RestorerConfig()


def test_auto_precision_is_settled_before_work_is_sent_away(
    weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision_module.cpu_has_fast_bf16, "__defaults__", (flags,))
    for text, expected in (("flags\t: fpu amx_bf16 sse\n", "bf16"), ("flags\t: fpu avx512_bf16\n", "fp32")):
        flags.write_text(text)
        opened = restorer(weights, precision="auto")
        flags.write_text("flags\t: none\n")
        assert pickle.loads(pickle.dumps(opened)).stamp().precision == expected  # noqa: S301


def test_processors_without_the_flag_or_the_file(tmp_path: Path) -> None:
    flags = tmp_path / "cpuinfo"
    assert not cpu_has_fast_bf16(flags)
    flags.write_text("model name\t: amx_bf16 in a name only\nflags\t: avx2\n")
    assert not cpu_has_fast_bf16(flags)
    flags.write_text("flags\t: avx2 amx_bf16 amx_tile\n")
    assert cpu_has_fast_bf16(flags)
    for vendor, fast in (("AuthenticAMD", True), ("GenuineIntel", False)):
        flags.write_text(f"vendor_id\t: {vendor}\nflags\t: avx2 avx512_bf16\n")
        assert cpu_has_fast_bf16(flags) == fast
    assert resolve_precision("bf16", "cpu") == "bf16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_that_is_not_there() -> None:
    assert resolve_device("auto") == "cpu"
    with pytest.raises(UsageError, match="torch sees no CUDA device"):
        resolve_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_processor(weights: Path, picture: np.ndarray) -> None:
    config = RestorerConfig(name="realesrgan", weights=weights, precision="fp32", device="cuda", tile=33)
    opened = RealESRGANRestorer(config, TINY)
    assert opened.stamp().device == "cuda"
    assert levels(opened.restore(picture), restorer(weights).restore(picture)) <= 1


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing.pth", MissingDependencyError, "missing.pth: no such weights file"),
        ("weights.onnx", UsageError, "expected weights as .pth, or as .param and .bin"),
        ("alone.bin", MissingDependencyError, "alone.param: no such weights file"),
    ],
)
def test_weights_are_looked_for_before_the_work_begins(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "weights.onnx").touch()
    (tmp_path / "alone.bin").touch()
    with pytest.raises(error, match=message):
        open_restorer(RestorerConfig(name="realesrgan", weights=tmp_path / name))


def test_empty_cache_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELEBAHQ_CACHE", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="run `celebahq weights get realesrgan`"):
        open_restorer(RestorerConfig(name="realesrgan"))


def test_damaged_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: np.ndarray) -> None:
    monkeypatch.setenv("CELEBAHQ_CACHE", str(tmp_path))
    folder = tmp_path / "weights" / "realesrgan"
    folder.mkdir(parents=True)
    (folder / "RealESRGAN_x4plus.pth").write_bytes(b"not it")
    with pytest.raises(FormatError, match=r"RealESRGAN_x4plus.pth: damaged: expected sha256 4fa0d389"):
        open_restorer(RestorerConfig(name="realesrgan")).restore(picture)


def without(key: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tiny_state().items() if name != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"params": without("conv_hr.bias")}, "1 weights missing, such as 'conv_hr.bias'"),
        ({"params": tiny_state() | {"extra.weight": torch.zeros(1)}}, "1 weights too many, such as 'extra.weight'"),
        (
            {"params": tiny_state() | {"conv_hr.bias": torch.zeros(9)}},
            r"conv_hr.bias has shape \(9,\), expected \(8,\)",
        ),
        ({"params": tiny_state() | {"conv_hr.bias": torch.zeros(8, dtype=torch.int64)}}, "conv_hr.bias has shape"),
        ({"params": tiny_state() | {"conv_hr.bias": torch.full((8,), torch.nan)}}, "not finite"),
        ({"params": tiny_state() | {"conv_hr.bias": "text"}}, "conv_hr.bias has shape str"),
        ({"state_dict": {}}, "expected weights under params_ema or params, found"),
        ([1, 2], r"found \['list'\]"),
    ],
)
def test_pth_must_hold_exactly_this_network(content: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_pth(pth_bytes(content), TINY, name="x.pth")


def test_pth_prefers_the_running_average_and_reads_half_precision() -> None:
    average = {key: value.half() for key, value in tiny_state().items()}
    state = read_pth(pth_bytes({"params": {}, "params_ema": average}), TINY, name="x.pth")
    assert all(value.dtype == torch.float32 for value in state.values())
    assert torch.equal(state["conv_up1.weight"], average["conv_up1.weight"].float())


GOOD_PTH = pth_bytes({"params": tiny_state()})


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code ran')",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 broken",
        b"<!DOCTYPE html>",
        pth_bytes({"params": tiny_state()})[:-500],
        pickle.dumps(Malicious()),
    ],
    ids=["empty", "zip", "html", "truncated", "pickle"],
)
def test_unreadable_pth_is_one_clear_line(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"no readable \.pth weights") as error:
        read_pth(data, TINY, name="x.pth")
    assert "\n" not in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=3), st.booleans())
def test_changed_bytes_are_refused_or_harmless(changes: list[tuple[float, int]], at_the_ends: bool) -> None:
    data = bytearray(GOOD_PTH)
    for place, value in changes:
        # The directory of the archive and its pickle are at the two ends.
        span = 4000 if at_the_ends else len(data)
        data[int(place * (span - 1)) - (span // 2 if at_the_ends else 0)] = value
    message = ""
    try:
        read_pth(bytes(data), TINY, name="x.pth")
    except FormatError as error:
        message = str(error)
    assert message == "" or message.startswith("x.pth: ")
    assert "\n" not in message


def test_pth_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from celebahq_tools.restore import rrdbnet_weights

    monkeypatch.setattr(rrdbnet_weights, "MAX_UNPACKED_BYTES", 100_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(100_001))
    with pytest.raises(FormatError, match="unpacks to 100001 bytes"):
        read_pth(buffer.getvalue(), TINY, name="x.pth")


@pytest.fixture(scope="session")
def photograph(shared: Path) -> np.ndarray:
    with Image.open(shared / "data" / "faces" / "obama.jpg") as image:
        return np.asarray(image.convert("RGB"))[150:198, 220:268]


def real_restorer(precision: str, tile: int) -> Restorer:
    if status(REALESRGAN).state != "present":
        pytest.skip("no weights of Real-ESRGAN: celebahq weights get realesrgan")
    return open_restorer(RestorerConfig(name="realesrgan", precision=precision, tile=tile))


@pytest.mark.weights
@pytest.mark.shared
@pytest.mark.slow
def test_x4plus_context_is_enough(shared: Path) -> None:
    """A box with its context against the whole picture, where of all places tried it takes most context."""
    name = "joshua-earle-157231-1500.jpg"
    with Image.open(shared / "data" / "photos" / name) as image:
        pixels = np.asarray(image.convert("RGB"))[692:882, 556:746]
    x0, y0, x1, y1 = box = (89, 89, 101, 101)
    opened = real_restorer("fp32", 768)
    assert opened.context + 6 < 95
    whole = opened.restore(pixels)[4 * y0 : 4 * y1, 4 * x0 : 4 * x1]
    assert levels(opened.restore(pixels, box), whole) <= 1


@pytest.mark.weights
@pytest.mark.shared
def test_x4plus_in_bf16_is_close_to_fp32(photograph: np.ndarray) -> None:
    single, half = (real_restorer(name, 768).restore(photograph).astype(int) for name in ("fp32", "bf16"))
    assert np.abs(single - half).mean() < 1.0
    assert abs((single - half).mean()) < 0.25


@pytest.mark.weights
@pytest.mark.shared
def test_x4plus_enlarges_the_same_picture(photograph: np.ndarray) -> None:
    """Averaged over 4x4 blocks the result is the picture again: right colours, right place."""
    pixels = photograph
    restored = real_restorer("auto", 768).restore(pixels).astype(float)
    small = restored.reshape(48, 4, 48, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - pixels).mean() < 4
    shifted = np.abs(small[:, 1:] - pixels[:, :-1]).mean()
    assert np.abs(small - pixels).mean() < 0.7 * shifted
