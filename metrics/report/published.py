"""Values that papers printed, kept apart from everything that was measured."""

import json
from dataclasses import dataclass
from importlib import resources

PUBLISHED_NAME = "published.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One printed value, with where it stands.

    levels  per resolution, as printed; empty for metrics without
    where   table or section of the paper
    """

    metric: str
    paper: str
    where: str
    data: str
    model: str
    value: float
    levels: dict[str, float]
    note: str
    citation: str


def published(metrics: frozenset[str] | None = None) -> tuple[Published, ...]:
    """The printed values of the named metrics, or all."""
    plain = json.loads(resources.files("metrics.report").joinpath(PUBLISHED_NAME).read_text(encoding="utf-8"))
    papers = plain["papers"]
    found = []
    for entry in plain["values"]:
        if metrics is None or entry["metric"] in metrics:
            paper = papers[entry["paper"]]
            found.append(
                Published(
                    metric=entry["metric"],
                    paper=paper["short"],
                    citation=paper["citation"],
                    where=entry["where"],
                    data=entry["data"],
                    model=entry["model"],
                    value=entry["value"],
                    levels=entry.get("levels", {}),
                    note=entry.get("note", ""),
                )
            )
    return tuple(found)
