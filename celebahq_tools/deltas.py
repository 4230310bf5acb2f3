"""The official delta files of CelebA-HQ: `image_list.txt` and 30 zips of encrypted differences.

`deltas%05d.zip` holds a thousand members `delta%05d.dat`, one per image. Each is a Fernet token; its key is
derived from the bytes and the name of the CelebA picture, so that only owners of CelebA can read it. Its
contents are the bz2-compressed difference between the final image and what can be made from the picture.
"""

import base64
import binascii
import bz2
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.archives import ZipFiles, list_zip, shown
from celebahq_tools.errors import FormatError, MissingDependencyError, PictureError, SourceError
from celebahq_tools.manifest import HQIndex, load_celebahq_index, parse_image_list
from celebahq_tools.sniff import HEAD_BYTES, describe_content

OFFICIAL_IMAGES = 30_000
IMAGES_PER_ZIP = 1000
IMAGE_LIST = "image_list.txt"
IMAGE_SHAPE = (3, 1024, 1024)
IMAGE_BYTES = 3 * 1024 * 1024

KEY_ITERATIONS = 100_000
KEY_BYTES = 32
MAX_TOKEN_BYTES = 8 << 20
"""An incompressible delta makes a token of about 4.3 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OfficialRow:
    """One image of the index.

    idx        number of the image, 0..29,999
    orig_idx   number of the CelebA picture, from 0; orig_file its name
    proc_md5   of the (3, 1024, 1024) bytes before the delta, final_md5 after it; 32 hex digits
    """

    idx: int
    orig_idx: int
    orig_file: str
    proc_md5: str
    final_md5: str

    @property
    def zip_name(self) -> str:
        """Name of the zip that holds the delta."""
        return delta_zip_name(self.idx)

    @property
    def member(self) -> str:
        """Name of the delta in its zip."""
        return delta_member_name(self.idx)


def delta_zip_name(idx: int) -> str:
    """Name of the zip with the delta of an image."""
    return f"deltas{idx // IMAGES_PER_ZIP * IMAGES_PER_ZIP:05d}.zip"


def delta_member_name(idx: int) -> str:
    """Name of the delta of an image in its zip."""
    return f"delta{idx:05d}.dat"


def official_rows(index: HQIndex) -> tuple[OfficialRow, ...]:
    """The rows of an index in order of idx."""
    return tuple(
        OfficialRow(
            idx=int(index.idx[at]),
            orig_idx=int(index.orig_idx[at]),
            orig_file=index.orig_file(int(at)),
            proc_md5=index.proc_md5[at].decode("ascii"),
            final_md5=index.final_md5[at].decode("ascii"),
        )
        for at in np.argsort(index.idx)
    )


def read_official_index(deltas: Path) -> tuple[HQIndex, list[str]]:
    """The index in a deltas folder, or where it has none the official one that ships; notes for people.

    Raises SourceError where the folder is missing, FormatError where its image_list.txt is damaged.
    """
    if not deltas.is_dir():
        raise SourceError(f"{shown(deltas)}: no such folder; give the folder with the files deltas00000.zip ...")
    path = deltas / IMAGE_LIST
    if not path.is_file():
        return load_celebahq_index(), [f"{IMAGE_LIST} is not in {shown(deltas)}: using the copy that ships"]
    index = parse_image_list(path.read_bytes(), shown(path))
    for at in range(len(index)):
        if not 0 <= int(index.idx[at]) < 100_000:
            raise FormatError(f"{shown(path)}: idx {int(index.idx[at])} is out of range")
    return index, []


@dataclass(frozen=True, kw_only=True, slots=True)
class ZipState:
    """What a look at one delta zip found; `problem` says in one line what is wrong with it, or is None.

    missing  the zip is not there at all
    absent   images asked for whose member it lacks, or holds in an impossible size
    """

    name: str
    missing: bool
    problem: str | None
    absent: tuple[int, ...] = ()


def check_delta_zip(deltas: Path, name: str, idx: Iterable[int]) -> ZipState:
    """Look at the directory of a delta zip for the images `idx`; reads no member."""
    path = deltas / name
    if not path.is_file():
        return ZipState(name=name, missing=True, problem=f"{shown(path)}: missing")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.startswith(b"PK"):
        return ZipState(
            name=name,
            missing=False,
            problem=f"{shown(path)}: expected a zip, found {_describe(head)} of {path.stat().st_size:,} bytes",
        )
    try:
        sizes = {member.name: member.size for member in list_zip(path)}
    except SourceError as error:
        return ZipState(name=name, missing=False, problem=f"{error} (the download was probably cut short)")
    absent = tuple(i for i in idx if not 0 < sizes.get(delta_member_name(i), 0) <= MAX_TOKEN_BYTES)
    return ZipState(name=name, missing=False, problem=None, absent=absent)


def _describe(head: bytes) -> str:
    if not head:
        return "an empty file"
    kind, words = describe_content(head)
    return f"{words} (often a notice that a download quota is used up)" if kind == "html" else words


class DeltaReader:
    """Encrypted deltas by number of image. Light and picklable; every process opens the zips for itself."""

    def __init__(self, deltas: Path) -> None:
        self.deltas = deltas
        self._zips: dict[str, ZipFiles] = {}

    def __getstate__(self) -> Path:
        return self.deltas

    def __setstate__(self, state: Path) -> None:
        self.deltas = state
        self._zips = {}

    def token(self, idx: int) -> bytes:
        """The token of an image; raises PictureError('delta-missing' or 'delta-damaged')."""
        name = delta_zip_name(idx)
        files = self._zips.setdefault(name, ZipFiles(self.deltas / name))
        try:
            return files.read(delta_member_name(idx))
        except PictureError as error:
            reason = "delta-missing" if error.reason == "missing" else "delta-damaged"
            raise PictureError(reason, f"image {idx}: {error}") from None


def derive_key(jpeg: bytes, file_name: str) -> bytes:
    """Fernet key (urlsafe base64) of a picture: PBKDF2-HMAC-SHA256 over the whole file, salted by its name."""
    return base64.urlsafe_b64encode(
        hashlib.pbkdf2_hmac("sha256", jpeg, file_name.encode("ascii"), KEY_ITERATIONS, KEY_BYTES)
    )


def decrypt_token(token: bytes, key: bytes, *, what: str) -> bytes:
    """Contents of a Fernet token; raises PictureError('delta-damaged') naming `what`."""
    try:
        from cryptography.fernet import Fernet, InvalidToken
    except ImportError as error:
        raise MissingDependencyError(
            f"the deltas are encrypted and need the package cryptography ({error}):"
            " pip install 'celebahq-tools[official]'"
        ) from None
    if len(token) > MAX_TOKEN_BYTES:
        raise PictureError("delta-damaged", f"{what}: the delta has {len(token):,} bytes, over {MAX_TOKEN_BYTES:,}")
    try:
        return Fernet(key).decrypt(token)
    except (InvalidToken, ValueError, TypeError, binascii.Error):
        raise PictureError(
            "delta-damaged",
            f"{what}: the delta does not open with this picture as its key; the delta is damaged,"
            " or the picture's file is not byte for byte CelebA's",
        ) from None


def decompress_delta(packed: bytes, *, what: str) -> NDArray[np.uint8]:
    """The difference (3, 1024, 1024) uint8 from its bz2 form; raises PictureError('delta-damaged')."""
    machine = bz2.BZ2Decompressor()
    try:
        data = machine.decompress(packed, max_length=IMAGE_BYTES + 1)
    except (OSError, ValueError, EOFError) as error:
        raise PictureError("delta-damaged", f"{what}: the delta's bz2 data are damaged ({error})") from None
    if len(data) != IMAGE_BYTES or not machine.eof:
        more = "more" if len(data) > IMAGE_BYTES else f"{len(data):,}, or no end"
        raise PictureError("delta-damaged", f"{what}: expected a delta of {IMAGE_BYTES:,} bytes, found {more}")
    return np.frombuffer(data, dtype=np.uint8).reshape(IMAGE_SHAPE)
