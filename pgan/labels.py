"""Labels that networks are conditioned on: one class, several attributes, or continuous values.

kind        in a pyramid                    as networks see them
class       `label`, (N,) whole numbers     (N,) int64; one-hot in G, softmax cross-entropy in D
attributes  `attributes`, (N, K), -1 or 1   (N, K) float32, 0 or 1; a logistic loss each in D
continuous  `vector`, (N, K) float32        (N, K) float32, standardised by the data's mean and deviation; squared error
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from celebahq_tools.store import PyramidReader
from pgan.config import ATTRIBUTES, CLASS, CONTINUOUS, Config, NetworkConfig
from pgan.draws import LABELS, TABLE, numpy_generator, sample_labels
from pgan.errors import ConfigError, DataError
from pgan.networks.conditioning import TABLE_ROWS

NAMES_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelInfo:
    """What labels a data set has of one kind.

    names  of the classes (may be empty), attributes or values
    """

    kind: str
    size: int
    names: tuple[str, ...]


def labels_in(reader: PyramidReader) -> tuple[LabelInfo, ...]:
    """The kinds of labels of a pyramid. Raises DataError if some images have a class and others have none."""
    found = []
    classes = _class_numbers(reader)
    if classes is not None:
        size = max(int(classes.max()) + 1, len(reader.label_names), _one_hot_width(reader))
        found.append(LabelInfo(kind=CLASS, size=size, names=reader.label_names))
    if reader.attribute_names and reader.index.attributes.any():
        names = reader.attribute_names
        found.append(LabelInfo(kind=ATTRIBUTES, size=len(names), names=names))
    vectors = _vectors(reader)
    if vectors is not None:
        names = reader.vector_names or tuple(str(column) for column in range(vectors.shape[1]))
        found.append(LabelInfo(kind=CONTINUOUS, size=len(names), names=names))
    return tuple(found)


def conditioned(network: NetworkConfig, info: LabelInfo | None, reader: PyramidReader) -> NetworkConfig:
    """The networks conditioned on these labels of a data set; None: on none. Raises DataError for gaps in them."""
    if info is None:
        return replace(network, label_size=0)
    scale: tuple[tuple[float, float], ...] = ()
    if info.kind == CONTINUOUS:
        values = _complete(_vectors(reader), info.names, reader).astype(np.float64)
        deviations = values.std(axis=0)
        deviations[deviations == 0] = 1.0
        scale = tuple(zip(values.mean(axis=0).tolist(), deviations.tolist(), strict=True))
    changed = replace(
        network, label_size=info.size, label_kind=info.kind, label_names=tuple(info.names), label_scale=scale
    )
    label_rows(reader, changed)
    return changed


def label_rows(reader: PyramidReader, network: NetworkConfig) -> NDArray[Any] | None:
    """Labels of all images as networks see them, (N,) int64 or (N, K) float32; None for unconditional networks.

    Raises DataError for images without one.
    """
    if not network.label_size:
        return None
    if network.label_kind == CLASS:
        return _class_numbers(reader)
    if network.label_kind == ATTRIBUTES:
        known = reader.index.attributes.astype(np.float32)
        known[known == 0] = np.nan
        present: NDArray[np.float32] = (_complete(known, network.label_names, reader) > 0).astype(np.float32)
        return present
    values = _complete(_vectors(reader), network.label_names, reader)
    mean, deviation = np.array(network.label_scale, np.float64).T
    standardised: NDArray[np.float32] = ((values - mean) / deviation).astype(np.float32)
    return standardised


def fill_tables(path: Path, config: Config, networks: Sequence[nn.Module]) -> None:
    """Give generators some label vectors of the pyramid at `path`, the same for all, for their samples."""
    tables = [table for table in map(label_table, networks) if table is not None]
    if not tables:
        return
    with PyramidReader(path) as reader:
        rows = label_rows(reader, config.network)
    assert rows is not None
    chosen = numpy_generator(config.train.seed, TABLE).integers(len(rows), size=TABLE_ROWS)
    for table in tables:
        table.copy_(torch.from_numpy(rows[chosen]))


def label_table(network: nn.Module) -> Tensor | None:
    """The label vectors a generator carries, (TABLE_ROWS, K); None for classes and unconditional networks."""
    table = getattr(network, "label_table", None)
    return table if isinstance(table, Tensor) else None


def draw_labels(network: NetworkConfig, table: Tensor | None, seed: int, numbers: list[int]) -> Tensor | None:
    """Labels of numbered samples: equally likely classes, or label vectors of the data; None: unconditional."""
    if not network.label_size or network.label_kind == CLASS:
        return sample_labels(seed, numbers, network.label_size)
    assert table is not None
    rows = [int(numpy_generator(seed, LABELS, number).integers(len(table))) for number in numbers]
    return table[rows].cpu()


def with_wish(network: NetworkConfig, labels: Tensor, wish: int | str, where: str) -> Tensor:
    """Labels (n, ...) with what is wished for put in: a class, or `NAME=VALUE,...` for some or all of the others.

    Raises ConfigError naming `where`, the network, for what it does not have.
    """
    labels = labels.clone()
    if network.label_kind == CLASS:
        labels[:] = _class_of(network, wish, where)
        return labels
    for column, value in _values_of(network, str(wish), where):
        if network.label_kind == CONTINUOUS:
            mean, deviation = network.label_scale[column]
            value = (value - mean) / deviation
        labels[:, column] = value
    return labels


def index_fields(network: NetworkConfig, label: Tensor | None) -> dict[str, Any]:
    """One image's label as fields of an `IndexRow`, in the units of the data."""
    if label is None:
        return {}
    if network.label_kind == CLASS:
        return {"label": int(label)}
    if network.label_kind == ATTRIBUTES:
        return {"attributes": tuple(1 if value > 0.5 else -1 for value in label.tolist())}
    mean, deviation = np.array(network.label_scale, np.float64).T
    return {"vector": tuple((label.double().numpy() * deviation + mean).tolist())}


def names_of(network: NetworkConfig) -> dict[str, tuple[str, ...]]:
    """The names of the labels as arguments of `create_pyramid`."""
    if network.label_kind == CLASS:
        return {"label_names": network.label_names or tuple(str(number) for number in range(network.label_size))}
    return {"attribute_names" if network.label_kind == ATTRIBUTES else "vector_names": network.label_names}


def _class_of(network: NetworkConfig, wish: int | str, where: str) -> int:
    if isinstance(wish, str) and wish in network.label_names:
        return network.label_names.index(wish)
    try:
        number = int(wish)
    except ValueError:
        raise ConfigError(f"{where} has no class {wish!r}; {_known(network.label_names)}") from None
    if not 0 <= number < network.label_size:
        raise ConfigError(f"{where} has classes 0..{network.label_size - 1}, asked for {number}")
    return number


def _values_of(network: NetworkConfig, wish: str, where: str) -> list[tuple[int, float]]:
    found = []
    for part in wish.split(","):
        name, sign, text = part.strip().rpartition("=")
        if not sign:
            raise ConfigError(f"{where} is conditioned on {network.label_kind}: write NAME=VALUE,..., not {wish!r}")
        if name not in network.label_names:
            raise ConfigError(f"{where} has no label {name!r}; {_known(network.label_names)}")
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value) or (network.label_kind == ATTRIBUTES and value not in (0, 1)):
            expected = "0 or 1" if network.label_kind == ATTRIBUTES else "a number"
            raise ConfigError(f"label {name} is {text!r}, expected {expected}")
        found.append((network.label_names.index(name), value))
    return found


def _known(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"it has {shown}{', ...' if len(names) > NAMES_SHOWN else ''}" if names else "its labels have no names"


def _class_numbers(reader: PyramidReader) -> NDArray[np.int64] | None:
    """(N,) class numbers; of the authors' (N, K) labels if they are one-hot."""
    labels = reader.labels
    if labels is None:
        return None
    if labels.ndim == 2:
        return np.asarray(labels.argmax(axis=1), np.int64) if _is_one_hot(labels) else None
    if labels.min() < 0:
        raise DataError(
            f"{reader.path}: image {int(labels.argmin())} has no label while others have; label all or none"
        )
    return labels.astype(np.int64)


def _is_one_hot(labels: NDArray[Any]) -> bool:
    return bool((((labels == 0) | (labels == 1)).all()) and (labels.sum(axis=1) == 1).all())


def _one_hot_width(reader: PyramidReader) -> int:
    labels = reader.labels
    return int(labels.shape[1]) if labels is not None and labels.ndim == 2 else 0


def _vectors(reader: PyramidReader) -> NDArray[np.float32] | None:
    """(N, K) continuous labels; those of the authors' files if they are no classes."""
    if reader.has_index:
        vectors = reader.vectors
        return None if vectors is None or np.isnan(vectors).all() else vectors
    labels = reader.labels
    return None if labels is None or labels.ndim != 2 or _is_one_hot(labels) else labels.astype(np.float32)


def _complete(values: NDArray[np.float32] | None, names: Sequence[str], reader: PyramidReader) -> NDArray[np.float32]:
    """The values if every image has all of them; DataError otherwise."""
    if values is None or values.shape[1] != len(names):
        raise DataError(f"{reader.path} does not have the labels {', '.join(names[:NAMES_SHOWN])}")
    missing = np.argwhere(~np.isfinite(values))
    if len(missing):
        image, column = missing[0].tolist()
        raise DataError(
            f"{reader.path}: image {image} has no value of {names[column]} while others have; "
            "label all, or use --labels none"
        )
    return values
