"""Crops per second on one core: ours against the same steps done literally with Pillow and with OpenCV.

Run: python -m benchmarks.geometry [--repeats 9]. Runs are interleaved; numbers are median (smallest-largest).
"""

import argparse
import functools
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.record import Spread, write_results
from celebahq_tools.align import extract_crop, paper_quad
from celebahq_tools.decode import decode_picture
from celebahq_tools.pyramid import build_levels
from celebahq_tools.quality import quality_score

Pixels = NDArray[np.uint8]
Quad = NDArray[np.float64]

RES = 1024
FINE = 4 * RES
SAMPLE = Path(__file__).parents[1] / "celebahq_tools" / "sample" / "celeba" / "img_celeba"
UPRIGHT_FACE = np.array([[-0.5, 0], [0.5, 0], [0, 0.55], [-0.42, 1.05], [0.42, 1.05]])
"""Eyes one unit apart; the crop square is four units wide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A face of `side` / 4 pixels between the eyes, turned, in the middle of a picture or over its edge."""

    name: str
    side: float
    degrees: float
    picture: float
    """Side of the square picture over the side of the crop square."""

    def make(self) -> tuple[Pixels, Quad]:
        """The picture, a sample photograph stretched to size, and the crop square."""
        size = round(self.side * self.picture)
        photograph = _photograph()
        pixels = np.asarray(cv2.resize(photograph, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
        turn = np.deg2rad(self.degrees)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        return pixels, paper_quad(UPRIGHT_FACE * self.side / 4 @ rotation + size / 2 - self.side / 16)


CASES = (
    Case(name="170 px, inside", side=170, degrees=5, picture=2.0),
    Case(name="340 px, inside", side=340, degrees=5, picture=2.0),
    Case(name="340 px, turned 30 deg", side=340, degrees=30, picture=2.0),
    Case(name="340 px, over the edge", side=340, degrees=5, picture=0.9),
    Case(name="1000 px, inside", side=1000, degrees=5, picture=2.0),
    Case(name="1000 px, over the edge", side=1000, degrees=5, picture=0.9),
    Case(name="4400 px, inside", side=4400, degrees=5, picture=1.5),
)


@functools.cache
def _photograph() -> Pixels:
    path = sorted(SAMPLE.glob("*.jpg"))[0]
    return decode_picture(path.read_bytes(), name=path.name)


def literal_opencv(pixels: Pixels, quad: Quad) -> Pixels:
    """A whole 4096² picture by warpAffine, then INTER_AREA; no border, no magnification."""
    step_x, step_y = (quad[3] - quad[0]) / FINE, (quad[1] - quad[0]) / FINE
    matrix = np.stack([step_x, step_y, quad[0] + (step_x + step_y) / 2], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(pixels, matrix, (FINE, FINE), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(fine, (RES, RES), interpolation=cv2.INTER_AREA), np.uint8)


def literal_pillow(pixels: Pixels, quad: Quad) -> Pixels:
    """A whole 4096² picture by Image.transform(QUAD, BILINEAR), then a BOX resize; no border."""
    corners = tuple(float(v) for v in (quad + 0.5).ravel())
    fine = Image.fromarray(pixels).transform((FINE, FINE), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return np.asarray(fine.resize((RES, RES), Image.Resampling.BOX))


def measure(case: Case, repeats: int) -> dict[str, object]:
    """Milliseconds of the three, interleaved."""
    pixels, quad = case.make()
    contenders: dict[str, Callable[[Pixels, Quad], object]] = {
        "ours": functools.partial(extract_crop, res=RES),
        "opencv": literal_opencv,
        "pillow": literal_pillow,
    }
    readings: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, crop in contenders.items():
            readings[name].append(_milliseconds(functools.partial(crop, pixels, quad)))
    spreads = {name: Spread.of(values) for name, values in readings.items()}
    print(
        f"| {case.name} | {spreads['ours'].text(0)} | {1000 / spreads['ours'].median:.1f} "
        f"| {spreads['opencv'].median / spreads['ours'].median:.2f} "
        f"| {spreads['pillow'].median / spreads['ours'].median:.2f} |"
    )
    return {"case": case.name, **{f"{name}_ms": spread.median for name, spread in spreads.items()}}


def measure_road(repeats: int) -> dict[str, float]:
    """Milliseconds of each stage from JPEG bytes to levels, medians over the sample's first picture."""
    path = sorted(SAMPLE.glob("*.jpg"))[0]
    data = path.read_bytes()
    pixels, quad = CASES[1].make()
    image = extract_crop(pixels, quad, RES)
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_picture(data, name=path.name),
        "crop": lambda: extract_crop(pixels, quad, RES),
        "quality": lambda: quality_score(image),
        "levels": lambda: build_levels(image),
    }
    readings: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(repeats):
        for name, stage in stages.items():
            readings[name].append(_milliseconds(stage))
    return {name: round(Spread.of(values).median, 2) for name, values in readings.items()}


def _milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    road = measure_road(options.repeats)
    total = road["decode"] + road["crop"] + road["levels"]
    print("one 340 px face at 1024²: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in road.items()))
    print(f"decode + crop + levels: {total:.1f} ms, {1000 / total:.1f} images per second and core")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process so far: {peak_mib:.0f} MiB\n")
    print("| crop square | ours, ms | per second | OpenCV literal / ours | Pillow literal / ours |")
    print("|---|---|---|---|---|")
    rows = [measure(case, options.repeats) for case in CASES]
    path = write_results("geometry", {"road_ms": road, "peak_mib": round(peak_mib), "cases": rows})
    print(f"written to {path}")


if __name__ == "__main__":
    main()
