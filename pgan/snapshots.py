"""Tensors and their description in one safetensors file: written whole or not at all, checked when read.

The header carries a JSON text under the key `pgan`; it names the format, its version, the kind of file and the sha256
of all tensors. Nothing in a file is ever executed.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pgan.errors import CheckpointError, DiskSpaceError

FORMAT = "celebahq-tools/pgan-snapshot"
VERSION = 1
KEY = "pgan"
STATE, NETWORK = "state", "network"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a file holds.

    kind     'state' (all that a run needs to go on) or 'network' (an averaged generator)
    meta     JSON values: config, nimg and whatever belongs to the kind
    tensors  by name
    """

    kind: str
    meta: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 (hex) over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write to `.partial`, read it back, rename. Raises DiskSpaceError when the disk is full; nothing is left then."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()}
    head = {
        "format": FORMAT,
        "version": VERSION,
        "kind": snapshot.kind,
        "sha256": digest_of(tensors),
        **snapshot.meta,
    }
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # save_file makes files that only their owner may read; ours are like any other new file.
        partial.touch()
        mode = stat.S_IMODE(partial.stat().st_mode)
        save_file(tensors, partial, metadata={KEY: json.dumps(head, sort_keys=True)})
        partial.chmod(mode)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        read_snapshot(partial, kind=snapshot.kind)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        full = getattr(error, "errno", None) in _FULL or "No space left" in str(error) or "os error 28" in str(error)
        if full:
            raise DiskSpaceError(f"{path}: the disk is full; free some space and resume") from None
        raise CheckpointError(f"{path}: cannot be written ({error})") from None


def read_snapshot(path: Path, *, kind: str | None = None) -> Snapshot:
    """Read and check a file. CheckpointError when it is missing, cut short, altered, of another kind or version."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            head = json.loads(text) if text is not None else None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is cut short or damaged ({error}); use an older one") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by this program")
    if head.get("version") != VERSION:
        raise CheckpointError(f"{path} has version {head.get('version')!r}, this program reads {VERSION}")
    if kind is not None and head.get("kind") != kind:
        raise CheckpointError(f"{path} is of kind {head.get('kind')!r}, expected {kind!r}")
    if digest_of(tensors) != head.get("sha256"):
        raise CheckpointError(f"{path}: its content does not match its checksum; use an older one")
    meta = {name: value for name, value in head.items() if name not in ("format", "version", "kind", "sha256")}
    return Snapshot(kind=head["kind"], meta=meta, tensors=tensors)
