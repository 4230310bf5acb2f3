"""Our own networks as restorers: removal of JPEG artifacts, four times enlargement, or both in one pass.

Legend: pixels (H, W, 3) uint8 [0, 255] RGB in, (s h, s w, 3) uint8 out; tensors (1, C, H, W) channels-last.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from celebahq_tools.errors import FormatError
from celebahq_tools.restore import settled_config
from celebahq_tools.restore.base import Box, Pixels, RestorerConfig, RestorerStamp, checked_box
from celebahq_tools.restore.modelfile import Model, decode_model, read_model_bytes
from celebahq_tools.restore.networks import RestoreNetwork, TaskName
from celebahq_tools.restore.precision import inference, resolve_device, resolve_precision
from celebahq_tools.restore.shipped import read_shipped, shipped_model
from celebahq_tools.restore.tiles import Window, windows

LICENCE = "Apache-2.0"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class OursRestorer:
    """Restores with one of our networks, piece by piece.

    Pieces overlap by the whole reach of the network and begin on its grid, so that they change nothing but the
    rounding of sums.
    """

    name = "ours"

    def __init__(self, config: RestorerConfig) -> None:
        self.config = settled_config(config)
        self._device = resolve_device(self.config.device)
        self._precision = resolve_precision(self.config.precision, self._device)
        data, self._where = self._bytes()
        model = decode_model(data, name=self._where)
        self._sha256 = hashlib.sha256(data).hexdigest()
        self.task: TaskName = model.task
        self._version = model.version
        self.scale = model.network.scale
        self.context = model.network.reach_px
        self._grid = model.network.grid
        self._network: RestoreNetwork | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_network": None}

    def _bytes(self) -> tuple[bytes, str]:
        if self.config.weights is not None:
            path = Path(self.config.weights).expanduser().absolute()
            return read_model_bytes(path), str(path)
        shipped = shipped_model(self.config.task)
        return read_shipped(shipped), shipped.file

    def stamp(self) -> RestorerStamp:
        """Task and version of the network, sha256 of the weights, precision, device."""
        return RestorerStamp(
            name=self.name,
            version=f"{self.task}-{self._version}",
            weights_sha256=self._sha256,
            precision=self._precision,
            tile=self.config.tile,
            device=self._device,
            licence=LICENCE,
        )

    def _loaded(self) -> RestoreNetwork:
        if self._network is None:
            data, where = self._bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 != self._sha256:
                raise FormatError(f"{where}: sha256 is {sha256}, but {self._sha256} when the work began")
            self._network = load_network(decode_model(data, name=where), self._device, DTYPES[self._precision])
        return self._network

    def restore(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """(H, W, 3) uint8 and a box -> (s * (y1 - y0), s * (x1 - x0), 3) uint8; see `Restorer.restore`."""
        x0, y0, x1, y1 = box = checked_box(pixels, box)
        network = self._loaded()
        s = self.scale
        restored: Pixels = np.empty((s * (y1 - y0), s * (x1 - x0), 3), dtype=np.uint8)
        with inference(self._device):
            for piece in windows((pixels.shape[0], pixels.shape[1]), box, tile=self.config.tile, halo=self.context):
                left, top, right, bottom = piece.core
                target = restored[s * (top - y0) : s * (bottom - y0), s * (left - x0) : s * (right - x0)]
                self._restore_piece(network, pixels, piece, target)
        return restored

    def _restore_piece(self, network: RestoreNetwork, pixels: Pixels, piece: Window, target: Pixels) -> None:
        """Fill `target`, (s h, s w, 3) uint8, with the restored core of the piece."""
        left, top, right, bottom = piece.read
        # Blocks of JPEG compression and the network's squares of pixels both count from the picture's corner.
        left, top = left // self._grid * self._grid, top // self._grid * self._grid
        part = torch.from_numpy(pixels[top:bottom, left:right].copy()).to(self._device)
        # HWC uint8 => NCHW float32 [0, 1]; the permuted view is channels-last already.
        x = part.permute(2, 0, 1)[None].to(torch.float32).div(255.0)
        result = network(padded(x, self._grid))
        rows, columns = Window(piece.core, (left, top, right, bottom)).inner(self.scale)
        target[:] = _to_pixels(result[:, :, rows, columns])


def load_network(model: Model, device: str, dtype: torch.dtype) -> RestoreNetwork:
    """The network of a model, ready to compute."""
    with torch.device("meta"):
        network = RestoreNetwork(model.network)
    network.load_state_dict(model.state, assign=True)
    network.to(device=device, dtype=dtype)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network.eval()


def padded(x: Tensor, grid: int) -> Tensor:
    """(1, C, H, W) continued by its last row and column to multiples of `grid`."""
    height, width = x.shape[2:]
    below, right = -height % grid, -width % grid
    return functional.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def _to_pixels(image: Tensor) -> Pixels:
    """(1, 3, H, W) float32 => (H, W, 3) uint8, rounded half to even and clipped."""
    levels = image[0].permute(1, 2, 0).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    pixels: Pixels = levels.cpu().numpy()
    return pixels
