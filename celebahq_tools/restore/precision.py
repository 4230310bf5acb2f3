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
BF16_MATRIX_FLAG = "amx_bf16"
"""Matrix tiles."""
BF16_DOT_FLAG, AMD = "avx512_bf16", "AuthenticAMD"
"""Dot products: twice as fast as float32 on AMD's processors, no faster on Intel's older ones (docs/restoration.md)."""


def cpu_has_fast_bf16(flags_file: Path = CPU_FLAGS_FILE) -> bool:
    """Whether the processor computes in bfloat16 faster than in float32 and torch's oneDNN can use it."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        lines = flags_file.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    by_amd = any(AMD in line.split() for line in lines if line.startswith("vendor_id"))
    return BF16_MATRIX_FLAG in flags or (by_amd and BF16_DOT_FLAG in flags)


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
    fast = torch.cuda.is_bf16_supported() if device == "cuda" else cpu_has_fast_bf16()
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
