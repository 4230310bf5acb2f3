"""The facts in `data_manifests`: CelebA's files, the index of CelebA-HQ, the origin of the sample.

Every reader checks the document against its schema (data_manifests/README.md) and raises FormatError where it
does not fit.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.errors import FormatError
from celebahq_tools.names import one_line

PACKAGE = "data_manifests"
INDEX_COLUMNS = ("idx", "orig_idx", "orig_file", "proc_md5", "final_md5")
MD5_DIGITS = 32
MAX_INDEX_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedFile:
    """A file of a release; sizes and checksums (hex) are None where nobody is known to have published them.

    size         in bytes
    needed       whether pictures cannot be made without it
    reported_by  who published the numbers, keys of the document's `reporters`
    """

    name: str
    about: str
    needed: bool
    size: int | None
    md5: str | None
    sha1: str | None
    sha256: str | None
    reported_by: tuple[str, ...]

    def mismatch(self, data: bytes) -> str | None:
        """Name of the first known number that `data` contradicts (`size`, `md5`, ...), or None."""
        if self.size is not None and len(data) != self.size:
            return "size"
        for kind, expected in (("sha256", self.sha256), ("sha1", self.sha1), ("md5", self.md5)):
            if expected is not None:
                found = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
                if found != expected:
                    return kind
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class CelebAFacts:
    """What a complete CelebA release consists of.

    partition           pictures per part: train, validation, test
    first_picture_md5   md5 of 000001.jpg decoded with IJG libjpeg 7 to 9 to (H, W, 3) uint8 RGB
    """

    pictures: int
    identities: int
    attribute_names: tuple[str, ...]
    partition: tuple[int, int, int]
    first_picture_md5: str
    files: tuple[ExpectedFile, ...]

    def file(self, name: str) -> ExpectedFile:
        """The expected file with this name, with or without its folder; raises KeyError."""
        for item in self.files:
            if name in (item.name, item.name.rpartition("/")[2]):
                return item
        raise KeyError(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class HQIndex:
    """An `image_list.txt` of CelebA-HQ, row by row.

    idx        (N,) int32, number of the image
    orig_idx   (N,) int32, number of the CelebA picture, from 0
    proc_md5   (N,) bytes of 32 hex digits, the cropped picture before the delta
    final_md5  (N,) bytes of 32 hex digits, the final image
    """

    idx: NDArray[np.int32]
    orig_idx: NDArray[np.int32]
    proc_md5: NDArray[np.bytes_]
    final_md5: NDArray[np.bytes_]

    def __len__(self) -> int:
        return len(self.idx)

    def orig_file(self, row: int) -> str:
        """File name of the CelebA picture of a row."""
        return orig_file_name(int(self.orig_idx[row]))


def orig_file_name(orig_idx: int) -> str:
    """File name of the CelebA picture with a number counted from 0."""
    return f"{orig_idx + 1:06d}.jpg"


def load_celeba_facts() -> CelebAFacts:
    """Read `celeba.json`."""
    document = _load_json("celeba.json", "celeba/1")
    try:
        counts = document["counts"]
        parts = counts["partition"]
        facts = CelebAFacts(
            pictures=int(counts["pictures"]),
            identities=int(counts["identities"]),
            attribute_names=tuple(document["attribute_names"]),
            partition=(int(parts["train"]), int(parts["validation"]), int(parts["test"])),
            first_picture_md5=str(document["first_picture"]["md5_rgb_ijg8"]),
            files=tuple(
                ExpectedFile(**{**item, "reported_by": tuple(item["reported_by"])}) for item in document["files"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{PACKAGE}/celeba.json: not as its schema says ({one_line(error)})") from None
    if sum(facts.partition) != facts.pictures or len(facts.attribute_names) != counts["attributes"]:
        raise FormatError(f"{PACKAGE}/celeba.json: its counts contradict each other")
    return facts


def load_celebahq_index() -> HQIndex:
    """Read the official index of CelebA-HQ, 30,000 rows, and check the md5 of its bytes."""
    facts = _load_json("celebahq.json", "celebahq/1")
    name = str(facts["file"])
    packed = _read(name)
    try:
        data = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{PACKAGE}/{name}: damaged ({one_line(error)}); install the package again") from None
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != facts["md5"]:
        raise FormatError(f"{PACKAGE}/{name}: expected md5 {facts['md5']}, found {found}; install the package again")
    index = parse_image_list(data, f"{PACKAGE}/{name}")
    if len(index) != facts["rows"]:
        raise FormatError(f"{PACKAGE}/{name}: expected {facts['rows']:,} rows, found {len(index):,}")
    return index


def parse_image_list(data: bytes, path: str) -> HQIndex:
    """Parse an `image_list.txt`: a line of column names, then rows separated by white space.

    path: for messages. Raises FormatError naming the line.
    """
    if len(data) > MAX_INDEX_BYTES:
        raise FormatError(f"{path}: {len(data):,} bytes are too many for an image list")
    lines = data.decode("ascii", "replace").splitlines()
    if not lines or tuple(lines[0].split()) != INDEX_COLUMNS:
        found = lines[0].strip()[:80] if lines else "nothing"
        raise FormatError(f"{path}, line 1: expected the columns {' '.join(INDEX_COLUMNS)}, found {found!r}")
    rows = [_index_row(line, number, path) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    if not rows:
        raise FormatError(f"{path}: expected at least one row after the column names, found none")
    idx, orig_idx, proc_md5, final_md5 = zip(*rows, strict=True)
    if len(set(idx)) != len(idx):
        raise FormatError(f"{path}: an idx occurs twice; every image must have one row")
    return HQIndex(
        idx=np.array(idx, np.int32),
        orig_idx=np.array(orig_idx, np.int32),
        proc_md5=np.array(proc_md5, f"S{MD5_DIGITS}"),
        final_md5=np.array(final_md5, f"S{MD5_DIGITS}"),
    )


def load_sample_provenance() -> Mapping[str, Any]:
    """Read `sample.json`: where each picture of the sample comes from and what was done to it."""
    return _load_json("sample.json", "sample/1")


def _index_row(line: str, number: int, path: str) -> tuple[int, int, str, str]:
    fields = line.split()
    if len(fields) != len(INDEX_COLUMNS):
        raise FormatError(f"{path}, line {number}: expected {len(INDEX_COLUMNS)} fields, found {len(fields)}")
    idx, orig_idx, orig_file, proc_md5, final_md5 = fields
    # ASCII digits only, few enough for int32.
    if not all(text.isascii() and text.isdigit() and len(text) <= 9 for text in (idx, orig_idx)):
        raise FormatError(f"{path}, line {number}: expected numbers in the first two fields, found {line[:40]!r}")
    if orig_file != orig_file_name(int(orig_idx)):
        raise FormatError(
            f"{path}, line {number}: expected orig_file {orig_file_name(int(orig_idx))} for orig_idx {orig_idx},"
            f" found {orig_file[:40]!r}"
        )
    for digest in (proc_md5, final_md5):
        if len(digest) != MD5_DIGITS or set(digest) - set("0123456789abcdef"):
            raise FormatError(f"{path}, line {number}: expected an md5 of 32 hex digits, found {digest[:40]!r}")
    return int(idx), int(orig_idx), proc_md5, final_md5


def _load_json(name: str, schema: str) -> dict[str, Any]:
    try:
        document = json.loads(_read(name))
    except ValueError as error:
        raise FormatError(f"{PACKAGE}/{name}: no valid JSON ({one_line(error)})") from None
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise FormatError(f"{PACKAGE}/{name}: expected schema {schema}, found {found}")
    return dict(document)


def _read(name: str) -> bytes:
    try:
        return (resources.files(PACKAGE) / name).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise FormatError(f"{PACKAGE}/{name}: cannot be read ({one_line(error)}); install the package again") from None
