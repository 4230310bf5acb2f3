"""What a command that runs a feature network would do, and what that would cost."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from metrics.errors import WeightsError
from metrics.extractors.base import Extractor, check_layers
from metrics.feature_inputs import FeatureConfig, describe, make_extractor, needed_layers, open_side
from metrics.sources import ImageSet

BASE_BYTES = 700 << 20
"""The libraries, the network and its activations for a batch of 16."""
INPUT_BYTES = 3 * 299 * 299 * 4
FLOAT_BYTES = 4


def plan_features(
    metric: str,
    paths: Mapping[str, str],
    config: FeatureConfig,
    *,
    needs: Sequence[str],
    layers: Sequence[str] | None = None,
    statistics: bool = False,
    check: Callable[[Mapping[str, int]], None] | None = None,
) -> dict[str, Any]:
    """Sets, layers, estimated seconds (by passing one batch; None without weights) and peak bytes, as JSON.

    Raises what the command itself would raise before its first pass. Nothing is downloaded.
    """
    with ExitStack() as stack:
        sets: dict[str, Any] = {}
        to_pass: dict[str, tuple[ImageSet, int]] = {}
        for role, path in paths.items():
            item = open_side(path, role, config, statistics=statistics)
            sets[role] = describe(item, config.count(role))
            if isinstance(item, ImageSet):
                stack.enter_context(item)
                to_pass[role] = item, sets[role]["n"]
        if check is not None:
            check({role: stamp["n"] for role, stamp in sets.items()})
        plain: dict[str, Any] = {
            "metric": metric,
            "extractor": config.extractor,
            "resize": config.resize,
            "precision": config.precision,
            "device": config.device,
            "batch": config.batch,
            "seed": config.seed,
            "sets": sets,
            "layers": None if layers is None else list(layers),
            "seconds": 0.0,
            "memory_bytes": BASE_BYTES,
            "disk_bytes": 0,
            "note": None,
        }
        if to_pass:
            _estimate(plain, to_pass, config, needs, layers)
        return plain


def plan_text(plain: Mapping[str, Any]) -> str:
    """The plan for people."""
    lines = []
    for role, stamp in plain["sets"].items():
        lines.append(f"{role}: {stamp['label']} ({stamp['kind']}), {stamp['n']} images")
    seconds = plain["seconds"]
    when = "time unknown" if seconds is None else f"about {seconds:.0f} s in the network"
    lines.append(
        f"would compute {plain['metric']} with {plain['extractor']}: {when}, "
        f"{plain['memory_bytes'] / (1 << 30):.1f} GiB memory, no temporary disk space"
    )
    if plain["note"]:
        lines.append(plain["note"])
    return "\n".join(lines)


def _estimate(
    plain: dict[str, Any],
    to_pass: Mapping[str, tuple[ImageSet, int]],
    config: FeatureConfig,
    needs: Sequence[str],
    layers: Sequence[str] | None,
) -> None:
    try:
        extractor = make_extractor(replace(config, download=False))
    except WeightsError as error:
        plain["seconds"], plain["note"] = None, str(error)
        return
    names = needed_layers(extractor, config, needs) if layers is None else tuple(layers)
    check_layers(extractor, frozenset(names))
    plain["layers"] = list(names)
    width = sum(extractor.layers[name] for name in names)
    for images, n in to_pass.values():
        image_bytes = 3 * images.res**2 + INPUT_BYTES
        plain["memory_bytes"] += n * width * FLOAT_BYTES
        plain["memory_bytes"] += (config.workers + 2) * config.batch * image_bytes
        plain["seconds"] += _probe(images, extractor, names, min(config.batch, n)) * n
    plain["seconds"] = round(plain["seconds"], 1)


def _probe(images: ImageSet, extractor: Extractor, layers: Sequence[str], batch: int) -> float:
    """Seconds per image, of the slower of reading and network, over one batch after another to warm up."""
    wanted = frozenset(layers)
    indices = list(range(batch))
    started = time.perf_counter()
    prepared = extractor.prepare(images.read(indices))
    reading = time.perf_counter() - started
    extractor.run(prepared, wanted)
    started = time.perf_counter()
    extractor.run(prepared, wanted)
    return max(time.perf_counter() - started, reading) / batch
