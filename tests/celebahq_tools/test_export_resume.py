"""An export that stops anywhere goes on with the same command, to the bytes of one that did not stop."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from celebahq_tools.cli import main
from celebahq_tools.errors import BusyError, UsageError
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid
from celebahq_tools.store.growing import GrowingFiles

COUNT, RES = 7, 16
TARGETS = {
    "png": "p.zip",
    "webp": "w.zip",
    "stylegan": "s.zip",
    "tfrecords": "t",
    "npy": "a.npy",
    "parquet": "a.parquet",
}

KILLED = """
import os, signal, sys
from celebahq_tools.cli import main
from celebahq_tools.store import growing
whole, calls, last = growing.write_fully, [], int(sys.argv[1])
def half(descriptor, data, offset):
    calls.append(1)
    if len(calls) == last:
        whole(descriptor, data[: len(data) // 2], offset)
        os.kill(os.getpid(), signal.SIGKILL)
    whole(descriptor, data, offset)
growing.write_fully = half
main(sys.argv[2:])
"""


@pytest.fixture
def reader(tmp_path: Path) -> PyramidReader:
    path = tmp_path / "o.h5"
    rows = [IndexRow(key=f"{k:05d}", file="x", label=k % 3) for k in range(COUNT)]
    create_pyramid(path, res=RES, rows=rows, meta=PyramidMeta(), label_names=("a", "b", "c"))
    with SlotWriter(path) as writer:
        writer.write_run(0, np.random.default_rng(0).integers(0, 256, (COUNT, 3, RES, RES), dtype=np.uint8))
    return PyramidReader(path)


def arguments(reader: PyramidReader, kind: str, folder: Path) -> list[str]:
    return ["export", str(reader.path), "--format", kind, "--to", str(folder / TARGETS[kind]), "-q"]


def export(reader: PyramidReader, kind: str, folder: Path, *more: str) -> None:
    main([*arguments(reader, kind, folder), *more], standalone_mode=False)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    return tmp_path / "whole", tmp_path / "stopped"


class StoppedError(Exception):
    pass


def stopped_after(items: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[], None]) -> None:
    """Run an export that stops when this many items are stored."""
    append = GrowingFiles.append

    def stopping(self: GrowingFiles, chunks: list[bytes]) -> None:
        if self.done == items:
            raise StoppedError
        append(self, chunks)

    with monkeypatch.context() as patched:
        patched.setattr(GrowingFiles, "append", stopping)
        with pytest.raises(StoppedError):
            run()


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("writes", [3, 12])
def test_killed_in_the_middle_of_a_write(
    kind: str, writes: int, reader: PyramidReader, places: tuple[Path, Path]
) -> None:
    whole, killed = places
    export(reader, kind, whole)
    command = [sys.executable, "-c", KILLED, str(writes), *arguments(reader, kind, killed)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not set(content(killed)) & set(content(whole))
    export(reader, kind, killed)
    assert content(killed) == content(whole)


@pytest.mark.parametrize("kind", TARGETS)
def test_only_what_is_missing_is_made(
    kind: str, reader: PyramidReader, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = places
    export(reader, kind, whole)
    for items in (0, 2, COUNT - 1):
        stopped_after(items, monkeypatch, lambda: export(reader, kind, stopped))
    appended: list[int] = []
    append = GrowingFiles.append

    def counting(self: GrowingFiles, chunks: list[bytes]) -> None:
        appended.append(self.done)
        append(self, chunks)

    with monkeypatch.context() as patched:
        patched.setattr(GrowingFiles, "append", counting)
        export(reader, kind, stopped)
    assert appended == [COUNT - 1]
    assert content(stopped) == content(whole)


def damage_last_item(partial: Path, journal: Path) -> None:
    data = bytearray(partial.read_bytes())
    data[-1] ^= 1
    partial.write_bytes(data)


def cut_journal(partial: Path, journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-5])


def cut_file(partial: Path, journal: Path) -> None:
    partial.write_bytes(partial.read_bytes()[:-9])


def add_rubbish(partial: Path, journal: Path) -> None:
    partial.write_bytes(partial.read_bytes() + bytes(1000))


def huge_record(partial: Path, journal: Path) -> None:
    journal.write_bytes(journal.read_bytes() + b"\xff" * 36)


def lose_file(partial: Path, journal: Path) -> None:
    partial.unlink()


@pytest.mark.parametrize("harm", [damage_last_item, cut_journal, cut_file, add_rubbish, huge_record, lose_file])
@pytest.mark.parametrize("kind", ["npy", "tfrecords", "stylegan"])
def test_damage_to_what_is_unfinished_is_noticed(
    kind: str,
    harm: Callable[[Path, Path], None],
    reader: PyramidReader,
    places: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, stopped = places
    export(reader, kind, whole)
    stopped_after(4, monkeypatch, lambda: export(reader, kind, stopped))
    (journal,) = stopped.rglob("*.journal")
    harm(sorted(stopped.rglob("*.partial"))[-1], journal)
    export(reader, kind, stopped)
    assert content(stopped) == content(whole)


@pytest.mark.parametrize("kind", TARGETS)
def test_stopped_while_files_get_their_names(
    kind: str, reader: PyramidReader, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = places
    export(reader, kind, whole)
    unlink = Path.unlink

    def no_unlink(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".journal":
            raise StoppedError
        unlink(self, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", no_unlink)
        with pytest.raises(StoppedError):
            export(reader, kind, stopped)
    named = sorted(stopped.rglob("*.tfrecords"))
    if named:
        named[-1].rename(named[-1].with_name(named[-1].name + ".partial"))
    export(reader, kind, stopped)
    assert content(stopped) == content(whole)


@pytest.mark.parametrize("kind", TARGETS)
def test_an_unfinished_export_of_something_else_is_not_mixed_in(
    kind: str, reader: PyramidReader, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = places
    export(reader, kind, whole, "--res", "8")
    stopped_after(4, monkeypatch, lambda: export(reader, kind, stopped))
    before = content(stopped)
    for other in (["--res", "8"], ["--limit", "6"], ["--ids", "1,0,2-6"]):
        with pytest.raises(SystemExit) as refused:
            export(reader, kind, stopped, *other)
        assert refused.value.code == UsageError.exit_code
    assert content(stopped) == before
    export(reader, kind, stopped, "--res", "8", "--overwrite")
    assert content(stopped) == content(whole)


def test_another_file_is_another_export(
    reader: PyramidReader,
    places: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped_after(4, monkeypatch, lambda: export(reader, "npy", places[1]))
    reader.path.unlink()
    rows = [IndexRow(key=f"{k:05d}", file="x", label=k % 3) for k in range(COUNT)]
    create_pyramid(reader.path, res=RES, rows=rows, meta=PyramidMeta(), label_names=("a", "b", "c"))
    with SlotWriter(reader.path) as writer:
        writer.write_run(0, np.zeros((COUNT, 3, RES, RES), np.uint8))
    with pytest.raises(SystemExit):
        export(reader, "npy", places[1])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a.npy.journal: an unfinished export with other options or of another file is here" in error


def test_one_export_to_a_place_at_a_time(tmp_path: Path) -> None:
    header = {"format": "npy"}
    with GrowingFiles([tmp_path / "a"], tmp_path / "a.journal", header=header) as first:
        first.append([b"one"])
        with pytest.raises(BusyError, match="another process is exporting to it"):
            GrowingFiles([tmp_path / "a"], tmp_path / "a.journal", header=header)
    assert (tmp_path / "a.partial").read_bytes() == b"one"
    with GrowingFiles([tmp_path / "a"], tmp_path / "a.journal", header=header) as again:
        assert (again.done, again.ends().tolist()) == (1, [3])
