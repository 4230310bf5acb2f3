"""A stored generator as an ONNX model, compared with the original before it gets its name.

Inputs z (N, L) float32 and, for conditional networks, labels, (N,) int64 classes or (N, K) float32 attributes or
standardised values; output images (N, 3, R, R) float32, nominally in [-1, 1]. N is free.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pgan.errors import ConfigError, MissingDependencyError, RunError
from pgan.generate import StoredGenerator, at_full_size
from pgan.grids import remove, write_error
from pgan.sampling import inputs_of, numbered_samples

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the range of the output."""

CHECK_BATCHES = (1, 3)
EXAMPLE_BATCH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """An exported model.

    max_abs_diff   largest difference between the two, over all checked pixels
    value_range    largest minus smallest output value of the original
    relative       their ratio
    checked        images compared
    """

    out: str
    network: str
    res: int
    latent: int
    label_size: int
    opset: int
    max_abs_diff: float
    value_range: float
    relative: float
    checked: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class FixedLod(nn.Module):
    """A generator at the level of detail it has grown to, at full size: z, labels -> images."""

    def __init__(self, generator: StoredGenerator) -> None:
        super().__init__()
        self.network = generator.network
        self.lod = generator.lod
        self.res = generator.config.network.res

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, L) float32, (N,) int64 -> (N, 3, R, R) float32."""
        return at_full_size(self.network(z, labels, self.lod), self.res)


def check_export_out(out: Path) -> None:
    """ConfigError for a name or place that is no ONNX file's, MissingDependencyError without the packages."""
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"{out}: expected a name that ends in .onnx")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out}: the folder {out.absolute().parent} does not exist; create it first")
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            __import__(name)
        except ImportError:
            raise MissingDependencyError(
                f"exporting needs {name}, which is not installed; `pip install 'celebahq-tools[pgan]'`"
            ) from None


def export_onnx(generator: StoredGenerator, out: Path) -> ExportReport:
    """Write `generator` (on the CPU) as ONNX to `.partial`, compare both, rename.

    Raises MissingDependencyError, and RunError when the outputs differ by more than TOLERANCE of their range; the
    file does not appear then.
    """
    check_export_out(out)
    import onnx

    module = FixedLod(generator).eval()
    partial = out.with_name(out.name + ".partial")
    try:
        model = _converted(generator, module)
        network = generator.config.network
        facts = {"res": network.res, "latent": network.latent, "label_size": network.label_size, "nimg": generator.nimg}
        onnx.helper.set_model_props(model, {name: str(value) for name, value in facts.items()})
        onnx.checker.check_model(model)
        partial.write_bytes(model.SerializeToString())
        difference, low, high = _compare(generator, module, partial)
        spread = high - low
        relative = difference / spread if spread > 0 else difference
        if not relative <= TOLERANCE:
            raise RunError(
                f"{out} is not written: its images differ from the network's by {difference:.3g}, which is "
                f"{relative:.3g} of their range, expected at most {TOLERANCE:g}"
            )
        partial.replace(out)
    except OSError as error:
        raise write_error(out, error) from None
    finally:
        remove(partial)
    return ExportReport(
        out=str(out),
        network=str(generator.path),
        res=network.res,
        latent=network.latent,
        label_size=network.label_size,
        opset=int(model.opset_import[0].version),
        max_abs_diff=difference,
        value_range=spread,
        relative=relative,
        checked=sum(CHECK_BATCHES),
    )


def _converted(generator: StoredGenerator, module: nn.Module) -> Any:
    """The model as an onnx.ModelProto with a free batch size."""
    z, labels = inputs_of(generator, list(numbered_samples(0, EXAMPLE_BATCH)), None)
    inputs = (z,) if labels is None else (z, labels)
    batch = torch.export.Dim("batch", min=1)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            verbose=False,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            input_names=["z", "labels"][: len(inputs)],
            output_names=["images"],
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on its own dependencies, which the user can do nothing about."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _compare(generator: StoredGenerator, module: nn.Module, path: Path) -> tuple[float, float, float]:
    """Largest difference, and the original's smallest and largest value."""
    import onnxruntime  # type: ignore[import-untyped, unused-ignore]

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences, lows, highs = [], [], []
    first = 0
    for count in CHECK_BATCHES:
        samples = list(numbered_samples(1, first + count))[first:]
        first += count
        z, labels = inputs_of(generator, samples, None)
        with torch.no_grad():
            expected = module(z, labels).float().numpy()
        feeds = {"z": z.numpy()} if labels is None else {"z": z.numpy(), "labels": labels.numpy()}
        found = session.run(["images"], feeds)[0]
        if found.shape != expected.shape:
            raise RunError(f"the exported model makes {found.shape}, expected {expected.shape}")
        differences.append(float(np.abs(found - expected).max()))
        lows.append(float(expected.min()))
        highs.append(float(expected.max()))
    return float(np.max(differences)), min(lows), max(highs)
