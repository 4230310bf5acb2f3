"""Verification finds every kind of damage, and says where."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid, verify_pyramid
from celebahq_tools.store.repack import repack_pyramid
from celebahq_tools.store.workers import ordered_map

MakeStore = Callable[..., tuple[Path, np.ndarray]]


def flip(path: Path, name: str, image: int, byte: int) -> None:
    """Flip one bit of one image, wherever it is in the file."""
    with h5py.File(path) as file:
        dataset = file[name]
        at = dataset.id.get_offset() + image * dataset[0].nbytes + byte
    with path.open("r+b") as raw:
        raw.seek(at)
        value = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([value ^ 16]))


@pytest.mark.parametrize("jobs", [1, 3])
def test_sound_files_pass(make_store: MakeStore, jobs: int) -> None:
    path, _ = make_store(count=9, res=64)
    calls: list[tuple[int, int]] = []
    report = verify_pyramid(path, lambda done, total: calls.append((done, total)), jobs=jobs)
    assert report.ok
    assert report.checksums
    assert report.num_images == 9
    assert report.levels == (64, 32, 16, 8, 4)
    assert calls == [(k, 9) for k in range(1, 10)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_flipped_bit_is_found_at_every_level(make_store: MakeStore, jobs: int) -> None:
    path, _ = make_store(count=6, res=32)
    flip(path, "data32x32", 1, 3 * 32 * 32 - 1)
    flip(path, "data16x16", 2, 0)
    flip(path, "data4x4", 2, 47)
    flip(path, "index/sha256", 5, 31)
    report = verify_pyramid(path, jobs=jobs)
    assert [(bad.slot, bad.key, bad.problem) for bad in report.bad] == [
        (1, "plain 1", "pixels do not match their sha256"),
        (2, "Ordner/é2.jpg#2", "level 16, 4 does not follow from the finest one"),
        (5, "plain 5", "pixels do not match their sha256"),
    ]
    assert not report.ok


def test_empty_slots_are_bad(tmp_path: Path, store_images: Callable[..., np.ndarray]) -> None:
    path = tmp_path / "a.h5.partial"
    create_pyramid(path, res=16, rows=[IndexRow(key=str(k), file="f") for k in range(3)], meta=PyramidMeta())
    with SlotWriter(path) as writer:
        writer.write(1, store_images(1, 16)[0])
    report = verify_pyramid(path, allow_partial=True)
    assert [(bad.slot, bad.problem) for bad in report.bad] == [(0, "never written"), (2, "never written")]


def test_damaged_chunks_are_found(make_store: MakeStore) -> None:
    path, _ = make_store(count=4, res=128)
    packed = path.with_name("packed.h5")
    repack_pyramid(path, packed, compression="gzip")
    assert verify_pyramid(packed).ok
    with h5py.File(packed) as file:
        chunk = file["data128x128"].id.get_chunk_info(2)
    with packed.open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"\0" * 40)
    report = verify_pyramid(packed, jobs=2)
    assert [bad.slot for bad in report.bad] == [2]
    assert "cannot be read" in report.bad[0].problem or "sha256" in report.bad[0].problem


def test_the_authors_files_have_their_levels_checked(make_authors_file: MakeStore) -> None:
    path, _ = make_authors_file()
    report = verify_pyramid(path)
    assert report.ok
    assert not report.checksums
    with h5py.File(path, "r+") as file:
        file["data1x1"][3] ^= 1
    report = verify_pyramid(path)
    assert [(bad.slot, bad.key, bad.problem) for bad in report.bad] == [
        (3, None, "level 1 does not follow from the finest one")
    ]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_ordered_map_keeps_order_and_raises_in_turn(jobs: int) -> None:
    assert list(ordered_map(lambda k: k * k, range(50), jobs=jobs)) == [k * k for k in range(50)]
    results = ordered_map(lambda k: 1 // (3 - k), range(50), jobs=jobs)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_ordered_map_does_not_run_far_ahead() -> None:
    begun: list[int] = []
    results = ordered_map(begun.append, range(1000), jobs=2)
    next(results)
    assert len(begun) <= 4
    results.close()
