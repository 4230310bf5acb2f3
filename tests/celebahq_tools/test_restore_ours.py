"""Our own networks: their files, tiles without seams, what they gain, and drift."""

import hashlib
import json
import pickle
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import CelebAHQError, FormatError, MissingDependencyError, UsageError
from celebahq_tools.restore import RestorerConfig, named_restorer, open_restorer
from celebahq_tools.restore.drift import drift
from celebahq_tools.restore.measure import ms_ssim, psnr
from celebahq_tools.restore.modelfile import Model, decode_model, encode_model
from celebahq_tools.restore.networks import (
    JOINT,
    JPEG,
    SR4,
    TASKS,
    NetworkConfig,
    RestoreNetwork,
    default_network,
    parameter_count,
)
from celebahq_tools.restore.shipped import SHIPPED, read_shipped, shipped_model
from celebahq_tools.restore.training.degrade import jpeg, shrink4
from celebahq_tools.restore.training.validate import centre, damaged, plain
from metrics.msssim.similarity import ms_ssim_pair

Pixels = NDArray[np.uint8]
SMALL = NetworkConfig(scale=1, fold=2, channels=(8, 12, 16), blocks=(1, 1, 1))
SMALL_X4 = NetworkConfig(scale=4, fold=1, channels=(8, 12), blocks=(2, 1))
MAX_PARAMETERS = 1_500_000
MAX_FILE_BYTES = 5_000_000


def model_of(network: NetworkConfig, gain: float = 3.0) -> Model:
    """Random weights, strong enough for differences to show."""
    torch.manual_seed(5)
    made = RestoreNetwork(network)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(gain)
    task = "jpeg" if network.scale == 1 else "joint"
    return Model(task=task, version="7", network=network, state=made.state_dict(), card={"steps": 1})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    path.write_bytes(encode_model(model_of(SMALL)))
    return path


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """A picture of the shipped sample, shrunk so that its own artifacts are gone."""
    folder = resources.files("celebahq_tools") / "sample" / "celeba"
    with resources.as_file(folder) as root:
        path = sorted(root.rglob("*.jpg"), key=lambda p: p.stat().st_size)[-1]
        pixels = decode_picture(path.read_bytes(), name=path.name)
    return np.asarray(cv2.resize(pixels, (0, 0), fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("task", TASKS)
def test_networks_are_small(task: str) -> None:
    assert parameter_count(RestoreNetwork(default_network(task))) <= MAX_PARAMETERS  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [SMALL, SMALL_X4, NetworkConfig(scale=4, fold=1, channels=(8,), blocks=(2,))])
def test_reach_is_where_changes_end(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    network = RestoreNetwork(config).eval()
    side = (2 * config.reach_px // config.grid + 4) * config.grid
    x = torch.rand((1, 3, side, side))
    place = side // 2
    changed = x.clone()
    changed[:, :, place, place] += 0.5
    with torch.inference_mode():
        rows = torch.nonzero((network(changed) - network(x)).abs().sum(dim=(0, 1, 3)) > 0)[:, 0] // config.scale
    assert place - int(rows.min()) <= config.reach_px
    assert int(rows.max()) - place <= config.reach_px
    assert int(rows.max()) - int(rows.min()) > config.reach_px // 2


@pytest.mark.parametrize("network", [SMALL, SMALL_X4, JPEG, SR4, JOINT])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tiles_and_boxes_have_no_seams(tmp_path: Path, network: NetworkConfig, precision: str, photo: Pixels) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(encode_model(model_of(network, gain=1.5)))
    pixels = photo[30:131, 20:153]
    config = RestorerConfig(name="ours", weights=path, precision=precision)  # type: ignore[arg-type]
    whole = open_restorer(config).restore(pixels)
    s = network.scale
    assert whole.shape == (101 * s, 133 * s, 3)
    tiled = open_restorer(replace(config, tile=37)).restore(pixels)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    x0, y0, x1, y1 = box = (13, 7, 90, 60)
    boxed = open_restorer(config).restore(pixels, box)
    assert np.abs(boxed.astype(int) - whole[y0 * s : y1 * s, x0 * s : x1 * s]).max() <= 1


def test_only_the_pixels_in_reach_are_read(weights: Path) -> None:
    restorer = open_restorer(RestorerConfig(name="ours", weights=weights, precision="fp32"))
    pixels = noise(150, 170)
    box = (64, 64, 80, 72)
    expected = restorer.restore(pixels, box)
    reach = restorer.context + SMALL.grid
    other = 255 - pixels
    other[64 - reach : 72 + reach, 64 - reach : 80 + reach] = pixels[64 - reach : 72 + reach, 64 - reach : 80 + reach]
    np.testing.assert_array_equal(restorer.restore(other, box), expected)


def test_file_keeps_everything(weights: Path) -> None:
    model = model_of(SMALL)
    found = decode_model(weights.read_bytes(), name="net")
    assert (found.task, found.version, found.network, found.card) == ("jpeg", "7", SMALL, {"steps": 1})
    for key, value in model.state.items():
        torch.testing.assert_close(found.state[key], value.half().float(), rtol=0, atol=0)


def test_damaged_files_are_refused(weights: Path) -> None:
    data = weights.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])

    about = json.loads(header["__metadata__"]["celebahq-restorer"])

    def changed(**values: object) -> bytes:
        text = json.dumps(header | {"__metadata__": {"celebahq-restorer": json.dumps(about | values)}}).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    huge = {"scale": 1, "fold": 2, "channels": [100_000], "blocks": [1]}
    wide = {"scale": 1, "fold": 2, "channels": [8, 12, 24], "blocks": [1, 1, 1]}
    for bad, message in (
        (b"", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        (data[:-10], "damaged"),
        (changed(format=9), "expected weights of format 1, found 9"),
        (changed(task="dream"), "task 'dream'"),
        (changed(network={}), "description of the network"),
        (changed(network=huge), "out of range"),
        (changed(network=wide), "another network"),
    ):
        with pytest.raises(FormatError, match=message):
            decode_model(bad, name="net")
    infinite = replace(model_of(SMALL), state={k: v * float("inf") for k, v in model_of(SMALL).state.items()})
    with pytest.raises(FormatError, match="not finite"):
        decode_model(encode_model(infinite), name="net")


def test_weights_that_change_meanwhile_are_refused(weights: Path) -> None:
    restorer = open_restorer(RestorerConfig(name="ours", weights=weights))
    weights.write_bytes(encode_model(model_of(SMALL, gain=2.0)))
    with pytest.raises(FormatError, match="when the work began"):
        restorer.restore(noise(16, 16))
    with pytest.raises(MissingDependencyError, match="no such weights file"):
        open_restorer(RestorerConfig(name="ours", weights=weights.with_name("absent.safetensors")))


def test_named_restorers(weights: Path, tmp_path: Path) -> None:
    assert named_restorer("ours") == ("ours", None)
    assert named_restorer("none") == ("none", None)
    assert named_restorer(str(weights)) == ("ours", weights)
    other = tmp_path / "other.safetensors"
    other.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert named_restorer(str(other)) == ("spandrel", other)
    with pytest.raises(UsageError, match="expected ours, realesrgan, none, or a file of weights"):
        named_restorer("waifu")


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda model: model.task)
def test_shipped_weights(shipped: object, photo: Pixels) -> None:
    model = shipped_model(shipped.task)  # type: ignore[attr-defined]
    data = read_shipped(model)
    assert hashlib.sha256(data).hexdigest() == model.sha256
    assert len(data) < MAX_FILE_BYTES
    with pytest.raises(FormatError, match="damaged: expected sha256"):
        read_shipped(replace(model, sha256="0" * 64))
    with pytest.raises(MissingDependencyError, match="install celebahq-tools again"):
        read_shipped(replace(model, file="absent.safetensors"))

    restorer = open_restorer(RestorerConfig(name="ours", task=model.task, precision="fp32"))  # type: ignore[arg-type]
    stamp = restorer.stamp()
    assert (stamp.name, stamp.weights_sha256) == ("ours", model.sha256)
    assert stamp.version.startswith(f"{model.task}-")
    restored = restorer.restore(noise(20, 24))
    again = pickle.loads(pickle.dumps(restorer))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(again.restore(noise(20, 24)), restored)

    # Gains on a picture that was not trained on; the full figures are in docs/restoration.md.
    original = centre(photo, 256, 32)
    case, least = {"jpeg": ("q30", 0.4), "sr4": ("bicubic", 0.3), "joint": ("bicubic-q75", 0.3)}[model.task]
    poor = damaged(original, case)
    after = restorer.restore(poor)
    assert psnr(after, original) - psnr(plain(poor, restorer.scale), original) > least
    # Restoring leaves what the source shows, and what compression changed comes nearer to what it was.
    undamaged = original if restorer.scale == 1 else shrink4(original, "bicubic")
    assert drift(undamaged, after) < max(3, drift(undamaged, poor))


def test_unknown_task_has_no_weights() -> None:
    with pytest.raises(UsageError, match="no weights for the task 'paint'"):
        shipped_model("paint")


def test_network_sizes_are_checked() -> None:
    for wrong in ({"scale": 3}, {"channels": ()}, {"blocks": (1,)}, {"channels": (8, 0, 8)}, {"blocks": (1, -1, 1)}):
        with pytest.raises(CelebAHQError, match="network"):
            replace(SMALL, **wrong)  # type: ignore[arg-type]


def test_drift_sees_colour_and_shape_but_not_detail(photo: Pixels) -> None:
    source = centre(photo, 192, 64)
    large = np.asarray(cv2.resize(source, (0, 0), fx=4, fy=4, interpolation=cv2.INTER_AREA), np.uint8)
    assert drift(source, large) < 0.5
    assert drift(source, source) == 0
    brighter = np.clip(large.astype(int) + 10, 0, 255).astype(np.uint8)
    assert 8 < drift(source, brighter) <= 10.1
    assert drift(source, np.roll(large, 40, axis=1)) > drift(source, jpeg(large, 50)) * 5


def test_measures_agree_with_the_metrics(photo: Pixels) -> None:
    original = centre(photo, 224, 32)
    assert original.shape[0] >= 192
    worse = jpeg(original, 20)
    assert psnr(original, original) == float("inf")
    flat = np.full((8, 8, 3), 10, np.uint8)
    assert psnr(flat, flat + 1) == pytest.approx(20 * np.log10(255))
    assert ms_ssim(original, original) == pytest.approx(1)
    first, second = (np.ascontiguousarray(p[:192, :192].transpose(2, 0, 1)) for p in (original, worse))
    ours = ms_ssim(np.ascontiguousarray(original[:192, :192]), np.ascontiguousarray(worse[:192, :192]))
    # The metric folds channels and scales in another order and keeps the border at each halving.
    assert ours == pytest.approx(ms_ssim_pair(first, second), abs=0.01)
    assert ours < 0.99
    with pytest.raises(UsageError, match="needs 176 pixels"):
        ms_ssim(flat, flat)
    with pytest.raises(UsageError, match="expected the same kind"):
        psnr(flat, flat[:4])
