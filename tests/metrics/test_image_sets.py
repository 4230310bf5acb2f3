"""Sets of images of every kind, and everything that is wrong with them."""

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import metrics
from metrics.errors import ImageSetError
from metrics.sources import as_image_set, open_image_set, sample_indices
from metrics.sources.base import resize_chw


def save(folder: Path, images: np.ndarray, names: str = "{:03d}.png", **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        file = folder / names.format(index)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze() if image.shape[0] == 1 else image.transpose(1, 2, 0)).save(file, **options)
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def pyramid(path: Path, images: np.ndarray, **options: Any) -> Path:
    """A pyramid as the authors wrote them: levels only."""
    with h5py.File(path, "w") as file:
        level = images
        while level.shape[-1] >= 4:
            file.create_dataset(f"data{level.shape[-1]}x{level.shape[-1]}", data=level, **options)
            level = level[..., ::2, ::2]
    return path


Maker = Callable[[Path, np.ndarray], Path | str]


def as_folder(base: Path, images: np.ndarray) -> Path:
    return save(base / "folder", images)


def as_nested(base: Path, images: np.ndarray) -> Path:
    folder = save(base / "nested", images, names="sub/{:03d}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


def as_zip(base: Path, images: np.ndarray) -> Path:
    return zipped(save(base / "to-zip", images), base / "images.zip")


def as_npy(base: Path, images: np.ndarray) -> Path:
    np.save(base / "images.npy", images)
    return base / "images.npy"


def as_nhwc(base: Path, images: np.ndarray) -> Path:
    np.save(base / "nhwc.npy", images.transpose(0, 2, 3, 1))
    return base / "nhwc.npy"


def as_npz(base: Path, images: np.ndarray) -> Path:
    np.savez_compressed(base / "images.npz", images)
    return base / "images.npz"


def as_npz_key(base: Path, images: np.ndarray) -> str:
    np.savez(base / "two.npz", other=images[:1], **{"a/b": images})
    return f"{base / 'two.npz'}::a/b"


def as_contiguous(base: Path, images: np.ndarray) -> Path:
    return pyramid(base / "plain.h5", images)


def as_chunked(base: Path, images: np.ndarray) -> Path:
    return pyramid(base / "chunked.h5", images, chunks=True, compression="gzip")


MAKERS: list[Maker] = [
    as_folder,
    as_nested,
    as_zip,
    as_npy,
    as_nhwc,
    as_npz,
    as_npz_key,
    as_contiguous,
    as_chunked,
]


@pytest.mark.parametrize("make", MAKERS)
def test_every_kind_gives_the_same_images(make: Maker, natural_images: Any, tmp_path: Path) -> None:
    images = natural_images(7, 32)
    with open_image_set(make(tmp_path, images)) as opened:
        assert (opened.n, len(opened), opened.res, opened.resizer) == (7, 7, 32, None)
        np.testing.assert_array_equal(np.concatenate(list(opened.batches(3))), images)
        order = np.array([6, 2, 2, 0])
        np.testing.assert_array_equal(np.concatenate(list(opened.batches(3, order))), images[order])
        read = opened.read([1])
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
        assert len(opened.fingerprint) >= 32
        assert opened.stamp(used=3, selection="first 3").n == 3
    with open_image_set(opened.label) as again:
        assert again.fingerprint == opened.fingerprint


@pytest.mark.parametrize("make", MAKERS)
def test_content_changes_the_fingerprint(make: Maker, natural_images: Any, tmp_path: Path) -> None:
    images = natural_images(3, 32)
    changed = images.copy()
    changed[1, 0, 4, 4] ^= 1
    prints = set()
    for folder, content in (("a", images), ("b", changed)):
        (tmp_path / folder).mkdir()
        with open_image_set(make(tmp_path / folder, content)) as opened:
            prints.add(opened.fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize("make", [as_folder, as_zip])
def test_grayscale_is_replicated(make: Maker, natural_images: Any, tmp_path: Path) -> None:
    gray = natural_images(3, 16)[:, :1]
    with open_image_set(make(tmp_path, gray)) as opened:
        np.testing.assert_array_equal(opened.read([0, 1, 2]), np.repeat(gray, 3, axis=1))
    for array in (gray, gray[:, 0], gray.transpose(0, 2, 3, 1)):
        np.testing.assert_array_equal(as_image_set(array).read([2]), np.repeat(gray[2:], 3, axis=1))


def test_mixed_sizes_need_a_size_and_a_named_resizer(natural_images: Any, tmp_path: Path) -> None:
    folder = save(tmp_path / "mixed", natural_images(2, 32))
    save(folder, natural_images(1, 48, seed=1), names="z{}.png")
    with pytest.raises(ImageSetError, match=r"mixed sizes: 000.png is 32x32, z0.png is 48x48.*--res"):
        open_image_set(folder)
    with pytest.raises(ImageSetError, match=r"z0.png is 48x48, asked for 32; name one with --resizer"):
        open_image_set(folder, res=32)
    with pytest.raises(ImageSetError, match="resizer 'sinc' is unknown; choose one of box"):
        open_image_set(folder, res=32, resizer="sinc")
    with open_image_set(folder, res=32, resizer="lanczos") as opened:
        assert opened.resizer == "pillow-lanczos"
        images = opened.read([0, 2])
        np.testing.assert_array_equal(images[0], natural_images(2, 32)[0])
        expected = Image.fromarray(natural_images(1, 48, seed=1)[0].transpose(1, 2, 0)).resize(
            (32, 32), Image.Resampling.LANCZOS
        )
        np.testing.assert_array_equal(images[1], np.asarray(expected).transpose(2, 0, 1))


def test_box_resizing_by_two_is_the_mean() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    means = image.reshape(3, 4, 2, 4, 2).mean(axis=(2, 4))
    assert np.abs(resize_chw(image, 4, "box") - means).max() <= 1  # rows and columns are rounded in turn


def test_pyramid_levels_are_read_and_others_refused(natural_images: Any, tmp_path: Path) -> None:
    images = natural_images(4, 32)
    path = pyramid(tmp_path / "p.h5", images)
    with open_image_set(path, res=16) as opened:
        assert opened.resizer == "pyramid-level"
        np.testing.assert_array_equal(opened.read([3]), images[3:, :, ::2, ::2])
    with pytest.raises(ImageSetError, match="no level of 64 pixels; it has 32, 16, 8, 4"):
        open_image_set(path, res=64)


def test_a_resizer_for_the_other_set_leaves_a_pyramid_alone(natural_images: Any, tmp_path: Path) -> None:
    images = natural_images(4, 64)
    path = pyramid(tmp_path / "p.h5", images)
    (tmp_path / "fakes").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "fakes" / f"{number}.png")
    with (
        open_image_set(path, res=32, resizer="lanczos") as level,
        open_image_set(path, res=32) as plain,
        open_image_set(tmp_path / "fakes", res=32, resizer="lanczos") as folder,
    ):
        np.testing.assert_array_equal(level.read(range(4)), plain.read(range(4)))
        assert level.resizer == "pyramid-level"
        assert "lanczos" in (folder.resizer or "")
    result = metrics.swd(path, tmp_path / "fakes", res=32, resizer="lanczos", floor=False)
    assert 0 < result.value < 100


def test_fewer_images_than_asked(natural_images: Any) -> None:
    array = natural_images(5, 16)
    first = as_image_set(array, n=3)
    assert first.n == 3
    assert first.fingerprint != as_image_set(array).fingerprint
    with pytest.raises(ImageSetError, match="has 5 images, asked for 6"):
        as_image_set(array, n=6)
    with pytest.raises(ImageSetError, match=r"images 0\.\.2, asked for index 3"):
        list(first.batches(2, [0, 3]))
    with pytest.raises(ImageSetError, match="has 5 images, asked for 6"):
        sample_indices(5, 6, np.random.default_rng(0))
    chosen = sample_indices(100, 30, np.random.default_rng(0))
    assert len(np.unique(chosen)) == 30
    assert (np.diff(chosen) > 0).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 3, 16, 16), np.nan, np.float32), "float32 values with NaN in image 0"),
        (np.zeros((2, 3, 16, 16)), "float64 values; a scale is not guessed"),
        (np.zeros((2, 3, 16, 32), np.uint8), "32x16, expected squares"),
        (np.zeros((0, 3, 16, 16), np.uint8), "no images"),
        (np.zeros((2, 2, 16, 16), np.uint8), r"shape \(2, 2, 16, 16\)"),
        (np.zeros((2, 4, 16, 16), np.uint8), r"shape \(2, 4, 16, 16\)"),
        (np.zeros(16, np.uint8), r"shape \(16,\)"),
    ],
)
def test_wrong_arrays(array: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageSetError, match=message):
        as_image_set(array)
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageSetError, match=message):
        open_image_set(tmp_path / "a.npy")


def test_wrong_array_files(tmp_path: Path, natural_images: Any) -> None:
    images = natural_images(4, 16)
    np.save(tmp_path / "good.npy", images)
    data = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-100])
    np.save(tmp_path / "fortran.npy", np.asfortranarray(images))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    np.savez(tmp_path / "two.npz", a=images, b=images)
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    for name, message in {
        "cut.npy": "truncated",
        "fortran.npy": "Fortran order",
        "objects.npy": "Python objects",
        "text.npy": "not an .npy array",
        "two.npz": "several arrays; name one as .*::KEY, KEY of a, b",
        "two.npz::c": "no array 'c'",
        "good.npy::a": "only an .npz archive takes",
        "bad.npz": "cannot read",
        "none.npy": "does not exist",
    }.items():
        with pytest.raises(ImageSetError, match=message):
            open_image_set(f"{tmp_path}/{name}")


def damage_folder(folder: Path, kind: str) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    file = folder / "001.png"
    if kind == "text":
        file.write_text("hello")
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[:-300])
    elif kind == "alpha":
        Image.fromarray(np.zeros((32, 32, 4), np.uint8)).save(file)
    elif kind == "gray":
        Image.fromarray(pixels[..., 0]).save(file)
    elif kind == "sixteen":
        Image.fromarray(np.zeros((32, 32), np.uint16)).save(file)
    elif kind == "oblong":
        Image.fromarray(pixels[:20]).save(file)


@pytest.mark.parametrize("as_archive", [False, True])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "001.png is not a readable image"),
        ("cut", "001.png cannot be decoded"),
        ("alpha", "001.png has pixel mode RGBA"),
        ("gray", "mixed channels: 000.png is colour, 001.png is gray"),
        ("sixteen", "001.png has pixel mode I;16"),
        ("oblong", "001.png is 32x20, expected a square"),
    ],
)
def test_one_bad_file_in_the_middle_is_named(
    kind: str, message: str, as_archive: bool, natural_images: Any, tmp_path: Path
) -> None:
    folder = save(tmp_path / "set", natural_images(4, 32))
    damage_folder(folder, kind)
    where = zipped(folder, tmp_path / "set.zip") if as_archive else folder
    with pytest.raises(ImageSetError, match=message), open_image_set(where) as opened:
        list(opened.batches(2))


def test_bad_folders_and_archives(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    (tmp_path / "model.pt").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("nothing")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for name, message in {
        "empty": "holds no images",
        "empty.zip": "holds no images",
        "bad.zip": "not a readable zip",
        "bad.h5": "not an HDF5 file",
        "model.pt": "network checkpoint",
        "notes.txt": "not a set of images",
        "none": "does not exist",
    }.items():
        with pytest.raises(ImageSetError, match=message):
            open_image_set(tmp_path / name)


def test_a_damaged_member_of_a_zip_is_named(natural_images: Any, tmp_path: Path) -> None:
    path = zipped(save(tmp_path / "set", natural_images(3, 32)), tmp_path / "set.zip")
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("001.png").header_offset + 500
    data = bytearray(path.read_bytes())
    data[offset] ^= 255
    path.write_bytes(data)
    with pytest.raises(ImageSetError, match=r"001\.png"), open_image_set(path) as opened:
        list(opened.batches(3))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(stream.getvalue())
    with open_image_set(tmp_path / "set") as opened:
        image = opened.read([0])[0]
    assert image[:, :, 8:].min() == 255
    assert image[:, :, :8].max() == 0


def test_reading_does_not_grow_resident_memory_with_the_file(tmp_path: Path) -> None:
    """A pyramid far larger than what is held at a time, read through in a fresh process."""
    import subprocess
    import sys

    path = tmp_path / "big.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data256x256", data=np.zeros((1024, 3, 256, 256), np.uint8))
        for res in (128, 64, 32, 16, 8, 4):
            file.create_dataset(f"data{res}x{res}", (1024, 3, res, res), np.uint8)
    script = (
        "import sys, resource; from metrics.sources import open_image_set\n"
        "s = open_image_set(sys.argv[1]); s.read([0]); peak = lambda: resource.getrusage(0).ru_maxrss\n"
        "before = peak()\nfor batch in s.batches(8): pass\nprint((peak() - before) >> 10)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40  # MiB; the level has 192
