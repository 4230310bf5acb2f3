"""A sheet to judge restoration networks by eye: original, bicubic enlargement, and what each network makes of it.

    python -m benchmarks.restorer_sheet --out sheet.png [--weights FILE ...] [--photos DIR --number 2]
        [--case bicubic-q75]

Rows are the faces of the shipped sample, and the middles of photographs, 256 pixels a side, shrunk four times and
compressed. Only networks that enlarge are shown: `joint` as it ships, and those of `--weights`.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from benchmarks.restoration import Pixels, sample_pictures
from celebahq_tools.restore import Restorer, RestorerConfig, open_restorer
from celebahq_tools.restore.shipped import SHIPPED
from celebahq_tools.restore.training.photos import read_photos
from celebahq_tools.restore.training.validate import centre, damaged, plain
from celebahq_tools.sheet import Caption, contact_sheet

EDGE = 256
SCALE = 4
FACE_MARGIN = 3.0
"""Side of a face's square, in widths of its landmarks."""


def faces() -> list[Pixels]:
    """(256, 256, 3) squares around the faces of the sample that are large enough."""
    found = []
    for pixels, landmarks in sample_pictures().values():
        side = round(float(np.ptp(landmarks[:, 0])) * FACE_MARGIN)
        left, top = (round(float(value) - side / 2) for value in landmarks.mean(axis=0))
        square = pixels[max(top, 0) : top + side, max(left, 0) : left + side]
        if square.shape == (side, side, 3) and side >= EDGE:
            found.append(cv2.resize(square, (EDGE, EDGE), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False))
    return found


def networks(weights: list[Path]) -> list[tuple[str, Restorer]]:
    """Names and restorers of all columns."""
    found: list[tuple[str, Restorer]] = []
    if any(model.task == "joint" for model in SHIPPED):
        found.append(("joint, as shipped", open_restorer(RestorerConfig(name="ours", task="joint", precision="fp32"))))
    for path in weights:
        found.append((path.stem, open_restorer(RestorerConfig(name="ours", weights=path, precision="fp32"))))
    return found


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="*", default=[])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--number", type=int, default=2)
    parser.add_argument("--faces", type=int, default=4)
    parser.add_argument("--case", default="bicubic-q75")
    options = parser.parse_args()
    originals = faces()[: options.faces]
    if options.photos is not None:
        photos = read_photos(options.photos, shrink=2.0, progress=lambda done, total: None)
        originals += [centre(photo.pixels, EDGE, EDGE) for photo in photos[: options.number]]
    columns = networks(options.weights)
    tiles, captions = [], []
    for original in originals:
        poor = damaged(original, options.case)
        row = [("original", original), ("bicubic", plain(poor, SCALE))]
        row += [(name, restorer.restore(poor)) for name, restorer in columns]
        tiles += [picture.transpose(2, 0, 1) for _, picture in row]
        captions += [Caption(head=name) for name, _ in row]
    sheet = contact_sheet(np.stack(tiles), captions, title=f"4x, {options.case}", cols=2 + len(columns))
    sheet.save(options.out)
    print(options.out)


if __name__ == "__main__":
    main()
