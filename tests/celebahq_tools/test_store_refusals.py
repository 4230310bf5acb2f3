"""Files that are no sound pyramid are refused, each with its own line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from celebahq_tools.errors import FormatError, SourceError
from celebahq_tools.store import PyramidReader

MakeStore = Callable[..., tuple[Path, np.ndarray]]


def line_for(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        PyramidReader(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_unknown_versions_and_formats(make_store: MakeStore) -> None:
    path, _ = make_store()
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    assert "format version 2, this program reads 1" in line_for(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 1
        file.attrs["format"] = "something-else"
    assert "format 'something-else'" in line_for(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["format"]
    assert "format None" in line_for(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "celebahq-pyramid"
        del file.attrs["format_version"]
    assert "format version None" in line_for(path)


def test_unfinished_files(make_store: MakeStore) -> None:
    path, images = make_store(name="a.h5.partial")
    assert "unfinished build; run the same build command again" in line_for(path)
    np.testing.assert_array_equal(PyramidReader(path, allow_partial=True).read(0), images[0])


def test_files_that_are_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"")
    assert "an empty file" in line_for(path)
    path.write_text("<html>404</html>" * 100)
    assert "not an HDF5 file" in line_for(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
    assert "HDF5 cannot open it" in line_for(path)
    with pytest.raises(SourceError, match="no such file"):
        PyramidReader(tmp_path / "missing.h5")
    with pytest.raises(SourceError, match="no such file"):
        PyramidReader(tmp_path)


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.1])
def test_truncated_files(make_store: MakeStore, keep: float) -> None:
    path, _ = make_store(res=64)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert "truncated" in line_for(path)


def test_a_file_that_shrinks_while_it_is_read(make_store: MakeStore) -> None:
    path, _ = make_store(res=64)
    reader = PyramidReader(path)
    reader.read(0)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(FormatError, match="truncated"):
        reader.read(len(reader) - 1, 4)


def test_structures_that_do_not_add_up(make_store: MakeStore, tmp_path: Path) -> None:
    good, _ = make_store(name="good.h5")
    path = tmp_path / "x.h5"

    def damaged(change: Callable[[h5py.File], None]) -> str:
        shutil.copy(good, path)
        with h5py.File(path, "r+") as file:
            change(file)
        return line_for(path)

    def replace(name: str, data: np.ndarray) -> Callable[[h5py.File], None]:
        def change(file: h5py.File) -> None:
            del file[name]
            file[name] = data

        return change

    def drop_levels(file: h5py.File) -> None:
        for name in [name for name in file if name.startswith("data")]:
            del file[name]

    assert "no image levels" in damaged(drop_levels)
    assert "different length" in damaged(replace("data8x8", np.zeros((5, 3, 8, 8), np.uint8)))
    assert "different length" in damaged(replace("index/quality", np.zeros(7)))
    assert "data8x8 is float32" in damaged(replace("data8x8", np.zeros((6, 3, 8, 8), np.float32)))
    assert "data8x8 is uint8 (6, 1, 8, 8)" in damaged(replace("data8x8", np.zeros((6, 1, 8, 8), np.uint8)))
    assert "says resolution 32, its finest level is 16" in damaged(lambda file: file.__delitem__("data32x32"))
    assert "'build_config' is not JSON" in damaged(lambda file: file.attrs.__setitem__("build_config", "{"))


def test_index_columns_of_another_shape(make_store: MakeStore) -> None:
    path, _ = make_store()
    with h5py.File(path, "r+") as file:
        del file["index/quad"]
        file["index/quad"] = np.zeros((6, 3, 2))
    with pytest.raises(FormatError, match=r"index/quad is float64 \(6, 3, 2\), expected float64 \(6, 4, 2\)"):
        _ = PyramidReader(path).index
    with h5py.File(path, "r+") as file:
        del file["index/key"]
    with pytest.raises(FormatError, match="index/key is missing"):
        _ = PyramidReader(path).index


def test_files_without_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data4x4"] = np.zeros((0, 3, 4, 4), np.uint8)
    assert "no images in it" in line_for(tmp_path / "x.h5")


@pytest.mark.parametrize("signature", [b"TREE", b"HEAP", b"SNOD", b"GCOL"])
def test_damaged_hdf5_structures(make_store: MakeStore, signature: bytes) -> None:
    path, _ = make_store()
    data = path.read_bytes()
    assert signature in data
    path.write_bytes(data.replace(signature, b"\0\0\0\0"))
    line = line_for(path)
    assert "damaged, HDF5 says: " in line, line
