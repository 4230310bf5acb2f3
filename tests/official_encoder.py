"""The encoder side of the official delta format, for tests: a miniature CelebA with deltas made for it.

Written from the format's description alone, apart from the code under test, except for the picture before its
delta, which nothing else can make.
"""

import base64
import bz2
import hashlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
from cryptography.fernet import Fernet

from celebahq_tools.official import make_proc
from celebahq_tools.sources import open_source

SHAPE = (3, 1024, 1024)
IDX = (0, 1, 7, 999, 1000, 1001)
"""Numbers given to the pictures: two zips, gaps, both ends of the first."""


def encode_official(celeba: Path, out: Path, idx: tuple[int, ...] = IDX) -> dict[int, np.ndarray]:
    """Copy len(idx) pictures of a CelebA root to out/celeba and write out/deltas; the final images by idx."""
    (out / "deltas").mkdir(parents=True)
    shutil.copytree(celeba, out / "celeba")
    source = open_source(out / "celeba")
    # Not in the order of the pictures, as in the official index.
    files = [f"{number + 1:06d}.jpg" for number in np.random.default_rng(2).permutation(len(idx))]
    finals: dict[int, np.ndarray] = {}
    lines = ["idx         orig_idx    orig_file   proc_md5                          final_md5"]
    archives: dict[str, zipfile.ZipFile] = {}
    for number, file in zip(idx, files, strict=True):
        jpeg = source.read(file)
        proc = make_proc(jpeg, file, source.require_record(file).landmarks)
        delta = np.random.default_rng(number).integers(0, 4, SHAPE, dtype=np.uint8) - np.uint8(2)
        delta[:, 64:] = 0
        final = proc + delta
        finals[number] = final
        name = f"deltas{number - number % 1000:05d}.zip"
        if name not in archives:
            archives[name] = zipfile.ZipFile(out / "deltas" / name, "w")
        archives[name].writestr(f"delta{number:05d}.dat", encrypt(delta, jpeg, file))
        orig_idx = int(file[:6]) - 1
        lines.append(f"{number:<12}{orig_idx:<12}{file}  {md5(proc)}  {md5(final)}")
    for archive in archives.values():
        archive.close()
    (out / "deltas" / "image_list.txt").write_bytes("\r\n".join([*lines, ""]).encode())
    return finals


def encrypt(delta: np.ndarray, jpeg: bytes, file: str) -> bytes:
    """The Fernet token of a delta."""
    key = hashlib.pbkdf2_hmac("sha256", jpeg, file.encode(), 100_000, dklen=32)
    return Fernet(base64.urlsafe_b64encode(key)).encrypt(bz2.compress(delta.tobytes()))


def md5(image: np.ndarray) -> str:
    """Of the CHW bytes."""
    return hashlib.md5(np.ascontiguousarray(image).tobytes()).hexdigest()
