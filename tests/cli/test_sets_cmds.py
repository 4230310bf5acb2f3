"""compare, split, dedup and the kinds of import as commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from celebahq_tools.cli import main
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid

COUNT = 12
RES = 32


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def smooth(seed: int) -> np.ndarray:
    """A picture of a few coarse patches, as photographs have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    picture = Image.fromarray(coarse.transpose(1, 2, 0)).resize((RES, RES), Image.Resampling.BICUBIC)
    return np.asarray(picture).transpose(2, 0, 1)


def store(path: Path, images: list[np.ndarray], partition: bool = True) -> Path:
    rows = [
        IndexRow(
            key=f"{k:05d}",
            file=f"{k + 1:06d}.jpg",
            label=k % 2,
            identity=k // 3,
            partition=k % 3 if partition else None,
        )
        for k in range(len(images))
    ]
    create_pyramid(path, res=RES, rows=rows, meta=PyramidMeta(), label_names=("a", "b"))
    with SlotWriter(path) as writer:
        writer.write_run(0, np.stack(images))
    return path


@pytest.fixture
def images() -> list[np.ndarray]:
    return [smooth(k) for k in range(COUNT)]


def test_compare(tmp_path: Path, images: list[np.ndarray]) -> None:
    a = store(tmp_path / "a.h5", images)
    b = store(tmp_path / "b.h5", images[::-1])
    changed = [image.copy() for image in images]
    changed[4][0, 0, 0] += 5 if changed[4][0, 0, 0] < 200 else -5
    c = store(tmp_path / "c.h5", changed)
    assert run("compare", a, a, "-q").exit_code == 0
    reversed_ = run("compare", a, b, "-q", "--json")
    assert reversed_.exit_code == 1
    found = json.loads(reversed_.output)
    assert (found["matched"], found["only_a"], found["same_content"], found["same"]) == (COUNT, 0, True, False)
    assert run("compare", a, b, "-q", "--unordered").exit_code == 0
    other = json.loads(run("compare", a, c, "-q", "--json").output)
    assert (other["equal"], other["different"], other["max_difference"]) == (COUNT - 1, 1, 5)
    assert other["first"][0].startswith("image 4 ")
    assert (other["only_a"], other["only_b"]) == (1, 1)
    assert run("export", a, "--to", tmp_path / "r", "--format", "tfrecords", "-q").exit_code == 0
    assert run("compare", a, tmp_path / "r", "-q", "--unordered").exit_code == 0


def test_split_by_the_official_partition(tmp_path: Path, images: list[np.ndarray]) -> None:
    a = store(tmp_path / "a.h5", images)
    result = json.loads(run("split", a, "--official", "-q", "--json").output)
    assert list(result["parts"].values()) == [4, 4, 4]
    for place, part in enumerate(("train", "validation", "test")):
        with PyramidReader(tmp_path / f"a-{part}.h5") as reader:
            np.testing.assert_array_equal(reader.read(slice(None)), np.stack(images[place::3]))
            assert reader.index.identity.tolist() == [k // 3 for k in range(place, COUNT, 3)]
    b = store(tmp_path / "b.h5", images, partition=False)
    refused = run("split", b, "--official", "-q")
    assert refused.exit_code == 2
    assert "no official part is known for 12 of 12" in refused.output
    lines = "".join(f"{k + 1:06d}.jpg {0 if k < 9 else 2}\n" for k in range(COUNT))
    (tmp_path / "list.txt").write_text(lines)
    listed = run("split", b, "--partition-file", tmp_path / "list.txt", "-q", "--json", "--dry-run")
    assert list(json.loads(listed.output)["parts"].values()) == [9, 3]


def test_split_at_random_is_seeded_and_keeps_people_together(tmp_path: Path, images: list[np.ndarray]) -> None:
    a = store(tmp_path / "a.h5", images)
    options = ("--fractions", "train=0.75,test=0.25", "-q", "--overwrite")
    keys: list[list[str]] = []
    for seed in (1, 1, 2):
        assert run("split", a, *options, "--seed", seed, "--together", "identity").exit_code == 0
        with PyramidReader(tmp_path / "a-train.h5") as train, PyramidReader(tmp_path / "a-test.h5") as test:
            keys.append([str(key) for key in train.index.key])
            assert len(train) + len(test) == COUNT
            assert not set(train.index.identity) & set(test.index.identity)
    assert keys[0] == keys[1]
    assert run("split", a, *options, "--together", "label").exit_code == 0
    with PyramidReader(tmp_path / "a-test.h5") as test:
        assert sorted(test.index.label.tolist()).count(0) in (1, 2)


def test_dedup_finds_equal_and_similar_pictures(tmp_path: Path, images: list[np.ndarray]) -> None:
    brighter = np.clip(images[3].astype(int) + 6, 0, 255).astype(np.uint8)
    noisy = np.clip(images[5] + np.random.default_rng(0).normal(0, 3, images[5].shape), 0, 255).astype(np.uint8)
    a = store(tmp_path / "a.h5", [*images, images[2], brighter, noisy])
    found = json.loads(run("dedup", a, "-q", "--json").output)
    assert found["exact"] == [[2, COUNT]]
    assert found["alike"] == [[3, COUNT + 1], [5, COUNT + 2]]
    only = json.loads(run("dedup", a, "-q", "--json", "--exact", "--out", tmp_path / "u.h5").output)
    assert only["superfluous"] == [COUNT]
    with PyramidReader(tmp_path / "u.h5") as reader:
        assert len(reader) == COUNT + 2


def test_the_official_duplicates_are_listed() -> None:
    found = json.loads(run("dedup", "--known", "--json").output)
    assert sum(len(group) - 1 for group in found["proc_md5"]) == 30
    assert sum(len(group) - 1 for group in found["final_md5"]) == 27
    assert "30 images of CelebA-HQ repeat an earlier one" in run("dedup", "--known").output


def test_import_and_export_as_commands(tmp_path: Path, images: list[np.ndarray]) -> None:
    np.save(tmp_path / "a.npy", np.stack(images))
    np.save(tmp_path / "l.npy", np.arange(COUNT) % 3)
    done = run("import", "numpy", tmp_path / "a.npy", "--labels", tmp_path / "l.npy", "--out", tmp_path / "a.h5", "-q")
    assert done.exit_code == 0, done.output
    for kind, name in (("stylegan", "s.zip"), ("parquet", "p.parquet"), ("tfrecords", "t")):
        assert run("export", tmp_path / "a.h5", "--to", tmp_path / name, "--format", kind, "-q").exit_code == 0
        options = ("--unshuffle",) if kind == "tfrecords" else ()
        again = run("import", kind, tmp_path / name, "--out", tmp_path / f"{kind}.h5", "-q", *options)
        assert again.exit_code == 0, again.output
        assert run("compare", tmp_path / "a.h5", tmp_path / f"{kind}.h5", "-q").exit_code == 0
    dry = run("import", "numpy", tmp_path / "a.npy", "--out", tmp_path / "x.h5", "--dry-run", "-q")
    assert "about 12 images at 32x32" in dry.output
    assert not (tmp_path / "x.h5").exists()


KINDS = (
    "images",
    "numpy",
    "cifar10",
    "cifar100",
    "mnist",
    "mnist-rgb",
    "svhn",
    "lsun",
    "celeba",
    "ffhq",
    "tfrecords",
    "hdf5",
    "stylegan",
    "webdataset",
    "parquet",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_example_and_one_line_for_a_missing_source(kind: str, tmp_path: Path) -> None:
    assert f"celebahq import {kind} " in run("import", kind, "--help").output
    result = run("import", kind, tmp_path / "nowhere", "--out", tmp_path / "o.h5", "-q")
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert "nowhere" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("split", "a.h5"), "either --official"),
        (("split", "a.h5", "--fractions", "train=2"), "--fractions"),
        (("split", "a.h5", "--fractions", "a=0.2,b=0.2"), "add up to 1"),
        (("dedup",), "give a FILE"),
        (("dedup", "a.h5", "--distance", "40"), "--distance 40"),
    ],
)
def test_usage_errors(
    tmp_path: Path, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store(Path("a.h5"), images)
    result = run(*args)
    assert result.exit_code == 2
    assert message in result.output
