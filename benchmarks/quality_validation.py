"""Does damage lower the quality score? For each kind: mean change in bits, and the share that ranks below.

Run: python -m benchmarks.quality_validation [FOLDER ...] ; folders of photographs, halved before use so that their
own compression does not count. Without folders: the shipped sample, cropped at the resolution it has.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.degradations import all_damage
from benchmarks.record import Spread, write_results
from celebahq_tools.align import extract_crop, paper_quad, quad_side
from celebahq_tools.decode import decode_picture
from celebahq_tools.quality import quality_score
from celebahq_tools.sources import open_source

Pixels = NDArray[np.uint8]

SAMPLE = Path(__file__).parents[1] / "celebahq_tools" / "sample" / "celeba"
SMALLEST = 128
TIMED_RES = 1024


def originals(root: Path) -> Iterator[tuple[str, Pixels]]:
    """(name, (R, R, 3) uint8) of every picture of a source: faces cropped at their own resolution, or halved."""
    source = open_source(root)
    for file in source.files:
        pixels = decode_picture(source.reader.read(file), name=file)
        record = source.record(file)
        if record is not None and record.landmarks is not None:
            quad = paper_quad(record.landmarks)
            res = 2 ** int(math.log2(quad_side(quad)))
            yield file, np.ascontiguousarray(extract_crop(pixels, quad, res).transpose(1, 2, 0))
        elif min(pixels.shape[:2]) >= 2 * SMALLEST:
            yield file, _half_square(pixels)


def _half_square(pixels: Pixels) -> Pixels:
    height, width = (length // 2 for length in pixels.shape[:2])
    half = cv2.resize(pixels[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(half[top : top + side, left : left + side])


def score(pixels: Pixels) -> float:
    """The score of (R, R, 3) pixels."""
    return quality_score(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def validate(pictures: list[tuple[str, Pixels]]) -> list[dict[str, object]]:
    """One row per kind and strength of damage."""
    clean = [score(pixels) for _, pixels in pictures]
    rows: list[dict[str, object]] = []
    for damage in all_damage():
        milder: list[float] | None = None
        for strength, step in zip(damage.strengths, damage.steps, strict=True):
            damaged = [score(step(pixels)) for _, pixels in pictures]
            changes = [after - before for after, before in zip(damaged, clean, strict=True)]
            rows.append(
                {
                    "damage": damage.kind,
                    "strength": strength,
                    "mean_change": round(statistics.mean(changes), 2),
                    "ranked_below": _share(changes),
                    "below_milder": None
                    if milder is None
                    else _share([after - before for after, before in zip(damaged, milder, strict=True)]),
                    "not_below": [name for (name, _), change in zip(pictures, changes, strict=True) if change >= 0],
                }
            )
            milder = damaged
    return rows


def _share(changes: list[float]) -> float:
    return round(statistics.mean(change < 0 for change in changes), 4)


def print_table(rows: list[dict[str, object]], count: int) -> None:
    """A Markdown table."""
    print(f"| damage ({count} pictures) | strength | mean change, bits | below the clean one | below the milder one |")
    print("|---|---|---|---|---|")
    for row in rows:
        milder = "" if row["below_milder"] is None else f"{100 * float(str(row['below_milder'])):.1f} %"
        below = f"{100 * float(str(row['ranked_below'])):.1f} %"
        print(f"| {row['damage']} | {row['strength']} | {row['mean_change']} | {below} | {milder} |")


def timing(repeats: int) -> Spread:
    """Milliseconds for one 1024² picture."""
    picture = np.random.default_rng(0).integers(0, 256, (3, TIMED_RES, TIMED_RES), dtype=np.uint8)
    return Spread.of([_timed(lambda: quality_score(picture)) * 1000 for _ in range(repeats)])


def _timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Validate and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[SAMPLE])
    parser.add_argument("--limit", type=int, help="use only so many pictures of each folder")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    results = {}
    for folder in options.folders:
        pictures = list(originals(folder))[: options.limit]
        rows = validate(pictures)
        print_table(rows, len(pictures))
        everything = [float(str(row["ranked_below"])) for row in rows]
        clean = Spread.of([score(pixels) for _, pixels in pictures])
        print(f"\nall: {100 * statistics.mean(everything):.2f} % below; clean scores {clean.text()}\n")
        results[folder.name] = {"pictures": len(pictures), "clean_median": clean.median, "rows": rows}
    spread = timing(options.repeats)
    print(f"one {TIMED_RES}² picture: {spread.text(1)} ms")
    path = write_results("quality_validation", {"sets": results, "milliseconds_at_1024": spread.median})
    print(f"written to {path}")


if __name__ == "__main__":
    main()
