"""Where and in which number format the networks compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from celebahq_tools.errors import UsageError
from celebahq_tools.restore.base import DeviceName, PrecisionName

Precision = Literal["fp32", "bf16"]
Device = Literal["cpu", "cuda"]

CPU_FLAGS_FILE = Path("/proc/cpuinfo")
# Matrix tiles. The older AVX512_BF16 dot products were measured to be no faster than float32 (docs/restoration.md).
BF16_MATRIX_FLAG = "amx_bf16"


def cpu_has_bf16_matrices(flags_file: Path = CPU_FLAGS_FILE) -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware and torch's oneDNN can use it."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        lines = flags_file.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(BF16_MATRIX_FLAG in line.split() for line in lines if line.startswith("flags"))


def resolve_device(wanted: DeviceName) -> Device:
    """'auto' settled; UsageError when CUDA is asked for and there is none."""
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError(
            "restorer device is cuda, but torch sees no CUDA device: use cpu, or install a CUDA build of torch"
        )
    return "cpu"


def resolve_precision(wanted: PrecisionName, device: Device) -> Precision:
    """'auto' settled: bf16 where hardware for it was found."""
    if wanted != "auto":
        return wanted
    fast = torch.cuda.is_bf16_supported() if device == "cuda" else cpu_has_bf16_matrices()
    return "bf16" if fast else "fp32"


@contextmanager
def inference(device: Device) -> Iterator[None]:
    """No gradients; on CUDA also no TF32 and no algorithms picked by timing, so that results repeat."""
    with torch.inference_mode():
        if device == "cpu":
            yield
            return
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
