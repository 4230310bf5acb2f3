"""Finding the parts of a CelebA release in the shapes people keep it in, and reading its annotations.

Shapes: pictures in `img_celeba/` or `Img/img_celeba/`, unpacked or as `img_celeba.zip`; annotations in
`Anno/` and `Eval/`, in the root, or loose beside the pictures; the whole possibly one folder down or one zip.
Only the in-the-wild pictures will do: the aligned ones (178x218) have lost their surroundings.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.annotations import (
    Table,
    align_to,
    parse_attributes,
    parse_identities,
    parse_landmarks,
    parse_partition,
)
from celebahq_tools.archives import seven_zip_message
from celebahq_tools.errors import SourceError
from celebahq_tools.manifest import load_celeba_facts
from celebahq_tools.trees import FolderTree, Tree, ZipTree, join

PICTURES = "img_celeba"
PICTURE_PARENTS = ("", "Img")
ALIGNED = ("img_align_celeba", "img_align_celeba_png")
LANDMARKS = "list_landmarks_celeba.txt"
ALIGNED_LANDMARKS = "list_landmarks_align_celeba.txt"
ATTRIBUTES = "list_attr_celeba.txt"
IDENTITIES = "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
ANNOTATION_FOLDERS = ("Anno", "Eval", "", "Img", "CelebA/Anno", "CelebA/Eval")
MAX_TOP_NAMES = 16
"""A root one folder down is looked for only where the top holds no more names than this."""
OPTIONAL = (ATTRIBUTES, IDENTITIES, PARTITION)


@dataclass(frozen=True, kw_only=True)
class CelebALayout:
    """Where the parts of a CelebA root are.

    pictures, folder  the tree and the folder in it that hold the pictures
    annotations       tree and name of each annotation file found, by its official name
    """

    pictures: Tree
    folder: str
    annotations: dict[str, tuple[Tree, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotations:
    """CelebA's annotations as arrays, row by row in the order of `landmarks.names`.

    landmarks        the landmark table, values (N, 10) int32
    attributes       (N, K) int8, -1 or +1, or None where the file is absent
    attribute_names  K names
    identities       (N,) int32 or None
    partition        (N,) int8 or None; 0 train, 1 validation, 2 test
    """

    landmarks: Table
    attributes: NDArray[np.int8] | None
    attribute_names: tuple[str, ...]
    identities: NDArray[np.int32] | None
    partition: NDArray[np.int8] | None


def find_celeba(tree: Tree) -> CelebALayout | None:
    """Find a CelebA release in `tree`; None where nothing looks like one.

    Raises `SourceError` where it is one but cannot be used: pictures still packed or absent, only aligned
    pictures, no landmarks.
    """
    roots = _candidate_roots(tree)
    for root, base in roots:
        found = _find_pictures(root, base)
        if found is not None:
            pictures, folder = found
            annotations = _find_annotations([(root, base), *roots])
            if LANDMARKS not in annotations:
                raise _no_landmarks(root, base, pictures, folder)
            return CelebALayout(pictures=pictures, folder=folder, annotations=annotations)
    for root, base in roots:
        _refuse_unusable(root, base)
    return None


def read_annotations(layout: CelebALayout) -> tuple[Annotations, list[str], dict[str, bytes]]:
    """Parse the annotation files; return them, notes on absent ones, and the SHA-256 of each by name."""
    digests: dict[str, bytes] = {}
    unlike: dict[str, str] = {}
    facts = load_celeba_facts()

    def parse(name: str, parser: Callable[[bytes, str], Table]) -> Table | None:
        if name not in layout.annotations:
            return None
        tree, where = layout.annotations[name]
        data = tree.read(where)
        digests[name] = hashlib.sha256(data).digest()
        mismatch = facts.file(name).mismatch(data)
        if mismatch is not None:
            unlike[name] = mismatch
        return parser(data, tree.shown(where))

    landmarks = parse(LANDMARKS, parse_landmarks)
    assert landmarks is not None
    attributes = parse(ATTRIBUTES, parse_attributes)
    identities = parse(IDENTITIES, parse_identities)
    partition = parse(PARTITION, parse_partition)
    names = landmarks.names
    annotations = Annotations(
        landmarks=landmarks,
        attributes=None if attributes is None else align_to(attributes, names).astype(np.int8),
        attribute_names=() if attributes is None else attributes.columns,
        identities=None if identities is None else align_to(identities, names)[:, 0],
        partition=None if partition is None else align_to(partition, names)[:, 0].astype(np.int8),
    )
    absent = [name for name in OPTIONAL if name not in layout.annotations]
    notes = [f"without {name}: not found in Anno or Eval" for name in absent]
    if len(names) == facts.pictures:
        notes += [f"{name} is not the published file (its {kind} differs)" for name, kind in unlike.items()]
    return annotations, notes, digests


def _candidate_roots(tree: Tree) -> list[tuple[Tree, str]]:
    """Where a release may begin: the path given, folders in it, and above it for `img_celeba` itself."""
    roots: list[tuple[Tree, str]] = [(tree, "")]
    names = tree.names_in("")
    if len(names) <= MAX_TOP_NAMES:
        roots += [(tree, name) for name in names if tree.has_folder(name)]
    path = tree.path.absolute()
    if path.stem == PICTURES:
        path = path.parent
        roots.append((FolderTree(path), ""))
    if path.name == "Img":
        roots.append((FolderTree(path.parent), ""))
    return roots


def _find_pictures(tree: Tree, base: str) -> tuple[Tree, str] | None:
    for parent in PICTURE_PARENTS:
        folder = join(base, parent, PICTURES)
        if tree.has_folder(folder):
            return tree, _innermost(tree, folder)
    for parent in PICTURE_PARENTS:
        packed = join(base, parent, f"{PICTURES}.zip")
        if tree.has_file(packed):
            if isinstance(tree, ZipTree):
                raise SourceError(
                    f"{tree.shown(packed)}: a zip inside a zip is not read; unpack the outer one and give the folder"
                )
            inside = ZipTree(tree.path / packed)
            return inside, _innermost(inside, "")
    return None


def _innermost(tree: Tree, folder: str) -> str:
    """Step into `img_celeba` folders, which some tools make once more when they pack or unpack."""
    for deeper in (join(folder, parent, PICTURES) for parent in PICTURE_PARENTS):
        if tree.has_folder(deeper):
            return _innermost(tree, deeper)
    return folder


def _find_annotations(roots: list[tuple[Tree, str]]) -> dict[str, tuple[Tree, str]]:
    found: dict[str, tuple[Tree, str]] = {}
    for name in (LANDMARKS, *OPTIONAL):
        for tree, base in roots:
            where = _find_file(tree, base, name)
            if where is not None:
                found[name] = (tree, where)
                break
    return found


def _no_landmarks(root: Tree, base: str, pictures: Tree, folder: str) -> SourceError:
    expected = root.shown(join(base, "Anno", LANDMARKS))
    if _find_file(root, base, ALIGNED_LANDMARKS) is not None:
        return SourceError(
            f"{expected}: not found, only {ALIGNED_LANDMARKS}, whose points lie in the aligned pictures; get"
            f" {LANDMARKS} from CelebA's Anno folder"
        )
    return SourceError(
        f"{expected}: not found, but {pictures.shown(folder)} needs it; get it from CelebA's Anno folder, or"
        " give the pictures another name to have their faces searched"
    )


def _refuse_unusable(tree: Tree, base: str) -> None:
    """Raise where parts of a CelebA release are there, but not its pictures."""
    volume = _find_seven_zip(tree, base)
    if volume is not None:
        if isinstance(tree, FolderTree):
            raise SourceError(seven_zip_message(tree.path / volume))
        raise SourceError(f"{tree.shown(volume)}: unpack the zip and this 7z archive in it, and give the folder")
    aligned = [join(base, parent, name) for parent in PICTURE_PARENTS for name in ALIGNED]
    has_aligned = any(tree.has_folder(name) or tree.has_file(f"{name}.zip") for name in aligned)
    if has_aligned or tree.path.stem in ALIGNED or _find_file(tree, base, ALIGNED_LANDMARKS) is not None:
        raise SourceError(
            f"{tree.shown(base)}: only CelebA's aligned pictures (178x218) are there; this needs the"
            f" in-the-wild ones ({PICTURES}.7z, unpacked to {PICTURES}/) and Anno/{LANDMARKS}"
        )
    landmarks = _find_file(tree, base, LANDMARKS)
    if landmarks is not None:
        raise SourceError(
            f"{tree.shown(join(base, PICTURES))}: not found, though {tree.shown(landmarks)} is there; put"
            f" CelebA's in-the-wild pictures into {PICTURES}/, Img/{PICTURES}/ or {PICTURES}.zip"
        )


def _find_file(tree: Tree, base: str, name: str) -> str | None:
    places = (join(base, folder, name) for folder in ANNOTATION_FOLDERS)
    return next((place for place in places if tree.has_file(place)), None)


def _find_seven_zip(tree: Tree, base: str) -> str | None:
    """The archive to unpack: whole, or the first of its volumes, which may lie in a folder of its name."""
    archive = f"{PICTURES}.7z"
    for parent in PICTURE_PARENTS:
        for name in (archive, f"{archive}.001", f"{archive}/{archive}.001"):
            if tree.has_file(join(base, parent, name)):
                return join(base, parent, name)
    return None
