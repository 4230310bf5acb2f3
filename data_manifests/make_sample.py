"""Make the sample in `celebahq_tools/sample/celeba` and its provenance, `sample.json`, from photographs.

    python -m data_manifests.make_sample FOLDER

FOLDER holds the originals named in `ORIGINALS`. The landmarks are found in each original with dlib's 68-point
model and carried through the same affine map as the pixels; attributes and identities are written down here.
"""

import hashlib
import io
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from celebahq_tools.annotations import LANDMARK_COLUMNS
from celebahq_tools.decode import decode_picture
from celebahq_tools.faces import FaceFinder, find_landmarks_model

ROOT = Path(__file__).resolve().parent.parent / "celebahq_tools" / "sample" / "celeba"
PROVENANCE = Path(__file__).resolve().parent / "sample.json"

WHITE_HOUSE = (
    "public domain in the United States: a work of a federal employee made in the course of official duties"
    " (17 U.S.C. 105)"
)

ATTRIBUTES = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]
"""CelebA's 40 attributes in its order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """A photograph as published."""

    sha256: str
    title: str
    author: str
    licence: str
    obtained: str
    identity: int
    attributes: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One picture of the sample: a window of an original, turned, scaled, mirrored, encoded.

    window   left, top, right, bottom in the original; what lies outside it is mirrored
    scale    pixels of the sample per pixel of the original
    degrees  turned counter-clockwise about the window's centre
    """

    original: str
    window: tuple[int, int, int, int]
    scale: float = 1.0
    degrees: float = 0.0
    mirrored: bool = False
    gray: bool = False
    quality: int = 88
    subsampling: str = "4:2:0"
    progressive: bool = False
    partition: int = 0


ORIGINALS = {
    "astronaut.png": Original(
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        title="Official portrait of the astronaut Eileen Collins",
        author="NASA",
        licence="public domain (NASA)",
        obtained="scikit-image, skimage.data.astronaut, PNG 512x512",
        identity=1,
        attributes=frozenset(
            ["Brown_Hair", "Bangs", "High_Cheekbones", "No_Beard", "Smiling", "Mouth_Slightly_Open", "Young"]
        ),
    ),
    "obama.jpg": Original(
        sha256="0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
        title="Official portrait of President Barack Obama in the Oval Office, 6 December 2012",
        author="Pete Souza, Official White House Photo",
        licence=WHITE_HOUSE,
        obtained="PyPI face_recognition, source distribution, examples/obama.jpg",
        identity=2,
        attributes=frozenset(
            [
                "Black_Hair",
                "High_Cheekbones",
                "Male",
                "Mouth_Slightly_Open",
                "No_Beard",
                "Smiling",
                "Wearing_Necktie",
            ]
        ),
    ),
    "biden.jpg": Original(
        sha256="3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
        title="Vice President Joe Biden in the Blue Room of the White House, 10 May 2010",
        author="Pete Souza, Official White House Photo",
        licence=WHITE_HOUSE,
        obtained="PyPI face_recognition, source distribution, examples/biden.jpg",
        identity=3,
        attributes=frozenset(["Gray_Hair", "Male", "No_Beard", "Receding_Hairline", "Wearing_Necktie"]),
    ),
    "obama3.jpg": Original(
        sha256="76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
        title="President Barack Obama in the Blue Room of the White House, 10 May 2010",
        author="Pete Souza, Official White House Photo",
        licence=WHITE_HOUSE,
        obtained="PyPI face_recognition, source distribution, tests/test_images/obama3.jpg",
        identity=2,
        attributes=frozenset(["Black_Hair", "Male", "No_Beard", "Wearing_Necktie"]),
    ),
    "obama2.jpg": Original(
        sha256="a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
        title="President Barack Obama before a joint session of Congress, 9 September 2009",
        author="Pete Souza, Official White House Photo",
        licence=WHITE_HOUSE,
        obtained="PyPI face_recognition, source distribution, examples/obama2.jpg",
        identity=2,
        attributes=frozenset(["Black_Hair", "Male", "Mouth_Slightly_Open", "No_Beard", "Wearing_Necktie"]),
    ),
}

ITEMS = (
    Item(original="astronaut.png", window=(0, 0, 512, 512), quality=85, subsampling="4:4:4"),
    Item(original="obama.jpg", window=(140, 0, 860, 800), quality=86),
    Item(original="biden.jpg", window=(60, 0, 960, 1000), scale=0.8),
    Item(original="obama3.jpg", window=(400, 60, 1200, 960), scale=0.85, partition=2),
    Item(original="obama2.jpg", window=(0, 60, 626, 860), scale=0.9, partition=1),
    Item(original="astronaut.png", window=(60, 0, 400, 320), degrees=24, progressive=True),
    Item(original="astronaut.png", window=(170, 20, 480, 330), mirrored=True, partition=1),
    Item(original="astronaut.png", window=(40, 70, 350, 380), partition=2),
    Item(original="astronaut.png", window=(90, 0, 360, 270), degrees=-35, mirrored=True),
    Item(original="astronaut.png", window=(0, 0, 512, 512), scale=0.5, subsampling="4:2:2"),
    Item(original="astronaut.png", window=(100, 10, 340, 290), gray=True),
    Item(original="obama.jpg", window=(0, 0, 910, 1137), scale=0.5, quality=84, progressive=True),
)


def affine(item: Item) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The (2, 3) map from positions in the original to positions in the sample picture, and its (w, h).

    Positions have their origin at the centre of the top-left pixel.
    """
    left, top, right, bottom = item.window
    width, height = round((right - left) * item.scale), round((bottom - top) * item.scale)
    angle = np.deg2rad(item.degrees)
    turn = item.scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if item.mirrored:
        turn = np.diag([-1.0, 1.0]) @ turn
    centre_in = np.array([left + right, top + bottom]) / 2 - 0.5
    centre_out = np.array([width, height]) / 2 - 0.5
    return np.column_stack([turn, centre_out - turn @ centre_in]), (width, height)


def picture(pixels: NDArray[np.uint8], item: Item) -> bytes:
    """The encoded sample picture of an item."""
    matrix, size = affine(item)
    if item.scale < 1:
        # Warping takes four neighbours only: bring the original to the final scale by area means first.
        small = cv2.resize(pixels, None, fx=item.scale, fy=item.scale, interpolation=cv2.INTER_AREA)
        ratio = np.array([small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0]])
        to_small = np.column_stack([np.diag(ratio), (ratio - 1) / 2])
        turn = matrix[:, :2] @ np.diag(1 / ratio)
        matrix = np.column_stack([turn, matrix[:, 2] - turn @ to_small[:, 2]])
        pixels = small.astype(np.uint8)
    warped = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    image = Image.fromarray(warped.astype(np.uint8))
    file = io.BytesIO()
    (image.convert("L") if item.gray else image).save(
        file,
        "JPEG",
        quality=item.quality,
        subsampling=item.subsampling,
        progressive=item.progressive,
        optimize=True,
    )
    return file.getvalue()


def landmarks(points: NDArray[np.float64], item: Item) -> NDArray[np.int64]:
    """Landmarks (5, 2) of the original in the sample picture, in whole pixels."""
    matrix, _ = affine(item)
    moved = np.rint(points @ matrix[:, :2].T + matrix[:, 2]).astype(np.int64)
    # Left and right are the viewer's.
    whole: NDArray[np.int64] = moved[[1, 0, 2, 4, 3]] if item.mirrored else moved
    return whole


def make(source: Path, root: Path = ROOT, provenance: Path = PROVENANCE) -> None:
    """Write the sample's pictures and annotations below `root`, and the provenance."""
    finder = FaceFinder(find_landmarks_model())
    pixels: dict[str, NDArray[np.uint8]] = {}
    points: dict[str, NDArray[np.float64]] = {}
    for name, original in ORIGINALS.items():
        data = (source / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != original.sha256:
            raise SystemExit(f"{source / name}: not the file that the sample was made from")
        pixels[name] = decode_picture(data, name=name)
        points[name] = finder.find(pixels[name])[0].landmarks
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("img_celeba", "Anno", "Eval"):
        (root / folder).mkdir(parents=True)
    rows = []
    for number, item in enumerate(ITEMS, start=1):
        name = f"{number:06d}.jpg"
        data = picture(pixels[item.original], item)
        (root / "img_celeba" / name).write_bytes(data)
        rows.append((name, item, landmarks(points[item.original], item), data))
    write_annotations(root, [(name, item, moved) for name, item, moved, _ in rows])
    write_provenance(provenance, [(name, item, data) for name, item, _, data in rows])


def write_annotations(root: Path, rows: list[tuple[str, Item, NDArray[np.int64]]]) -> None:
    """Write the four annotation files in CelebA's layout."""
    head = f"{len(rows)}\n"
    lines = [f"{name} {' '.join(f'{value:4d}' for value in moved.ravel())}\n" for name, _, moved in rows]
    text = head + " ".join(LANDMARK_COLUMNS) + "\n" + "".join(lines)
    (root / "Anno" / "list_landmarks_celeba.txt").write_text(text, "ascii")
    lines = []
    for name, item, _ in rows:
        true = ORIGINALS[item.original].attributes
        lines.append(f"{name} {' '.join(f'{1 if attribute in true else -1:2d}' for attribute in ATTRIBUTES)}\n")
    text = head + " ".join(ATTRIBUTES) + "\n" + "".join(lines)
    (root / "Anno" / "list_attr_celeba.txt").write_text(text, "ascii")
    lines = [f"{name} {ORIGINALS[item.original].identity}\n" for name, item, _ in rows]
    (root / "Anno" / "identity_CelebA.txt").write_text("".join(lines), "ascii")
    lines = [f"{name} {item.partition}\n" for name, item, _ in rows]
    (root / "Eval" / "list_eval_partition.txt").write_text("".join(lines), "ascii")


def write_provenance(path: Path, rows: list[tuple[str, Item, bytes]]) -> None:
    """Write where each picture comes from and what was done to it; see README.md for the fields."""
    document = {
        "schema": "sample/1",
        "description": "Pictures and annotations in celebahq_tools/sample/celeba, made by make_sample.py",
        "landmarks": "dlib 68-point model on the original, moved with the pixels, checked by eye",
        "attributes": "What plainly shows in the picture is 1; matters of taste are -1 throughout",
        "notice": (
            "The White House photographs are works of the US government; notices embedded in them ask"
            " that they not be manipulated nor used to suggest endorsement. Here they are cropped, scaled and"
            " encoded again, and endorse nothing."
        ),
        "originals": {
            name: {
                "title": original.title,
                "author": original.author,
                "licence": original.licence,
                "obtained": original.obtained,
                "sha256": original.sha256,
                "identity": original.identity,
            }
            for name, original in ORIGINALS.items()
        },
        "pictures": [
            {
                "file": name,
                "original": item.original,
                "window": list(item.window),
                "scale": item.scale,
                "degrees": item.degrees,
                "mirrored": item.mirrored,
                "gray": item.gray,
                "jpeg": {
                    "quality": item.quality,
                    "subsampling": "none" if item.gray else item.subsampling,
                    "progressive": item.progressive,
                },
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            for name, item, data in rows
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m data_manifests.make_sample FOLDER")
    make(Path(sys.argv[1]))
