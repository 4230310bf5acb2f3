"""Feature networks: `inception-2015`, `onnx:PATH`, `tiny`, or any callable of one's own.

extractor = open_extractor("inception-2015")
features = extractor.run(extractor.prepare(images), frozenset({"2048"}))["2048"]
"""

from pathlib import Path

from metrics.errors import UsageError
from metrics.extractors.base import CallableExtractor, Extractor, ExtractorStamp, Precision, ProgressFn
from metrics.resize import RESIZE_MODES, ResizeMode

__all__ = ["INCEPTION_NAME", "TINY_NAME", "CallableExtractor", "Extractor", "ExtractorStamp", "open_extractor"]

INCEPTION_NAME = "inception-2015"
TINY_NAME = "tiny"
ONNX_PREFIX = "onnx:"
DEFAULT_RESIZE: ResizeMode = "legacy-tensorflow"


def open_extractor(
    name: str,
    *,
    weights: Path | None = None,
    resize: ResizeMode | None = None,
    precision: Precision = "fp32",
    device: str = "cpu",
    input_range: str | None = None,
    threads: int | None = None,
    download: bool = True,
    progress: ProgressFn | None = None,
) -> Extractor:
    """The named extractor, its weights loaded.

    name         'inception-2015', 'tiny' or 'onnx:PATH'
    weights      a .pth for inception-2015; None: the cache, filled by a download when `download`
    resize       'legacy-tensorflow' (default) or 'clean', for networks of a fixed input size
    precision    'fp32', or 'bf16' for inception-2015: faster on CPUs that have it, and marked in results
    device       torch device of inception-2015
    input_range  'LOW:HIGH', the scale an ONNX network with float input expects; default 0:255
    threads      of the network on the CPU; None: what torch or onnxruntime choose
    progress     called with bytes done and total while weights are downloaded

    Raises UsageError for names and options that do not fit, WeightsError for unusable weights.
    """
    if resize is not None and resize not in RESIZE_MODES:
        raise UsageError(f"resize {resize!r} is unknown; choose one of {', '.join(RESIZE_MODES)}")
    is_onnx = name.startswith(ONNX_PREFIX)
    if not is_onnx and input_range is not None:
        raise UsageError(f"an input range is for {ONNX_PREFIX}PATH, not for {name}")
    if name != INCEPTION_NAME:
        for option, given in (("--weights", weights is not None), ("--precision", precision != "fp32")):
            if given:
                raise UsageError(f"{option} is for {INCEPTION_NAME}, not for {name}")
    if name == INCEPTION_NAME:
        from metrics.extractors.inception_extractor import open_inception

        return open_inception(
            weights=weights,
            resize=resize or DEFAULT_RESIZE,
            precision=precision,
            device=device,
            threads=threads,
            download=download,
            progress=progress,
        )
    if name == TINY_NAME:
        from metrics.extractors.tiny import TinyExtractor

        if resize is not None:
            raise UsageError(f"{TINY_NAME} has its own exact resize; --resize is for other extractors")
        return TinyExtractor()
    if is_onnx:
        from metrics.extractors.onnx import open_onnx

        return open_onnx(
            Path(name.removeprefix(ONNX_PREFIX)),
            resize=resize or DEFAULT_RESIZE,
            input_range=input_range or "0:255",
            threads=threads,
        )
    raise UsageError(f"extractor {name!r} is unknown; choose {INCEPTION_NAME}, {TINY_NAME} or {ONNX_PREFIX}PATH")
