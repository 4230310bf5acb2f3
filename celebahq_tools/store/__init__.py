"""Pyramid files: HDF5, one dataset of images per resolution, and an index; see docs/format.md."""

from celebahq_tools.store.create import create_pyramid
from celebahq_tools.store.index import PyramidIndex
from celebahq_tools.store.layout import FileLayout, read_layout
from celebahq_tools.store.reader import PyramidReader
from celebahq_tools.store.schema import (
    FORMAT_NAME,
    FORMAT_VERSION,
    PARTIAL_SUFFIX,
    IndexRow,
    PyramidMeta,
    required_bytes,
)
from celebahq_tools.store.slots import SlotWriter
from celebahq_tools.store.verify import BadImage, VerifyReport, verify_pyramid

__all__ = [
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "PARTIAL_SUFFIX",
    "BadImage",
    "FileLayout",
    "IndexRow",
    "PyramidIndex",
    "PyramidMeta",
    "PyramidReader",
    "SlotWriter",
    "VerifyReport",
    "create_pyramid",
    "read_layout",
    "required_bytes",
    "verify_pyramid",
]
