"""Any network that `spandrel` can read, as a restorer. The package is optional: extra `[spandrel]`."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError
from celebahq_tools.restore import settled_config
from celebahq_tools.restore.base import Box, Pixels, RestorerConfig, RestorerStamp, checked_box
from celebahq_tools.restore.precision import inference, resolve_device
from celebahq_tools.restore.tiles import windows

# How far such a network looks is not known; what Real-ESRGAN needs was measured (docs/restoration.md).
CONTEXT_PX = 80
RGB = 3
DIGEST_BLOCK = 1 << 20


def _import_spandrel() -> Any:
    try:
        import spandrel
    except ImportError as error:
        raise MissingDependencyError(
            "weights that are not ours are read by the package spandrel, which is not there or not usable "
            f"({error}): pip install 'celebahq-tools[spandrel]', with the torchvision that fits your torch"
        ) from None
    return spandrel


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(DIGEST_BLOCK):
                digest.update(block)
    except OSError as error:
        raise MissingDependencyError(f"{path}: weights cannot be read: {error.strerror}") from None
    return digest.hexdigest()


class SpandrelRestorer:
    """Restores with a network read by spandrel, float32, in pieces with 80 pixels of context."""

    name = "spandrel"
    context = CONTEXT_PX

    def __init__(self, config: RestorerConfig) -> None:
        if config.weights is None:
            raise UsageError("the restorer spandrel needs a weights file")
        self.config = settled_config(config)
        if self.config.precision == "bf16":
            raise UsageError("the restorer spandrel computes in fp32 only: leave --precision away")
        self._device = resolve_device(self.config.device)
        self._path = Path(config.weights).expanduser().absolute()
        self._sha256 = _file_sha256(self._path)
        self._model: Any = None
        loaded = self._loaded()
        self.scale = int(loaded.scale)
        self._architecture = str(loaded.architecture.name)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_model": None}

    def stamp(self) -> RestorerStamp:
        """Architecture as spandrel names it, sha256 of the file."""
        return RestorerStamp(
            name=self.name,
            version=self._architecture,
            weights_sha256=self._sha256,
            precision="fp32",
            tile=self.config.tile,
            device=self._device,
            licence="unknown",
        )

    def _loaded(self) -> Any:
        if self._model is None:
            spandrel = _import_spandrel()
            if (sha256 := _file_sha256(self._path)) != self._sha256:
                raise FormatError(f"{self._path}: sha256 is {sha256}, but {self._sha256} when the work began")
            try:
                model = spandrel.ModelLoader(device=self._device).load_from_file(self._path)
            except Exception as error:  # spandrel and its readers raise many kinds
                raise FormatError(f"{self._path}: spandrel cannot read it ({type(error).__name__}: {error})") from None
            if not isinstance(model, spandrel.ImageModelDescriptor):
                raise FormatError(f"{self._path}: is no network from one picture to one picture")
            if (model.input_channels, model.output_channels) != (RGB, RGB) or model.scale < 1:
                raise FormatError(
                    f"{self._path}: takes {model.input_channels} channels, gives {model.output_channels} at scale "
                    f"{model.scale}: expected RGB to RGB, not smaller"
                )
            self._model = model.eval()
        return self._model

    def restore(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """(H, W, 3) uint8 and a box -> (s * (y1 - y0), s * (x1 - x0), 3) uint8; see `Restorer.restore`."""
        x0, y0, x1, y1 = box = checked_box(pixels, box)
        model = self._loaded()
        s = self.scale
        restored: Pixels = np.empty((s * (y1 - y0), s * (x1 - x0), 3), dtype=np.uint8)
        with inference(self._device):
            for piece in windows((pixels.shape[0], pixels.shape[1]), box, tile=self.config.tile, halo=self.context):
                left, top, right, bottom = piece.read
                part = torch.from_numpy(pixels[top:bottom, left:right].copy()).to(self._device)
                result = model(part.permute(2, 0, 1)[None].to(torch.float32).div(255.0))
                rows, columns = piece.inner(s)
                levels = result[0, :, rows, columns].permute(1, 2, 0).clamp(0, 1).mul(255).round().to(torch.uint8)
                x, y = s * (piece.core[0] - x0), s * (piece.core[1] - y0)
                restored[y : y + levels.shape[0], x : x + levels.shape[1]] = levels.cpu().numpy()
        return restored
