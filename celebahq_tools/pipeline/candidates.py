"""What the survey finds and the selection numbers: candidates, rejects, and the plan that gives each its slot.

Legend: quad is (4, 2): the corners top-left, bottom-left, bottom-right, top-right of the crop in source pixels.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from celebahq_tools.deltas import OfficialRow

Point = tuple[float, float]
PLAIN_FIELDS = (
    "quad",
    "landmarks",
    "quality",
    "identity",
    "attributes",
    "partition",
    "label",
    "vector",
    "position",
    "restored_share",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One image to be. Plain values only, so that it goes through JSON and between processes unchanged.

    label           class number
    vector          continuous labels
    position        where the image is in its file: a number or an offset, as its format has it
    restored_share  part of the picture's pixels that a restorer has to compute for this item
    """

    key: str
    file: str
    quad: tuple[Point, ...] | None = None
    landmarks: tuple[Point, ...] | None = None
    quality: float | None = None
    identity: int | None = None
    attributes: tuple[int, ...] | None = None
    partition: int | None = None
    label: int | None = None
    vector: tuple[float, ...] | None = None
    position: int | None = None
    restored_share: float | None = None
    official: OfficialRow | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields that are set."""
        values: dict[str, Any] = {"key": self.key, "file": self.file}
        for name in PLAIN_FIELDS:
            value = getattr(self, name)
            if value is not None:
                values[name] = value
        if self.official is not None:
            values["official"] = asdict(self.official)
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Candidate":
        """The inverse of `to_json`."""
        official = values.get("official")
        return cls(
            key=values["key"],
            file=values["file"],
            quad=_points(values.get("quad")),
            landmarks=_points(values.get("landmarks")),
            quality=values.get("quality"),
            identity=values.get("identity"),
            attributes=None if values.get("attributes") is None else tuple(values["attributes"]),
            partition=values.get("partition"),
            label=values.get("label"),
            vector=None if values.get("vector") is None else tuple(values["vector"]),
            position=values.get("position"),
            restored_share=values.get("restored_share"),
            official=None if official is None else OfficialRow(**official),
        )


def _points(values: Sequence[Sequence[float]] | None) -> tuple[Point, ...] | None:
    return None if values is None else tuple((float(x), float(y)) for x, y in values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """One picture that does not become an image: a short stable reason and a line for people."""

    key: str
    file: str
    reason: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return {"key": self.key, "file": self.file, "reason": self.reason, "message": self.message}


NATURAL_PARTS = re.compile(r"(\d+)")


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `9.jpg` before `10.jpg` and is total: ties are broken by the text itself."""
    parts = tuple(
        (0, int(part), part) if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in NATURAL_PARTS.split(text)
        if part
    )
    return (*parts, (2, 0, text))


def select(candidates: Iterable[Candidate], keep: int | None) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates that get a slot, in slot order, and those left out by `keep`.

    The best `keep` by quality stay, ties going to the earlier key. The order is that of the official index
    where there is one, else the natural order of the keys; it does not depend on the order of arrival.
    """
    ordered = sorted(candidates, key=_slot_order)
    if keep is None or keep >= len(ordered):
        return ordered, []
    by_quality = sorted(range(len(ordered)), key=lambda place: (-(ordered[place].quality or 0.0), place))
    kept = set(by_quality[:keep])
    chosen = [candidate for place, candidate in enumerate(ordered) if place in kept]
    return chosen, [candidate for place, candidate in enumerate(ordered) if place not in kept]


def _slot_order(candidate: Candidate) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    idx = -1 if candidate.official is None else candidate.official.idx
    return idx, natural_key(candidate.key)


def plan_digest(config_digest: str, chosen: Sequence[Candidate], *lost: str) -> str:
    """Sha256 hex digest of a config and of which candidate has which slot; `lost` keys have none."""
    digest = hashlib.sha256(config_digest.encode())
    for key in lost:
        digest.update(b"lost " + key.encode("utf-8", "surrogateescape") + b"\n")
    for candidate in chosen:
        digest.update(json.dumps(candidate.to_json(), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
