"""Laying out a pyramid file: its structure, its index, its place on the disk."""

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from celebahq_tools.errors import DiskSpaceError, UsageError
from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, create_pyramid, required_bytes

MakeStore = Callable[..., tuple[Path, np.ndarray]]
PAGE = 4096


def create(path: Path, count: int = 3, res: int = 16, **options: object) -> None:
    rows = [IndexRow(key=f"k{k}", file=f"f{k}") for k in range(count)]
    create_pyramid(path, **{"res": res, "rows": rows, "meta": PyramidMeta(), **options})


def test_plain_h5py_reads_images_and_index(make_store: MakeStore) -> None:
    path, images = make_store(count=6, res=32)
    with h5py.File(path) as file:
        assert sorted(file) == ["data16x16", "data32x32", "data4x4", "data8x8", "index"]
        for res, pixels in build_levels(images).items():
            dataset = file[f"data{res}x{res}"]
            assert dataset.chunks is None
            assert dataset.compression is None
            assert dataset.maxshape == dataset.shape
            np.testing.assert_array_equal(dataset[:], pixels)
        assert file["index/key"].asstr()[:2].tolist() == ["Ordner/é0.jpg#2", "plain 1"]
        assert file["index/quality"][2] == 2 / 7
        assert file["index/attributes"][:2].tolist() == [[-1, -1, 1], [0, 0, 0]]
        assert file["index/identity"][:2].tolist() == [1000, -1]
        assert file["index/identity"].attrs["unknown"] == -1
        assert np.isnan(file["index/quad"][1]).all()
        assert np.isnan(file["index/quad"].attrs["unknown"])
        assert file.attrs["format"] == "celebahq-pyramid"
        assert file.attrs["format_version"] == 1
        assert file.attrs["resolution"] == 32
        assert json.loads(file.attrs["build_config"]) == {"recipe": "plain", "res": 32}
        assert json.loads(file.attrs["attribute_names"]) == ["Male", "Smiling", "Young"]
        assert json.loads(file.attrs["label_names"]) == ["cat", "dog"]
        assert file.attrs["manifest_sha256"] == "ab" * 32


def test_old_superblock_without_consistency_flags_and_aligned_levels(tmp_path: Path) -> None:
    create(tmp_path / "a.h5", count=100, res=64)
    assert (tmp_path / "a.h5").read_bytes()[8] == 0  # superblock version
    with h5py.File(tmp_path / "a.h5") as file:
        for res in (64, 32, 16, 8):
            assert file[f"data{res}x{res}"].id.get_offset() % PAGE == 0


def test_the_same_call_gives_the_same_bytes(tmp_path: Path, store_rows: Callable[[int], list[IndexRow]]) -> None:
    options = {"rows": store_rows(5), "attribute_names": ("a", "b", "c"), "label_names": ("x", "y")}
    create(tmp_path / "a.h5", **options)
    create(tmp_path / "b.h5", **options)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_rows_come_back_as_given(tmp_path: Path, store_rows: Callable[[int], list[IndexRow]]) -> None:
    rows = store_rows(5)
    create(tmp_path / "a.h5", rows=rows, attribute_names=("a", "b", "c"))
    index = PyramidReader(tmp_path / "a.h5").index
    for row, found in zip(rows, index.rows(), strict=True):
        for name in ("key", "file", "quality", "identity", "attributes", "partition", "label", "sha256"):
            assert getattr(found, name) == getattr(row, name), name
        for name in ("quad", "landmarks"):
            expected = getattr(row, name)
            assert (getattr(found, name) is None) == (expected is None)
            if expected is not None:
                np.testing.assert_array_equal(getattr(found, name), expected)
    with pytest.raises(IndexError, match=r"outside 0\.\.4"):
        index.row(5)


def test_configurations_larger_than_an_hdf5_attribute(tmp_path: Path) -> None:
    config = {"long": "ü" * 200_000}
    names = tuple(f"person {k}" for k in range(10_177))
    create(tmp_path / "a.h5", meta=PyramidMeta(build_config=config), label_names=names)
    reader = PyramidReader(tmp_path / "a.h5")
    assert reader.layout.attributes["build_config"] == config
    assert reader.label_names == names


@pytest.mark.parametrize(("count", "res"), [(1, 4), (1, 1024), (7, 64), (3000, 8)])
def test_required_bytes_is_a_close_upper_bound(tmp_path: Path, count: int, res: int) -> None:
    create(tmp_path / "a.h5", count=count, res=res)
    size = (tmp_path / "a.h5").stat().st_size
    pixels = count * sum(3 * r * r for r in (2**k for k in range(2, 11)) if r <= res)
    assert pixels < size <= required_bytes(count, res) < pixels + 1024 * count + (2 << 20)


def test_blocks_are_reserved(tmp_path: Path) -> None:
    create(tmp_path / "a.h5", count=4, res=256)
    status = (tmp_path / "a.h5").stat()
    assert status.st_blocks * 512 >= status.st_size


def test_file_systems_that_cannot_reserve_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    create(tmp_path / "a.h5")
    assert len(PyramidReader(tmp_path / "a.h5")) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(number, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskSpaceError, match=r"a\.h5.*run the same command again"):
        create(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_file_size_limit_counts_as_a_full_disk(tmp_path: Path) -> None:
    script = f"""
        import resource
        from celebahq_tools.errors import DiskSpaceError
        from celebahq_tools.store import IndexRow, PyramidMeta, create_pyramid
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        rows = [IndexRow(key=str(k), file="f") for k in range(8)]
        try:
            create_pyramid({str(tmp_path / "a.h5")!r}, res=256, rows=rows, meta=PyramidMeta())
        except DiskSpaceError as error:
            print(error)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert "file too large" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        create(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_text() == "precious"


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images"):
        create(tmp_path / "a.h5", rows=[])
    with pytest.raises(ValueError, match="power of two"):
        create(tmp_path / "a.h5", res=100)
    with pytest.raises(ValueError, match=r"k: quad has shape \(3, 2\), expected \(4, 2\)"):
        create(tmp_path / "a.h5", rows=[IndexRow(key="k", file="f", quad=np.zeros((3, 2)))])
    row = IndexRow(key="k", file="f", attributes=(1, 1))
    with pytest.raises(ValueError, match="k: 2 attributes, expected 3"):
        create(tmp_path / "a.h5", rows=[row], attribute_names=("a", "b", "c"))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_creation_leaves_no_file_of_that_name_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.h5.creating").write_bytes(b"left by a process that was killed")
    create(tmp_path / "a.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"]


def test_importing_the_store_is_light() -> None:
    script = (
        "import sys, celebahq_tools.store; print(*sorted({'torch', 'cv2', 'h5py', 'scipy', 'PIL'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
