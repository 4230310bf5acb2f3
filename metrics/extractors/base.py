"""What every feature network offers, and the wrapper that makes one of any callable.

Legend: images (N, 3, R, R) uint8 [0, 255]; features (N, D) float32.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError, UsageError

Precision = Literal["fp32", "bf16"]
ProgressFn = Callable[[int, int], None]
Features = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractorStamp:
    """How results name a network: two values may be compared only when all of this is equal.

    name            'inception-2015', 'tiny', 'onnx', or the name given to a callable
    weights_sha256  of the weights file or of the generated weights; None for a callable
    standard        whether this is the network and file that published numbers were computed with
    resize          how images were brought to the network's input size
    input_range     scale of the network's input where it can differ, else None
    precision       arithmetic of the network
    """

    name: str
    weights_sha256: str | None
    standard: bool
    resize: str
    precision: Precision = "fp32"
    input_range: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dict in the order of the fields."""
        return {name: getattr(self, name) for name in self.__slots__}


class Extractor(Protocol):
    """A feature network. `prepare` may run in several threads at once, `run` in one.

    layers         {name: D} of what `run` can give
    feature_layer  the layer of FID, KID, precision and recall
    logit_layer    the layer of the inception score, or None if the network has no classes
    """

    @property
    def stamp(self) -> ExtractorStamp:
        """How results name this network."""
        ...

    @property
    def layers(self) -> Mapping[str, int]:
        """Names and widths of the layers."""
        ...

    @property
    def feature_layer(self) -> str:
        """Layer of FID, KID, precision and recall."""
        ...

    @property
    def logit_layer(self) -> str | None:
        """Layer of the inception score."""
        ...

    @property
    def device(self) -> str:
        """Where `run` computes."""
        ...

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Resize (N, 3, R, R) uint8 to the network's input; work that can be done ahead in workers."""
        ...

    def run(self, prepared: NDArray[Any], layers: frozenset[str]) -> dict[str, Features]:
        """The named layers of prepared images, each (N, D) float32."""
        ...


class CallableExtractor:
    """Any `images (N, 3, R, R) uint8 -> (N, D)` as an extractor with one layer, named `features`."""

    LAYER = "features"

    def __init__(self, function: Callable[[NDArray[np.uint8]], Any], *, name: str, width: int) -> None:
        self._function = function
        self._width = width
        self.stamp = ExtractorStamp(name=name, weights_sha256=None, standard=False, resize="none")
        self.layers: Mapping[str, int] = {self.LAYER: width}
        self.feature_layer = self.LAYER
        self.logit_layer: str | None = None
        self.device = "cpu"

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """The images as they are."""
        return images

    def run(self, prepared: NDArray[Any], layers: frozenset[str]) -> dict[str, Features]:
        """{'features': (N, D) float32}; BatchError if the callable gives another shape."""
        found = np.asarray(self._function(prepared), dtype=np.float32)
        if found.shape != (len(prepared), self._width):
            raise BatchError(
                f"{self.stamp.name} gave shape {found.shape} for {len(prepared)} images, "
                f"expected ({len(prepared)}, {self._width})"
            )
        return {self.LAYER: found}


def check_layers(extractor: Extractor, layers: frozenset[str]) -> None:
    """UsageError, listing what there is, unless the extractor has all of `layers`."""
    unknown = sorted(layers - set(extractor.layers))
    if unknown or not layers:
        raise UsageError(
            f"extractor {extractor.stamp.name} has no layer {', '.join(unknown) or '(none named)'}; "
            f"it has {', '.join(extractor.layers)}"
        )
