"""Which images of a supposed CelebA-HQ are the official ones.

What can be known from which evidence:
- the md5 of 1024x1024 pixels proves an official image, final or before its delta;
- a copy that was resized or went through JPEG has other pixels, so no md5 can tell; only pixels of the official
  image can, which a reference (a built or the authors' own HDF5 file) provides;
- a file name proves nothing; it is reported as a claim.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.archives import shown
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import PictureError, SourceError
from celebahq_tools.manifest import HQIndex
from celebahq_tools.names import printable
from celebahq_tools.official import image_md5
from celebahq_tools.reference import Reference
from celebahq_tools.sniff import HEAD_BYTES
from celebahq_tools.sources import PICTURE_SUFFIXES
from celebahq_tools.store import PyramidReader
from celebahq_tools.trees import FolderTree, PictureReader, Tree, ZipTree

Kind = Literal["official", "before-delta", "copy", "unverifiable", "unknown", "unreadable"]
"""official      the pixels have the md5 of a final image
before-delta  ... of an image before its delta: right picture and geometry, not the published pixels
copy          looks like an official image of the reference, at other pixels
unverifiable  JPEG or not 1024x1024, and no reference to compare with
unknown       neither an official image nor, with a reference, a copy of one of it
unreadable    cannot be decoded"""

OFFICIAL_RES = 1024
ARRAY_SUFFIX = ".npy"
MAX_ARRAY_BYTES = 64 << 20
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp"})

_CLAIM = re.compile(r"(?:img_?hq|hq)?_?(\d{1,5})", re.IGNORECASE)
_ORIGINAL_CLAIM = re.compile(r"\d{6}")

Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one image is.

    name     file, or number in an HDF5 file
    idx      the official images it is; more than one for the known duplicates
    claimed  what its name claims to be, or None; no evidence
    psnr_db  likeness to the image of the reference, for copies
    detail   size, and why, in words
    """

    name: str
    kind: Kind
    idx: tuple[int, ...]
    claimed: int | None
    psnr_db: float | None
    detail: str


class KnownImages:
    """The checksums of an index, by md5."""

    def __init__(self, index: HQIndex) -> None:
        self.final = _by_md5(index.final_md5, index.idx)
        self.proc = _by_md5(index.proc_md5, index.idx)
        self.originals = {int(index.orig_idx[row]): int(index.idx[row]) for row in range(len(index))}
        self.numbers = frozenset(int(i) for i in index.idx)

    def claim(self, name: str) -> int | None:
        """The image that a file name claims to be: 00012.png, imgHQ00012.npy, or CelebA's 119614.jpg."""
        stem = name.rpartition("/")[2].rpartition(".")[0]
        if _ORIGINAL_CLAIM.fullmatch(stem):
            return self.originals.get(int(stem) - 1)
        match = _CLAIM.fullmatch(stem)
        number = int(match[1]) if match else -1
        return number if number in self.numbers else None


def _by_md5(digests: NDArray[np.bytes_], idx: NDArray[np.int32]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for digest, number in zip(digests, idx, strict=True):
        key = digest.decode("ascii")
        found[key] = (*found.get(key, ()), int(number))
    return found


def identify(
    path: Path, known: KnownImages, *, reference: Reference | None = None, progress: Progress | None = None
) -> Iterator[Verdict]:
    """Identify every image of a folder, a zip, a single file or an HDF5 pyramid, one after another.

    Raises SourceError where there are no images, FormatError for a damaged HDF5 file.
    """
    images, total = _open_images(path)
    for done, (name, image, lossy) in enumerate(images, start=1):
        yield _identify_one(name, image, lossy, known, reference)
        if progress is not None:
            progress(done, total)


def _identify_one(
    name: str, image: Image | PictureError, lossy: bool, known: KnownImages, reference: Reference | None
) -> Verdict:
    claimed = known.claim(name)
    if isinstance(image, PictureError):
        return Verdict(name=name, kind="unreadable", idx=(), claimed=claimed, psnr_db=None, detail=str(image))
    size = f"{image.shape[2]}x{image.shape[1]}"
    full = image.shape == (3, OFFICIAL_RES, OFFICIAL_RES)
    if full:
        digest = image_md5(image)
        if digest in known.final:
            return Verdict(
                name=name, kind="official", idx=known.final[digest], claimed=claimed, psnr_db=None, detail=size
            )
        if digest in known.proc:
            detail = f"{size}, its delta was never added"
            return Verdict(
                name=name, kind="before-delta", idx=known.proc[digest], claimed=claimed, psnr_db=None, detail=detail
            )
    if reference is not None:
        match = reference.find(image)
        if match is not None:
            how = "other pixels" if full else "resized"
            idx = known.final.get(image_md5(reference.image(match.slot)), ())
            if idx:
                detail = f"{size}, {how}{', lossy file' if lossy else ''}; compared at {match.res}x{match.res}"
                return Verdict(
                    name=name, kind="copy", idx=idx, claimed=claimed, psnr_db=round(match.psnr_db, 1), detail=detail
                )
        detail = f"{size}, like none of the reference's images"
        return Verdict(name=name, kind="unknown", idx=(), claimed=claimed, psnr_db=None, detail=detail)
    if full and not lossy:
        detail = f"{size}, its md5 {digest} is not in the index"
        return Verdict(name=name, kind="unknown", idx=(), claimed=claimed, psnr_db=None, detail=detail)
    why = "a lossy file" if full else "not 1024x1024"
    detail = f"{size}, {why}: checksums cannot tell, pixels of a reference could"
    return Verdict(name=name, kind="unverifiable", idx=(), claimed=claimed, psnr_db=None, detail=detail)


Entry = tuple[str, Image | PictureError, bool]
"""Name, image (3, h, w) or why there is none, and whether the file format is a lossy one."""


def _open_images(path: Path) -> tuple[Iterator[Entry], int]:
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(HDF5_MAGIC):
            pyramid = PyramidReader(path)
            return _pyramid_images(pyramid), len(pyramid)
        if head.startswith(b"PK") and path.suffix.lower() != ARRAY_SUFFIX:
            return _tree_images(ZipTree(path))
        return _file_images(FolderTree(path.parent).reader(""), [path.name]), 1
    if path.is_dir():
        return _tree_images(FolderTree(path))
    raise SourceError(f"{shown(path)}: no such folder, zip, HDF5 file or picture")


def _tree_images(tree: Tree) -> tuple[Iterator[Entry], int]:
    wanted = PICTURE_SUFFIXES | {ARRAY_SUFFIX}
    names = sorted(name for name, _size in tree.walk("") if _suffix(name) in wanted)
    if not names:
        raise SourceError(f"{shown(tree.path)}: expected pictures or .npy arrays, found none")
    return _file_images(tree.reader(""), names), len(names)


def _pyramid_images(pyramid: PyramidReader) -> Iterator[Entry]:
    for slot in range(len(pyramid)):
        yield f"#{slot}", pyramid.read(slot), False


def _file_images(reader: PictureReader, names: list[str]) -> Iterator[Entry]:
    for name in names:
        lossy = _suffix(name) in LOSSY_SUFFIXES
        try:
            data = reader.read(name)
            image = _array_image(data, name) if _suffix(name) == ARRAY_SUFFIX else _picture_image(data, name)
            yield printable(name), image, lossy
        except PictureError as error:
            yield printable(name), error, lossy


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _picture_image(data: bytes, name: str) -> Image:
    return np.ascontiguousarray(decode_picture(data, name=name).transpose(2, 0, 1))


def _array_image(data: bytes, name: str) -> Image:
    """A (3, h, w), (1, 3, h, w) or (h, w, 3) uint8 array of a .npy file, as the authors' tools wrote them."""
    import io

    if len(data) > MAX_ARRAY_BYTES:
        raise PictureError("too-large", f"{printable(name)}: {len(data):,} bytes, more than {MAX_ARRAY_BYTES:,}")
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise PictureError("undecodable", f"{printable(name)}: not a readable .npy array ({error})") from None
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise PictureError("undecodable", f"{printable(name)}: expected an array of uint8")
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] != 3 and array.shape[2] == 3:
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] != 3 or not array.size:
        raise PictureError("undecodable", f"{printable(name)}: expected shape (3, h, w), found {array.shape}")
    return np.ascontiguousarray(array)
