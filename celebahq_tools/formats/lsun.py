"""LSUN: an LMDB of JPEG or WebP pictures by key, as its download scripts leave it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celebahq_tools.archives import MAX_MEMBER_BYTES
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import MissingDependencyError, PictureError, SourceError
from celebahq_tools.formats.collection import Collection, LazyList, digest_of, file_digest
from celebahq_tools.names import one_line

LSUN_RES = 256


def _open(path: Path) -> Any:
    try:
        import lmdb
    except ImportError:
        raise MissingDependencyError(
            "LSUN's LMDBs need the package lmdb: pip install 'celebahq-tools[formats]'"
        ) from None
    data = path / "data.mdb" if path.is_dir() else path
    if not data.is_file():
        raise SourceError(f"{path}: expected an LMDB, a folder with data.mdb")
    try:
        return lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir(), readahead=False, create=False)
    except (lmdb.Error, OSError, ValueError) as error:
        raise SourceError(f"{path}: no readable LMDB ({one_line(error)}); get it again") from None


class LmdbPictures:
    """Pictures of an LMDB by key, given in hexadecimal where it is no text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._env: Any = None

    def __getstate__(self) -> Path:
        return self._path

    def __setstate__(self, state: Path) -> None:
        self._path, self._env = state, None

    def image(self, file: str, position: int) -> NDArray[np.uint8]:
        """See `ImageReader.image`."""
        if self._env is None:
            self._env = _open(self._path)
        try:
            with self._env.begin(buffers=True) as transaction:
                value = transaction.get(_key(file))
                data = b"" if value is None else bytes(value[: MAX_MEMBER_BYTES + 1])
        except Exception as error:
            raise PictureError("unreadable", f"{self._path}: {file}: {one_line(error)}") from None
        if len(data) > MAX_MEMBER_BYTES:
            raise PictureError("too-large", f"{self._path}: {file}: more than {MAX_MEMBER_BYTES:,} bytes")
        return decode_picture(data, name=file)

    def close(self) -> None:
        """Close the LMDB; the next image opens it again."""
        if self._env is not None:
            self._env.close()
            self._env = None


def open_lsun(path: Path) -> Collection:
    """The pictures of an LMDB in the order of their keys. Raises SourceError, MissingDependencyError."""
    env = _open(path)
    try:
        with env.begin() as transaction:
            keys = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]
    except Exception as error:
        raise SourceError(f"{path}: a damaged LMDB ({one_line(error)}); get it again") from None
    finally:
        env.close()
    if not keys:
        raise SourceError(f"{path}: no pictures in it")
    names = LazyList(len(keys), lambda number: _name(keys[number]))
    data = path / "data.mdb" if path.is_dir() else path
    return Collection(
        kind="lsun",
        root=path,
        digest=digest_of("lsun", file_digest(data), *keys),
        keys=names,
        files=names,
        positions=range(len(keys)),
        reader=LmdbPictures(path),
        natural_res=LSUN_RES,
        lossless=False,
    )


def _name(key: bytes) -> str:
    text = key.decode("ascii", "replace")
    plain = text.isprintable() and "\ufffd" not in text and not text.startswith("0x") and "\\" not in text
    return text if plain else "0x" + key.hex()


def _key(name: str) -> bytes:
    return bytes.fromhex(name[2:]) if name.startswith("0x") else name.encode("ascii")
