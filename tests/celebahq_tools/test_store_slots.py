"""Filling slots: from several processes, through kills and full disks."""

import errno
import hashlib
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from celebahq_tools.errors import DiskSpaceError, FormatError
from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid, verify_pyramid

MakeStore = Callable[..., tuple[Path, np.ndarray]]


def empty(path: Path, count: int = 4, res: int = 32) -> Path:
    rows = [IndexRow(key=f"k{k}", file=f"f{k}") for k in range(count)]
    create_pyramid(path, res=res, rows=rows, meta=PyramidMeta())
    return path


def test_write_stores_levels_checksum_and_quality(tmp_path: Path, store_images: Callable[..., np.ndarray]) -> None:
    images = store_images(4, 32)
    with SlotWriter(empty(tmp_path / "a.h5.partial")) as writer:
        assert (writer.num_images, writer.resolution) == (4, 32)
        assert writer.read_sha256(2) is None
        digest = writer.write(2, images[2], quality=0.5)
        assert digest == hashlib.sha256(images[2].tobytes()).hexdigest() == writer.read_sha256(2)
        np.testing.assert_array_equal(writer.read_finest(2), images[2])
        writer.write(0, images[0])
        writer.sync()
    reader = PyramidReader(tmp_path / "a.h5.partial", allow_partial=True)
    assert reader.index.row(2).quality == 0.5
    assert reader.index.row(0).quality is None
    assert reader.index.row(1).sha256 is None
    for res, level in build_levels(images[2]).items():
        np.testing.assert_array_equal(reader.read(2, res), level)
        assert not reader.read(1, res).any()


def test_a_slot_can_be_cleared_and_written_again(make_store: MakeStore) -> None:
    path, images = make_store()
    with SlotWriter(path) as writer:
        writer.clear(1)
        assert writer.read_sha256(1) is None
        assert [bad.problem for bad in verify_pyramid(path).bad] == ["never written"]
        writer.write(1, images[3])
    assert verify_pyramid(path).ok
    np.testing.assert_array_equal(PyramidReader(path).read(1), images[3])


def test_views_are_written_in_channel_order(tmp_path: Path, store_images: Callable[..., np.ndarray]) -> None:
    picture = np.ascontiguousarray(store_images(1, 32)[0].transpose(1, 2, 0))
    with SlotWriter(empty(tmp_path / "a.h5")) as writer:
        writer.write(0, picture.transpose(2, 0, 1))
        np.testing.assert_array_equal(writer.read_finest(0), picture.transpose(2, 0, 1))


def test_processes_write_their_own_slots(tmp_path: Path, store_images: Callable[..., np.ndarray]) -> None:
    images = store_images(12, 16)
    writer = SlotWriter(empty(tmp_path / "a.h5", count=12, res=16))
    writer.clear(0)  # is open here when it is pickled
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        digests = list(pool.map(writer.write, range(12), images))
    assert digests == [writer.read_sha256(slot) for slot in range(12)]
    assert verify_pyramid(tmp_path / "a.h5").ok
    np.testing.assert_array_equal(PyramidReader(tmp_path / "a.h5").read(slice(None)), images)


def test_threads_share_a_writer(tmp_path: Path, store_images: Callable[..., np.ndarray]) -> None:
    images = store_images(40, 16)
    with SlotWriter(empty(tmp_path / "a.h5", count=40, res=16)) as writer, ThreadPoolExecutor(4) as pool:
        list(pool.map(writer.write, range(40), images))
    np.testing.assert_array_equal(PyramidReader(tmp_path / "a.h5").read(slice(None)), images)


WRITE_FOR_EVER = """
    import itertools, sys
    import numpy as np
    from celebahq_tools.store import SlotWriter
    path, seed = sys.argv[1], int(sys.argv[2])
    rng = np.random.default_rng(seed)
    with SlotWriter(path) as writer:
        for turn in itertools.count():
            slot = int(rng.integers(writer.num_images))
            digest = writer.write(slot, rng.integers(0, 256, (3, 128, 128), dtype=np.uint8))
            print(slot, digest, flush=True)
"""


def test_killed_writers_leave_whole_slots_or_empty_ones(tmp_path: Path) -> None:
    path = empty(tmp_path / "a.h5.partial", count=8, res=128)
    structure = path.read_bytes()[:2048]
    dice = random.Random(0)
    told: dict[int, str] = {}
    for kill in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITE_FOR_EVER), str(path), str(kill)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        time.sleep(dice.uniform(0, 0.05))
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        for line in lines:
            number, digest = line.split()
            told[int(number)] = digest
        report = verify_pyramid(path, allow_partial=True)
        assert {bad.problem for bad in report.bad} <= {"never written"}
        with SlotWriter(path) as writer:
            found = {slot: writer.read_sha256(slot) for slot in told}
        # At most one slot is not what the child told: emptied, or whole but killed before it could tell.
        assert sum(found[slot] != told[slot] for slot in told) <= 1
        told = {slot: digest for slot, digest in found.items() if digest is not None}
    assert told
    assert path.read_bytes()[:2048] == structure


def test_short_writes_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_images: Callable[..., np.ndarray]
) -> None:
    real = os.pwrite
    path = empty(tmp_path / "a.h5")
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:1000], offset))
    with SlotWriter(path) as writer:
        for slot, image in enumerate(store_images(4, 32)):
            writer.write(slot, image)
    assert verify_pyramid(path).ok


def test_a_full_disk_stops_cleanly_and_the_slot_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_images: Callable[..., np.ndarray]
) -> None:
    image = store_images(1, 32)[0]
    path = empty(tmp_path / "a.h5")
    real = os.pwrite

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "no space")
        return real(descriptor, data, offset)

    with SlotWriter(path) as writer:
        writer.write(0, image)
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(DiskSpaceError, match=r"a\.h5: no space left on device; free some"):
            writer.write(0, image)
        assert writer.read_sha256(0) is None
        monkeypatch.undo()
        writer.write(0, image)
        assert writer.read_sha256(0) is not None


def test_bad_slots_and_images_are_refused(make_store: MakeStore) -> None:
    path, images = make_store(count=3, res=32)
    with SlotWriter(path) as writer:
        before = path.read_bytes()
        for slot in (-1, 3):
            with pytest.raises(IndexError, match=r"outside 0\.\.2"):
                writer.write(slot, images[0])
        with pytest.raises(ValueError, match="levels"):
            writer.write(0, np.zeros((3, 16, 16), np.uint8))
        with pytest.raises(ValueError, match="expected square uint8"):
            writer.write(0, images[0].astype(np.float32))
        with pytest.raises(ValueError, match=r"takes uint8 \(3, 32, 32\)"):
            writer.write(0, np.zeros((4, 32, 32), np.uint8))
        assert path.read_bytes() == before


def test_other_files_cannot_be_written(make_authors_file: MakeStore, tmp_path: Path) -> None:
    path, images = make_authors_file()
    with pytest.raises(FormatError, match="repack --compress none"):
        SlotWriter(path).write(0, images[0])
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        SlotWriter(tmp_path / "x.h5").write(0, images[0])


def test_a_pickled_writer_carries_no_descriptor(make_store: MakeStore) -> None:
    path, images = make_store(count=2)
    with SlotWriter(path) as writer:
        writer.write(0, images[1])
        copy = pickle.loads(pickle.dumps(writer))  # noqa: S301
    copy.write(1, images[0])  # after the original was closed
    copy.close()
    np.testing.assert_array_equal(PyramidReader(path).read([1, 0]), images)
