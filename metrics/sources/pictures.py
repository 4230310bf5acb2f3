"""Images of a folder (with its sub-folders) or of a zip archive, in the order of their sorted names."""

import zipfile
import zlib
from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.errors import ImageSetError
from metrics.sources.base import ImageSet, replicate_channels, resize_chw

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MAX_FILE_BYTES = 1 << 28
"""A picture file larger than this is refused (a zip member's size is checked before it is inflated)."""
MAX_PIXELS = 1 << 27
GRAY_MODES = ("L", "1")
COLOUR_MODES = ("RGB", "YCbCr", "CMYK", "P")


class PictureSet(ImageSet):
    """All pictures below a folder or inside a zip; headers are read on opening, pixels on reading.

    Without `res` every picture must be square and of one size. With `res` pictures of other sizes are resized
    by the named resizer; they must be square all the same.
    """

    def __init__(self, path: Path, *, res: int | None, resizer: str | None) -> None:
        self.label = str(path)
        self.kind = "folder" if path.is_dir() else "zip"
        self._root = path
        self._zip: zipfile.ZipFile | None = None
        if self.kind == "zip":
            self._zip = _open_zip(path)
        self._lock = Lock()
        try:
            self._survey(path, res, resizer)
        except BaseException:
            self.close()
            raise

    def _survey(self, path: Path, res: int | None, resizer: str | None) -> None:
        """Read all headers and decide number, channels and side."""
        self._names = self._list()
        self.n = len(self._names)
        if self.n == 0:
            raise ImageSetError(f"{path} holds no images (looked for {', '.join(SUFFIXES)})")
        headers = [self._header(name) for name in self._names]
        self._gray = self._one_kind(headers)
        self.res, resized = self._one_size(headers, res, resizer)
        self._filter = resizer
        self.resizer = f"pillow-{resizer}" if resized else None

    def _list(self) -> list[str]:
        if self._zip is not None:
            names = [info.filename for info in self._zip.infolist() if not info.is_dir()]
            names = [name for name in names if not name.startswith("__MACOSX/")]
        else:
            files = (file for file in self._root.rglob("*") if file.is_file())
            names = [file.relative_to(self._root).as_posix() for file in files]
        return sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)

    def _bytes(self, name: str) -> bytes:
        """The file's bytes; ImageSetError names the file that cannot be read."""
        try:
            if self._zip is None:
                file = self._root / name
                size = file.stat().st_size
                data = file.read_bytes() if size <= MAX_FILE_BYTES else b""
            else:
                size = self._zip.getinfo(name).file_size
                with self._lock:
                    data = self._zip.read(name) if size <= MAX_FILE_BYTES else b""
        except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
            raise ImageSetError(f"{self.label}: cannot read {name}: {error}") from None
        if size > MAX_FILE_BYTES:
            raise ImageSetError(f"{self.label}: {name} has {size} bytes, more than the {MAX_FILE_BYTES} allowed")
        return data

    def _open(self, name: str, data: Any) -> Any:
        """Pillow image, header read, EXIF orientation still to be applied."""
        from PIL import Image, UnidentifiedImageError

        try:
            picture = Image.open(data)
        except (
            OSError,
            UnidentifiedImageError,
            Image.DecompressionBombError,
            ValueError,
            SyntaxError,
        ) as error:
            raise ImageSetError(f"{self.label}: {name} is not a readable image: {error}") from None
        if picture.width * picture.height > MAX_PIXELS:
            raise ImageSetError(f"{self.label}: {name} has {picture.width}x{picture.height} pixels, too many")
        return picture

    def _header(self, name: str) -> tuple[str, str, int, int]:
        """(name, 'gray' or 'colour', width, height) without decoding pixels."""
        source: Any = self._root / name if self._zip is None else BytesIO(self._bytes(name))
        with self._open(name, source) as picture:
            mode, (width, height) = picture.mode, picture.size
            if mode in GRAY_MODES:
                return name, "gray", width, height
            if mode in COLOUR_MODES and "transparency" not in picture.info:
                return name, "colour", width, height
        raise ImageSetError(
            f"{self.label}: {name} has pixel mode {mode} (alpha, or more than 8 bits per channel); "
            "expected 8-bit RGB or grayscale: convert the file"
        )

    def _one_kind(self, headers: list[tuple[str, str, int, int]]) -> bool:
        """Whether all pictures are grayscale; ImageSetError when only some are."""
        first_name, first_kind, *_ = headers[0]
        for name, kind, *_ in headers:
            if kind != first_kind:
                raise ImageSetError(
                    f"{self.label}: mixed channels: {first_name} is {first_kind}, {name} is {kind}; "
                    "convert all files to one kind"
                )
        return first_kind == "gray"

    def _one_size(
        self, headers: list[tuple[str, str, int, int]], res: int | None, resizer: str | None
    ) -> tuple[int, bool]:
        """(side handed out, whether any picture must be resized)."""
        first_name, _, first_width, _ = headers[0]
        for name, _, width, height in headers:
            if width != height:
                raise ImageSetError(f"{self.label}: {name} is {width}x{height}, expected a square: crop it first")
            if res is None and width != first_width:
                raise ImageSetError(
                    f"{self.label}: mixed sizes: {first_name} is {first_width}x{first_width}, {name} is "
                    f"{width}x{height}; name one size with --res and a resizer with --resizer"
                )
            if res is not None and width != res and resizer is None:
                raise ImageSetError(
                    f"{self.label}: {name} is {width}x{height}, asked for {res}; name one with --resizer"
                )
        side = first_width if res is None else res
        return side, any(width != side for _, _, width, _ in headers)

    def _decode(self, name: str) -> NDArray[np.uint8]:
        """(1 or 3, R, R) uint8."""
        from PIL import ImageOps

        with self._open(name, BytesIO(self._bytes(name))) as picture:
            try:
                upright = ImageOps.exif_transpose(picture)
                pixels = np.asarray(upright.convert("L" if self._gray else "RGB"))
            except (OSError, ValueError, SyntaxError, MemoryError) as error:
                raise ImageSetError(f"{self.label}: {name} cannot be decoded: {error}") from None
        planes = pixels[None] if self._gray else pixels.transpose(2, 0, 1)
        if planes.shape[1] != self.res:
            if self._filter is None:
                raise ImageSetError(f"{self.label}: {name} changed its size while it was read")
            return resize_chw(planes, self.res, self._filter)
        return planes

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices`, in that order."""
        images = np.stack([self._decode(self._names[int(index)]) for index in indices])
        return replicate_channels(images)

    def _fingerprint(self) -> str:
        digest = sha256(f"{self.res} {self.resizer}\n".encode())
        for name in self._names:
            digest.update(f"{sha256(self._bytes(name)).hexdigest()} {name}\n".encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Close the archive."""
        if self._zip is not None:
            self._zip.close()


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ImageSetError(f"{path} is not a readable zip archive: {error}") from None
