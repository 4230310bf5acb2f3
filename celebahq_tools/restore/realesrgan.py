"""Real-ESRGAN x4plus (Wang et al. 2021) as a restorer: JPEG artifacts, noise and blur removed, four times enlarged.

Legend: pixels (H, W, 3) uint8 [0, 255] RGB in, (4h, 4w, 3) uint8 out; tensors (1, C, H, W) channels-last.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError
from celebahq_tools.restore import settled_config
from celebahq_tools.restore.base import Box, Pixels, RestorerConfig, RestorerStamp, checked_box
from celebahq_tools.restore.precision import inference, resolve_device, resolve_precision
from celebahq_tools.restore.rrdbnet import ENLARGE_HALO, SCALE, X4PLUS, RRDBNet, RRDBNetConfig
from celebahq_tools.restore.rrdbnet_weights import State, read_ncnn, read_pth
from celebahq_tools.restore.tiles import Window, windows
from celebahq_tools.weights import REALESRGAN, Variant, entry_folder, find_variant, read_checked

NETWORK_VERSION = "x4plus"
# A border of missing pixels changes the result by at most one level beyond this distance, in float32 and on
# every picture tried (docs/restoration.md); the receptive field reaches 349 pixels.
CONTEXT_PX = 80
# Windows inside a piece, in pixels of the input; they change nothing in the result, only cache use and memory.
STAGE_TILE = {"cpu": 160, "cuda": 512}
ENLARGE_TILE = {"cpu": 96, "cuda": 256}
MAX_WEIGHTS_BYTES = 256 * 2**20

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where the weights come from: a pinned variant in the cache of each process's machine, or a file."""

    variant: Variant | None
    path: Path | None


@dataclass(frozen=True, slots=True)
class WeightsBytes:
    """The files as read; `param` is None for a `.pth`."""

    weights: bytes
    param: bytes | None
    name: str


def _read_limited(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_WEIGHTS_BYTES:
            raise FormatError(f"{path}: larger than {MAX_WEIGHTS_BYTES} bytes: not this network's weights")
        return path.read_bytes()
    except OSError as error:
        raise MissingDependencyError(f"{path}: weights cannot be read: {error.strerror}") from None


def weights_source(path: Path | None) -> WeightsSource:
    """What to read. MissingDependencyError when files are not there, UsageError for a file of another kind."""
    if path is None:
        variant, _ = find_variant(REALESRGAN)
        return WeightsSource(variant, None)
    path = path.expanduser().absolute()
    if path.suffix not in (".pth", ".param", ".bin"):
        raise UsageError(f"{path}: expected weights as .pth, or as .param and .bin side by side")
    wanted = [path] if path.suffix == ".pth" else [path.with_suffix(".param"), path.with_suffix(".bin")]
    for file in wanted:
        if not file.is_file():
            raise MissingDependencyError(f"{file}: no such weights file")
    return WeightsSource(None, path)


def read_weights(source: WeightsSource) -> WeightsBytes:
    """The bytes of the files; those in the cache are checked against their pinned sha256."""
    if source.variant is not None:
        folder = entry_folder(REALESRGAN)
        contents = {file.name: read_checked(folder, file) for file in source.variant.files}
        by_suffix = {Path(name).suffix: data for name, data in contents.items()}
        name = str(folder / Path(source.variant.files[0].name).stem)
    else:
        assert source.path is not None
        suffixes = (".pth",) if source.path.suffix == ".pth" else (".param", ".bin")
        by_suffix = {suffix: _read_limited(source.path.with_suffix(suffix)) for suffix in suffixes}
        name = str(source.path.with_suffix(""))
    if ".pth" in by_suffix:
        return WeightsBytes(by_suffix[".pth"], None, f"{name}.pth")
    return WeightsBytes(by_suffix[".bin"], by_suffix[".param"], name)


def parse_weights(read: WeightsBytes, network: RRDBNetConfig) -> State:
    """The network's state; FormatError when the files hold anything else."""
    if read.param is None:
        return read_pth(read.weights, network, name=read.name)
    return read_ncnn(read.param, read.weights, network, name=read.name)


class RealESRGANRestorer:
    """Restores with RRDBNet, piece by piece.

    A box of at most `config.tile` pixels a side is one piece: the result has no seams, bit for bit. Larger boxes are
    cut into equal pieces, each computed with `context` pixels around it. The pieces are a fixed function of the
    box. Memory is bounded by the piece, not by the picture.
    """

    name = "realesrgan"
    scale = SCALE

    def __init__(self, config: RestorerConfig, network: RRDBNetConfig = X4PLUS) -> None:
        # Settled here, so that a copy sent to another machine computes the same way there.
        self.config = settled_config(config)
        self._device = resolve_device(self.config.device)
        self._precision = resolve_precision(self.config.precision, self._device)
        self.context = min(CONTEXT_PX, network.reach_px)
        self._network_config = network
        self._source = weights_source(config.weights)
        self._sha256: str | None = None
        self._network: RRDBNet | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_network": None}

    def stamp(self) -> RestorerStamp:
        """Network, sha256 of the weights, precision, device; reads a weights file given by path."""
        if self._sha256 is None:
            self._sha256 = self._weights_sha256()
        return RestorerStamp(
            name=self.name,
            version=NETWORK_VERSION,
            weights_sha256=self._sha256,
            precision=self._precision,
            tile=self.config.tile,
            device=self._device,
            licence=REALESRGAN.licence,
        )

    def _weights_sha256(self) -> str:
        if self._source.variant is not None:
            return self._source.variant.files[-1].sha256
        return hashlib.sha256(read_weights(self._source).weights).hexdigest()

    def _loaded(self) -> RRDBNet:
        if self._network is None:
            read = read_weights(self._source)
            sha256 = hashlib.sha256(read.weights).hexdigest()
            if self._sha256 not in (None, sha256):
                raise FormatError(f"{read.name}: sha256 is {sha256}, but {self._sha256} when the work began")
            with torch.device("meta"):
                network = RRDBNet(self._network_config)
            network.load_state_dict(parse_weights(read, self._network_config), assign=True)
            network.to(self._device)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
            network.set_precision(DTYPES[self._precision])
            self._network = network.eval()
            self._sha256 = sha256
        return self._network

    def restore(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """(H, W, 3) uint8 and a box -> (4 * (y1 - y0), 4 * (x1 - x0), 3) uint8; see `Restorer.restore`."""
        x0, y0, x1, y1 = box = checked_box(pixels, box)
        network = self._loaded()
        height, width = pixels.shape[:2]
        restored: Pixels = np.empty((SCALE * (y1 - y0), SCALE * (x1 - x0), 3), dtype=np.uint8)
        with inference(self._device):
            for piece in windows((height, width), box, tile=self.config.tile, halo=self.context):
                left, top, right, bottom = piece.core
                target = restored[
                    SCALE * (top - y0) : SCALE * (bottom - y0), SCALE * (left - x0) : SCALE * (right - x0)
                ]
                self._restore_piece(network, pixels, piece, target)
        return restored

    def _restore_piece(self, network: RRDBNet, pixels: Pixels, piece: Window, target: Pixels) -> None:
        """Fill `target`, (4h, 4w, 3) uint8, with the restored core of the piece."""
        left, top, right, bottom = piece.read
        part = torch.from_numpy(pixels[top:bottom, left:right].copy()).to(self._device)
        # HWC uint8 => NCHW float32 [0, 1]; the permuted view is channels-last already.
        x = part.permute(2, 0, 1)[None].to(torch.float32).div(255.0)
        features = network.features(x, tile=STAGE_TILE[self._device])
        rows, columns = piece.inner(1)
        core = (columns.start, rows.start, columns.stop, rows.stop)
        shape = (features.shape[2], features.shape[3])
        for window in windows(shape, core, tile=ENLARGE_TILE[self._device], halo=ENLARGE_HALO):
            x0, y0, x1, y1 = window.read
            read = features[:, :, y0:y1, x0:x1].contiguous(memory_format=torch.channels_last)
            inner_rows, inner_columns = window.inner(SCALE)
            done = _to_pixels(network.enlarge(read)[:, :, inner_rows, inner_columns])
            row, column = SCALE * (window.core[1] - core[1]), SCALE * (window.core[0] - core[0])
            target[row : row + done.shape[0], column : column + done.shape[1]] = done


def _to_pixels(image: Tensor) -> Pixels:
    """(1, 3, H, W) float32 => (H, W, 3) uint8, rounded half to even and clipped."""
    levels = image[0].permute(1, 2, 0).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    pixels: Pixels = levels.cpu().numpy()
    return pixels
