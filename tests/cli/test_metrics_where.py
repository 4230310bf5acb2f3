"""Metrics of the images that have certain labels are those of a set that holds these images alone."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid
from metrics.cli import main
from metrics.errors import ImageSetError
from metrics.sources import class_names, open_image_set

COUNT, RES = 48, 32
KEPT = [k for k in range(COUNT) if k % 3 == 1]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the user's cache out of the tests."""
    monkeypatch.setenv("METRICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def labelled(path: Path, seed: int) -> Path:
    """Classes a, b, c in turn; attributes; ages 20, 21 ..., the last one unknown."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (COUNT, 3, 8, 8), dtype=np.uint8)
    images = coarse.repeat(RES // 8, axis=2).repeat(RES // 8, axis=3)
    images = np.clip(images + rng.normal(0, 9 + seed, images.shape), 0, 255).astype(np.uint8)
    rows = [
        IndexRow(
            key=f"{k:03d}",
            file="x",
            label=k % 3,
            attributes=(1 if k % 3 == 1 else -1, 0 if k == 0 else 1),
            vector=(20.0 + k,) if k < COUNT - 1 else None,
            partition=k % 3,
            identity=k // 4,
        )
        for k in range(COUNT)
    ]
    create_pyramid(
        path,
        res=RES,
        rows=rows,
        meta=PyramidMeta(),
        label_names=("a", "b", "c"),
        attribute_names=("Male", "Young"),
        vector_names=("age",),
    )
    with SlotWriter(path) as writer:
        writer.write_run(0, images)
    np.save(path.with_suffix(".npy"), images[KEPT])
    return path


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, str]:
    return str(labelled(tmp_path / "real.h5", 0)), str(labelled(tmp_path / "fake.h5", 1))


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments, "--quiet"])
    assert result.exit_code == code, result.output
    return result


def plain(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


COMMANDS = {
    "swd": (),
    "fid": ("--extractor", "tiny"),
    "kid": ("--extractor", "tiny", "--subsets", "3", "--subset-size", "8"),
    "pr": ("--extractor", "tiny"),
    "is": ("--extractor", "tiny", "--splits", "2"),
    "ms-ssim": (),
}


@pytest.mark.parametrize("metric", COMMANDS)
def test_a_class_is_measured_like_a_set_of_its_own(metric: str, sets: tuple[str, str]) -> None:
    names = list(sets) if metric not in ("is", "ms-ssim") else [sets[0]]
    alone = plain(metric, *(name.replace(".h5", ".npy") for name in names), *COMMANDS[metric])
    for choice in (("--class", "b"), ("--class", "1"), ("--where", "Male=1")):
        found = plain(metric, *names, *choice, *COMMANDS[metric])
        assert (found["value"], found["levels"]) == (alone["value"], alone["levels"])
        words = "Male=1" if choice[0] == "--where" else "class=b"
        assert {one["where"] for one in found["protocol"]["sets"].values()} == {words}
        assert {one["n"] for one in found["protocol"]["sets"].values()} == {len(KEPT)}
    assert "where" not in next(iter(alone["protocol"]["sets"].values()))
    assert plain(metric, *names, *COMMANDS[metric])["value"] != alone["value"]


def test_one_set_alone_is_restricted_by_its_name(sets: tuple[str, str]) -> None:
    real, fake = sets
    both = plain("swd", real, fake, "--class", "b")
    one = plain("swd", f"{real}::class=b", fake.replace(".h5", ".npy"))
    assert one["value"] == both["value"]
    assert one["protocol"]["sets"]["real"]["where"] == "class=b"
    assert "where" not in one["protocol"]["sets"]["fake"]


def test_all_measures_them_at_once(sets: tuple[str, str], tmp_path: Path) -> None:
    chosen = ("--metrics", "swd,fid", "--extractor", "tiny", "--where", "Male=1", "--out", str(tmp_path / "out"))
    results = plain("all", *sets, *chosen)["results"]
    assert [one["value"] for one in results] == [
        plain(metric, *sets, "--class", "b", *COMMANDS[metric])["value"] for metric in ("swd", "fid")
    ]


def test_results_of_other_selections_are_not_compared(sets: tuple[str, str]) -> None:
    run("swd", *sets, "--where", "Young=1,class=b", "--out", "b.json")
    run("swd", *sets, "--where", "class=1,Young=1", "--out", "same.json")
    run("swd", *sets, "--where", "Young=1,class=c", "--out", "c.json")
    run("swd", *sets, "--n", "16", "--out", "all.json")
    compare = CliRunner().invoke(main, ["compare", "b.json", "same.json"])
    assert compare.exit_code == 0, compare.output
    for other in ("c.json", "all.json"):
        refused = CliRunner().invoke(main, ["compare", "b.json", other])
        assert refused.exit_code == 1
        assert "sets.real.where: Young=1,class=b in b.json" in refused.output


def test_features_can_be_of_a_class(sets: tuple[str, str]) -> None:
    for seed, path in enumerate(sets):
        run("features", path, "--class", "b", "--extractor", "tiny", "--out", f"{seed}.npz")
    assert (
        plain("fid", "0.npz", "1.npz")["value"] == plain("fid", *sets, "--class", "b", "--extractor", "tiny")["value"]
    )
    assert plain("fid", "0.npz", "1.npz")["protocol"]["sets"]["real"]["where"] == "class=b"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("age>=60", [k for k in range(COUNT - 1) if k >= 40]),
        ("age<=21.5", [0, 1]),
        ("age=25", [5]),
        ("Young=0", []),
        ("Young=1,class=0", [k for k in range(1, COUNT) if k % 3 == 0]),
        ("part=test,identity=3", [k for k in range(12, 16) if k % 3 == 2]),
        (" class = c , age >= 60 ", [k for k in range(COUNT - 1) if k % 3 == 2 and k >= 40]),
    ],
)
def test_what_is_chosen(where: str, expected: list[int], sets: tuple[str, str]) -> None:
    if not expected:
        with pytest.raises(ImageSetError, match="no image has Young=0"):
            open_image_set(f"{sets[0]}::{where}")
        return
    with open_image_set(sets[0]) as whole, open_image_set(f"{sets[0]}::{where}") as some:
        np.testing.assert_array_equal(some.read(np.arange(some.n)), whole.read(expected))
        assert some.fingerprint != whole.fingerprint
        assert some.first(1).where == some.where
        assert some.reopen is not None
        with open_image_set(some.reopen[0]) as again:
            assert again.fingerprint == some.fingerprint


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--class", "d"), 1, "has no class 'd'; it has class=a, class=b, class=c, Male, Young, age"),
        (("--class", "3"), 1, "has no class '3'"),
        (("--where", "Hat=1"), 1, "has nothing called Hat=1"),
        (("--where", "Male=2"), 1, "an attribute is 1 or 0"),
        (("--where", "Male>=1"), 1, "only continuous labels are compared"),
        (("--where", "age>=old"), 1, "expected a number"),
        (("--where", "Male"), 1, "selects nothing: write NAME=VALUE"),
        (("--where", ","), 1, "selects nothing"),
        (("--where", "age>=1000"), 1, "no image has age>=1000"),
    ],
)
def test_selections_that_cannot_be_made(
    arguments: tuple[str, ...], code: int, words: str, sets: tuple[str, str]
) -> None:
    result = run("swd", *sets, *arguments, code=code)
    assert words in result.output
    assert result.output.count("\n") == 1


def test_sets_without_labels_are_told_apart(sets: tuple[str, str], tmp_path: Path) -> None:
    result = run("swd", sets[0], sets[1].replace(".h5", ".npy"), "--class", "b", code=2)
    assert "fake.npy has no labels to choose images by" in result.output
    assert "name it as FILE.h5::class=b" in result.output
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageSetError, match="has no labels to choose images by"):
        open_image_set(f"{tmp_path / 'folder'}::class=b")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["data16x16"] = np.zeros((4, 3, 16, 16), np.uint8)
    with pytest.raises(ImageSetError, match="has no classes; it has no labels"):
        open_image_set(f"{tmp_path / 'plain.h5'}::class=1")
    np.save(tmp_path / "plain-labels.npy", np.eye(2, dtype=np.float32)[[0, 1, 1, 0]])
    assert class_names(tmp_path / "plain.h5") == ["0", "1"]
    with open_image_set(f"{tmp_path / 'plain.h5'}::class=1") as some:
        assert some.n == 2


def test_a_row_a_class(sets: tuple[str, str]) -> None:
    found = plain("ms-ssim", sets[0], "--per-class")
    assert list(found["classes"]) == ["a", "b", "c"]
    for name, result in found["classes"].items():
        assert result["value"] == plain("ms-ssim", sets[0], "--class", name)["value"]
    assert found["mean"] == pytest.approx(np.mean([one["value"] for one in found["classes"].values()]))
    lines = run("ms-ssim", sets[0], "--per-class").output.splitlines()
    assert [line.split()[0] for line in lines] == ["class", "a", "b", "c", "mean"]
    assert "no class has two" in run("ms-ssim", sets[0], "--per-class", "--where", "age=25", code=2).output
    one_image = run("ms-ssim", sets[0], "--per-class", "--where", "identity=0").output
    assert [line.split()[0] for line in one_image.splitlines()] == ["class", "a", "mean"]
    assert "leave --out and --dry-run out" in run("ms-ssim", sets[0], "--per-class", "--dry-run", code=2).output
    assert "has no classes" in run("ms-ssim", sets[0].replace(".h5", ".npy"), "--per-class", code=1).output
