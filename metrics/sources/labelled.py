"""The images of a pyramid that have certain labels, as a set of their own: `FILE.h5::class=cat,Male=1`."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metrics.errors import EmptySelectionError, ImageSetError
from metrics.sources.base import ImageSet

if TYPE_CHECKING:
    from celebahq_tools.store import PyramidReader

CLASS, PART, IDENTITY = "class", "part", "identity"
PARTS = ("train", "validation", "test")
SIGNS = (">=", "<=", "=")
NAMES_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One part of a selection: a label, '=', '>=' or '<=', and a value as written."""

    name: str
    sign: str
    value: str


def parse_where(text: str) -> tuple[Condition, ...]:
    """'class=cat,Male=1,age>=30' -> its conditions, all of which must hold. Raises ImageSetError."""
    found = []
    for part in text.split(","):
        sign = next((sign for sign in SIGNS if sign in part), None)
        name, _, value = part.partition(sign) if sign else ("", "", "")
        if sign is None or not name.strip() or not value.strip():
            raise ImageSetError(
                f"{text!r} selects nothing: write NAME=VALUE (NAME>=VALUE and <= for continuous labels), by commas"
            )
        found.append(Condition(name=name.strip(), sign=sign, value=value.strip()))
    return tuple(found)


class LabelledImages(ImageSet):
    """Images `numbers` of a pyramid; its fingerprint names the file and the images."""

    def __init__(self, whole: ImageSet, numbers: NDArray[np.int64], where: str) -> None:
        self.whole, self.where, self._numbers = whole, where, numbers
        self.label, self.kind = f"{whole.label}::{where}", whole.kind
        self.res, self.resizer, self.threads = whole.res, whole.resizer, whole.threads
        self.n = len(numbers)

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order."""
        return self.whole.read(self._numbers[np.asarray(indices)])

    def _fingerprint(self) -> str:
        digest = sha256(f"{self.whole.fingerprint} images ".encode())
        digest.update(self._numbers.astype("<i8").tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Close the pyramid."""
        self.whole.close()


def with_labels(whole: ImageSet, reader: "PyramidReader", text: str) -> LabelledImages:
    """The images of a pyramid for which all conditions hold. Raises ImageSetError when there are none."""
    chosen = np.ones(len(reader), np.bool_)
    words = []
    for condition in sorted(parse_where(text), key=lambda one: (one.name, one.sign, one.value)):
        holds, word = _holds(reader, condition)
        chosen &= holds
        words.append(word)
    numbers = np.flatnonzero(chosen)
    if not len(numbers):
        raise EmptySelectionError(f"{whole.label}: no image has {', '.join(words)}")
    return LabelledImages(whole, numbers, ",".join(words))


def class_names(reader: "PyramidReader") -> list[str]:
    """The classes of a pyramid that have images, by name, or number where they have none. Raises ImageSetError."""
    numbers = np.unique(_classes(reader))
    return [_class_name(reader, int(number)) for number in numbers if number >= 0]


def _holds(reader: "PyramidReader", condition: Condition) -> tuple[NDArray[np.bool_], str]:
    """(N,) whether an image fulfils the condition, and the condition in one way of writing it."""
    name, sign, value = condition.name, condition.sign, condition.value
    if name in reader.vector_names and reader.vectors is not None:
        return _compare(reader.vectors[:, reader.vector_names.index(name)], condition)
    if sign != "=":
        raise ImageSetError(f"{name}{sign}{value}: only continuous labels are compared; {_known(reader)}")
    if name in reader.attribute_names:
        if value not in ("0", "1", "-1"):
            raise ImageSetError(f"{name}={value}: an attribute is 1 or 0")
        wanted = 1 if value == "1" else -1
        column = reader.index.attributes[:, reader.attribute_names.index(name)]
        return column == wanted, f"{name}={int(value == '1')}"
    if name == CLASS:
        number = _class_number(reader, value)
        return _classes(reader) == number, f"{CLASS}={_class_name(reader, number)}"
    if name == PART and value in PARTS and reader.has_index:
        return reader.index.partition == PARTS.index(value), f"{PART}={value}"
    if name == IDENTITY and value.isdecimal() and reader.has_index:
        return reader.index.identity == int(value), f"{IDENTITY}={int(value)}"
    raise ImageSetError(f"{reader.path} has nothing called {name}={value}; {_known(reader)}")


def _compare(column: NDArray[np.float32], condition: Condition) -> tuple[NDArray[np.bool_], str]:
    try:
        limit = np.float32(condition.value)
    except ValueError:
        limit = np.float32(np.nan)
    if not np.isfinite(limit):
        raise ImageSetError(f"{condition.name}{condition.sign}{condition.value}: expected a number")
    word = f"{condition.name}{condition.sign}{float(limit):g}"
    if condition.sign == "=":
        return column == limit, word
    return (column >= limit if condition.sign == ">=" else column <= limit), word


def _classes(reader: "PyramidReader") -> NDArray[np.int64]:
    """(N,) class numbers, of one-hot labels too; -1 unknown."""
    labels = reader.labels
    if labels is None:
        raise ImageSetError(f"{reader.path} has no classes; {_known(reader)}")
    return np.asarray(labels.argmax(axis=1) if labels.ndim == 2 else labels, np.int64)


def _class_number(reader: "PyramidReader", value: str) -> int:
    classes = _classes(reader)
    if value in reader.label_names:
        return reader.label_names.index(value)
    if value.isdecimal() and int(value) <= max(int(classes.max()), len(reader.label_names) - 1):
        return int(value)
    raise ImageSetError(f"{reader.path} has no class {value!r}; {_known(reader)}")


def _class_name(reader: "PyramidReader", number: int) -> str:
    return reader.label_names[number] if number < len(reader.label_names) else str(number)


def _known(reader: "PyramidReader") -> str:
    names = [*(f"{CLASS}={name}" for name in reader.label_names), *reader.attribute_names, *reader.vector_names]
    if not names:
        return "its labels have no names" if reader.labels is not None else "it has no labels"
    return f"it has {', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''}"
