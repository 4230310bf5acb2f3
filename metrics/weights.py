"""Network weights on disk: where they are looked for, fetched and checked before anything else reads them.

A file is read once; the same bytes are hashed and parsed, so that what is named in a result is what was run.
"""

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from metrics.errors import WeightsError

if TYPE_CHECKING:
    import torch

ProgressFn = Callable[[int, int], None]
Opener = Callable[[str, float], Any]

CACHE_VARIABLE = "METRICS_WEIGHTS"
SHARED_CACHE_VARIABLE = "CELEBAHQ_CACHE"
CACHE_NAME = "celebahq-tools"
ATTEMPTS = 3
TIMEOUT_SEC = 30.0
CHUNK_BYTES = 1 << 18
MAX_WEIGHTS_BYTES = 1 << 30
HASH_PREFIX = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsFile:
    """A published file: its name in the cache, where it is published, its sha256 (hex) and size in bytes."""

    name: str
    url: str
    sha256: str
    size: int


INCEPTION_2015 = WeightsFile(
    name="pt_inception-2015-12-05-6726825d.pth",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsBytes:
    """Content of a weights file. `standard` is whether it is the published file, by its sha256."""

    path: Path
    data: bytes
    sha256: str
    standard: bool


def cache_folder() -> Path:
    """Where weights are kept: $METRICS_WEIGHTS, else $CELEBAHQ_CACHE, else `celebahq-tools` in $XDG_CACHE_HOME
    or ~/.cache.
    """
    for variable in (CACHE_VARIABLE, SHARED_CACHE_VARIABLE):
        if explicit := os.environ.get(variable):
            return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / CACHE_NAME


def read_weights(
    spec: WeightsFile,
    path: Path | None = None,
    *,
    download: bool = True,
    progress: ProgressFn | None = None,
    opener: Opener | None = None,
) -> WeightsBytes:
    """The bytes of the file at `path`, or of the cached file, which is fetched first if need be.

    A `path` of the user's own may hold anything and is marked as not standard when its hash differs; a cached
    file must have the published hash. Raises WeightsError, with what to do, when there is no usable file.
    """
    if path is not None:
        return _read(path, spec)
    cached = cache_folder()
    # The variable may also name the file itself.
    cached = cached if cached.is_file() else cached / spec.name
    if not cached.is_file():
        if not download:
            raise WeightsError(_missing(spec, cached, "it is not there"))
        fetch(spec, cached, progress=progress, opener=opener)
    found = _read(cached, spec)
    if not found.standard:
        raise WeightsError(
            f"{cached} is damaged or another file: sha256 {found.sha256[:HASH_PREFIX]}..., expected "
            f"{spec.sha256[:HASH_PREFIX]}... ({len(found.data)} bytes, expected {spec.size}); delete it, or "
            "name it with --weights to use it as non-standard weights"
        )
    return found


def fetch(
    spec: WeightsFile,
    target: Path,
    *,
    progress: ProgressFn | None = None,
    opener: Opener | None = None,
    pause_sec: float = 1.0,
) -> None:
    """Download `spec` to `target` over https; nothing appears at `target` unless size and sha256 are right.

    Tries three times, with `pause_sec`, then twice that between; WeightsError with what to do otherwise.
    """
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    reason = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(pause_sec * 2 ** (attempt - 1))
            try:
                _download(spec, partial, progress, opener or _open_https)
            except (OSError, ValueError, urllib.error.URLError) as error:
                reason = str(getattr(error, "reason", None) or error)
                continue
            partial.replace(target)
            return
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror}; set {CACHE_VARIABLE}") from None
    finally:
        partial.unlink(missing_ok=True)
    raise WeightsError(_missing(spec, target, f"downloading it failed {ATTEMPTS} times ({reason})"))


def load_state_dict(weights: WeightsBytes, expected: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """The state dict in `weights`, with exactly the keys and shapes of `expected`; nothing in it is executed.

    Raises WeightsError for a truncated or foreign file, missing or unknown keys, other shapes, NaN.
    """
    import torch

    where = weights.path
    try:
        loaded = torch.load(BytesIO(weights.data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each kind of damage
        first_line = (str(error).splitlines() or [""])[0][:100]
        raise WeightsError(
            f"{where} is not a readable weights file (damaged, truncated, or holding more than tensors: "
            f"{type(error).__name__}: {first_line}); expected a .pth state dict"
        ) from None
    if not isinstance(loaded, Mapping) or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise WeightsError(f"{where} holds {type(loaded).__name__}, expected a state dict of tensors")
    missing = sorted(set(expected) - set(loaded))
    unknown = sorted(set(map(str, loaded)) - set(expected))
    if missing or unknown:
        raise WeightsError(
            f"{where} holds the weights of another network: {len(missing)} of {len(expected)} keys missing"
            f"{_for_example(missing)}, {len(unknown)} unknown{_for_example(unknown)}"
        )
    for key, tensor in expected.items():
        found = loaded[key]
        if found.shape != tensor.shape:
            raise WeightsError(f"{where}: {key} has shape {tuple(found.shape)}, expected {tuple(tensor.shape)}")
        if found.is_floating_point() != tensor.is_floating_point():
            raise WeightsError(f"{where}: {key} has type {found.dtype}, expected {tensor.dtype}")
        if not torch.isfinite(found).all():
            raise WeightsError(f"{where}: {key} holds NaN or infinity")
    return dict(loaded)


def read_hashed(path: Path) -> tuple[bytes, str]:
    """Content of a weights file and its sha256; WeightsError when it cannot be read or is too large."""
    try:
        size = path.stat().st_size
        if size > MAX_WEIGHTS_BYTES:
            raise WeightsError(f"{path} has {size} bytes, more than the {MAX_WEIGHTS_BYTES} allowed")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror}") from None
    return data, hashlib.sha256(data).hexdigest()


def _read(path: Path, spec: WeightsFile) -> WeightsBytes:
    data, digest = read_hashed(path)
    return WeightsBytes(path=path, data=data, sha256=digest, standard=digest == spec.sha256)


def _download(spec: WeightsFile, partial: Path, progress: ProgressFn | None, opener: Opener) -> None:
    digest = hashlib.sha256()
    done = 0
    with opener(spec.url, TIMEOUT_SEC) as response, partial.open("wb") as file:
        while chunk := response.read(CHUNK_BYTES):
            done += len(chunk)
            if done > spec.size:
                raise ValueError(f"more than the {spec.size} bytes expected")
            digest.update(chunk)
            file.write(chunk)
            if progress is not None:
                progress(done, spec.size)
        file.flush()
        os.fsync(file.fileno())
    if done != spec.size:
        raise ValueError(f"{done} bytes, expected {spec.size}")
    if digest.hexdigest() != spec.sha256:
        raise ValueError(f"sha256 {digest.hexdigest()[:HASH_PREFIX]}..., expected {spec.sha256[:HASH_PREFIX]}")


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open_https(url: str, timeout_sec: float) -> Any:
    _check_https(url)
    return urllib.request.build_opener(_HttpsOnly).open(url, timeout=timeout_sec)


def _check_https(url: str) -> None:
    if urlsplit(url).scheme != "https":
        raise ValueError(f"{url} is not https")


def _missing(spec: WeightsFile, target: Path, why: str) -> str:
    return (
        f"the weights file {spec.name} is needed and {why}; get it (sha256 {spec.sha256[:HASH_PREFIX]}..., "
        f"{spec.size} bytes) from {spec.url} and put it at {target}, or name it with --weights"
    )


def _for_example(keys: list[str]) -> str:
    return f" ({keys[0]} ...)" if keys else ""
