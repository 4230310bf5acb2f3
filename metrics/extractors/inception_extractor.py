"""The FID Inception as an extractor: weights, resize, precision, device."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metrics.errors import UsageError
from metrics.extractors.base import ExtractorStamp, Features, Precision, ProgressFn
from metrics.extractors.inception import INPUT_SIZE, LAYER_WIDTHS, FIDInception
from metrics.resize import ResizeMode, resize, resize_legacy_on_device
from metrics.weights import INCEPTION_2015, WeightsBytes, load_state_dict, read_weights

NAME = "inception-2015"


class InceptionExtractor:
    """FIDInception with its weights. On CUDA, TF32 is off and only deterministic kernels are used."""

    def __init__(
        self,
        weights: WeightsBytes,
        *,
        resize: ResizeMode,
        precision: Precision,
        device: torch.device,
        threads: int | None = None,
    ) -> None:
        network = FIDInception()
        network.load_state_dict(load_state_dict(weights, network.state_dict()))
        network.prepare_for_inference(torch.bfloat16 if precision == "bf16" else torch.float32)
        self._network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._torch_device = device
        self.device = str(device)
        self._resize: ResizeMode = resize
        self._threads = threads
        self.layers = LAYER_WIDTHS
        self.feature_layer = "2048"
        self.logit_layer: str | None = "logits_unbiased"
        self.stamp = ExtractorStamp(
            name=NAME,
            weights_sha256=weights.sha256,
            standard=weights.standard,
            resize=resize,
            precision=precision,
        )

    @property
    def _resizes_on_device(self) -> bool:
        return self._torch_device.type != "cpu" and self._resize == "legacy-tensorflow"

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """(N, 3, 299, 299) float32 [0, 255]; on an accelerator the uint8 images, which it resizes itself."""
        return images if self._resizes_on_device else resize(images, INPUT_SIZE, self._resize)

    def run(self, prepared: NDArray[Any], layers: frozenset[str]) -> dict[str, Features]:
        """The named layers of prepared images, each (N, D) float32."""
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with (
                torch.inference_mode(),
                torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            ):
                pixels = torch.from_numpy(prepared).to(self._torch_device)
                if self._resizes_on_device:
                    pixels = resize_legacy_on_device(pixels, INPUT_SIZE)
                pixels = pixels.contiguous(memory_format=torch.channels_last)
                found = self._network(pixels, layers)
                return {name: value.float().cpu().numpy() for name, value in found.items()}
        finally:
            torch.set_float32_matmul_precision(precision)


@contextmanager
def _exact_arithmetic(threads: int | None) -> Iterator[None]:
    """No TF32, deterministic kernels, `threads` threads; the process's own settings come back after."""
    precision, before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("highest")
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        if threads is not None and threads != before:
            torch.set_num_threads(before)


def open_inception(
    *,
    weights: Path | None,
    resize: ResizeMode,
    precision: Precision,
    device: str,
    threads: int | None = None,
    download: bool,
    progress: ProgressFn | None,
) -> InceptionExtractor:
    """The network with the file at `weights`, or with the published one from the cache or the network."""
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UsageError(f"device {device!r} is unknown; use cpu or cuda") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available here; use --device cpu")
    found = read_weights(INCEPTION_2015, weights, download=download, progress=progress)
    return InceptionExtractor(found, resize=resize, precision=precision, device=chosen, threads=threads)
