"""The header of a safetensors file, read without torch."""

import json

from celebahq_tools.errors import FormatError

OURS_KEY = "celebahq-restorer"
OURS_FORMAT = 1
HEADER_BYTES = 8
MAX_HEADER_BYTES = 1 << 20


def read_metadata(data: bytes, *, name: str) -> dict[str, str]:
    """The header's metadata. FormatError when it is no safetensors file."""
    size = int.from_bytes(data[:HEADER_BYTES], "little")
    if len(data) < HEADER_BYTES or size > min(MAX_HEADER_BYTES, len(data) - HEADER_BYTES):
        raise FormatError(f"{name}: not a safetensors file, or truncated")
    try:
        header = json.loads(data[HEADER_BYTES : HEADER_BYTES + size])
        metadata = header.get("__metadata__", {})
    except (ValueError, AttributeError):
        raise FormatError(f"{name}: not a safetensors file: its header is no JSON object") from None
    if not isinstance(metadata, dict):
        raise FormatError(f"{name}: not a safetensors file: its metadata are no JSON object")
    return {str(key): str(value) for key, value in metadata.items()}
