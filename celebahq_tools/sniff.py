"""What a file is, told from its first bytes."""

from typing import Literal

HEAD_BYTES = 512

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"P1", "PPM"),
    (b"P2", "PPM"),
    (b"P3", "PPM"),
    (b"P4", "PPM"),
    (b"P5", "PPM"),
    (b"P6", "PPM"),
)
"""Leading bytes of the formats that are decoded."""

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"<svg", "an SVG drawing"),
    (b"\0\0\1\0", "an icon file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
)
"""Leading bytes of formats people meet that are not decoded."""

_BOX_BRANDS: tuple[tuple[bytes, str], ...] = (
    (b"avif", "an AVIF picture"),
    (b"avis", "an AVIF sequence"),
    (b"hei", "a HEIC picture"),
    (b"hev", "a HEIC sequence"),
    (b"mif1", "a HEIF picture"),
)
"""Major brands of ISO media files (`ftyp` boxes)."""

_HTML_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")

SHOWN_BYTES = 8


def sniff_format(data: bytes) -> str | None:
    """Name the decodable format `data` begins with (`JPEG`, `PNG`, ...), or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    return None


def describe_content(data: bytes) -> tuple[Literal["html", "known", "unknown"], str]:
    """Say what a file that is no decodable picture seems to be: a class and words for a message."""
    head = data[:HEAD_BYTES]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_HTML_STARTS) or (text.startswith(b"<") and b"<html" in text):
        return "html", "an HTML page"
    if head[4:8] == b"ftyp":
        brand = next((words for start, words in _BOX_BRANDS if head[8:].startswith(start)), "a video")
        return "known", brand
    for magic, words in _OTHERS:
        if head.startswith(magic) or text.startswith(magic.lower()):
            return "known", words
    return "unknown", f"bytes {head[:SHOWN_BYTES].hex(' ')}"


def is_seven_zip(head: bytes) -> bool:
    """True for the first volume of a 7z archive."""
    return head.startswith(_OTHERS[0][0])
