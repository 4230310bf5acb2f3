"""Whole builds of small sources: what comes out, what is refused, and that it does not depend on how it is run."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from celebahq_tools.align import extract_crop, paper_quad, published_quad
from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import BusyError, CelebAHQError, DiskSpaceError, FormatError, UsageError
from celebahq_tools.formats.job import collection_job
from celebahq_tools.formats.pictures import pictures_of
from celebahq_tools.pipeline import partial, workers
from celebahq_tools.pipeline.build import BuildSummary, build_pyramid
from celebahq_tools.pipeline.job import Job, face_job
from celebahq_tools.pipeline.lock import output_lock
from celebahq_tools.pipeline.paths import BuildPaths
from celebahq_tools.pipeline.survey import survey
from celebahq_tools.sources import open_sample, open_source
from celebahq_tools.store import PyramidReader
from celebahq_tools.store.verify import verify_pyramid

MakeCelebA = Callable[..., Path]
PLAIN = BuildConfig(recipe="plain", res=32)


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def job_of(root: Path, config: BuildConfig = PLAIN) -> Job:
    return face_job(open_source(root), config, RunOptions())


def build(root: Path, out: Path, config: BuildConfig = PLAIN, **options: object) -> BuildSummary:
    return build_pyramid(job_of(root, config), RunOptions(**options), out, silent)  # type: ignore[arg-type]


def content(path: Path) -> str:
    """Digest of every dataset of a pyramid, byte for byte."""
    digest = hashlib.sha256()
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in sorted(names):
            digest.update(name.encode() + file[name][()].tobytes())
    return digest.hexdigest()


def leftovers(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith(out.stem) and path != out)


def test_the_sample_becomes_a_pyramid(tmp_path: Path) -> None:
    out = tmp_path / "sample.h5"
    with open_sample() as source:
        config = BuildConfig(recipe="plain", res=128)
        summary = build_pyramid(face_job(source, config, RunOptions()), RunOptions(), out, silent)
        records = [source.record(file) for file in source.files]
    assert summary.num_images == len(records) >= 3
    assert leftovers(out) == ["sample.lock"]
    assert verify_pyramid(out).ok
    with PyramidReader(out) as reader:
        assert reader.levels == (128, 64, 32, 16, 8, 4)
        assert reader.read(slice(None)).std() > 20
        for slot, record in enumerate(records):
            row = reader.index.row(slot)
            assert record is not None
            assert row.key == record.key
            np.testing.assert_array_equal(row.landmarks, record.landmarks)
            assert (row.identity, row.attributes, row.partition) == (
                record.identity,
                record.attributes,
                record.partition,
            )
            assert row.quality is not None
            pixels = decode_picture(source.read(record.file), name=record.file, apply_orientation=False)
            expected = published_quad(paper_quad(record.landmarks), pixels.shape[:2])
            np.testing.assert_allclose(row.quad, expected)
            np.testing.assert_array_equal(reader.read(slot), extract_crop(pixels, expected, 128))
        stored = reader.layout.attributes["build_config"]
        assert stored["recipe"] == "plain"
        assert stored["res"] == 128


def test_jobs_and_cluster_make_the_same_file(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    pytest.importorskip("distributed")
    from distributed import LocalCluster

    root = make_celeba(9)
    (root / "img_celeba" / "000004.jpg").write_bytes(b"<html>not found</html>")
    build(root, tmp_path / "one.h5")
    build(root, tmp_path / "two.h5", jobs=2)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", local_directory=str(tmp_path / "dask")
    ) as cluster:
        build(root, tmp_path / "dask.h5", dask=cluster.scheduler_address)
    assert content(tmp_path / "one.h5") == content(tmp_path / "two.h5") == content(tmp_path / "dask.h5")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "dask.h5").read_bytes()
    rejects = [(tmp_path / f"{name}.rejects.jsonl").read_text() for name in ("one", "two", "dask")]
    assert rejects[0] == rejects[1] == rejects[2]
    assert json.loads(rejects[0])["file"] == "000004.jpg"
    assert not (tmp_path / "dask.shards").exists()


def test_an_unreachable_cluster_is_named(
    tmp_path: Path, make_celeba: MakeCelebA, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "CONNECT_TIMEOUT_SEC", 0.5)
    with pytest.raises(CelebAHQError, match="no scheduler answers there"):
        build(make_celeba(1), tmp_path / "out.h5", dask="tcp://127.0.0.1:1")


def test_a_finished_build_is_not_done_again(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root, out = make_celeba(2), tmp_path / "out.h5"
    first = build(root, out)
    stamp = out.stat().st_mtime_ns
    again = build(root, out)
    assert again.already_complete
    assert not first.already_complete
    assert again.fingerprint == first.fingerprint
    assert out.stat().st_mtime_ns == stamp


def test_another_build_on_a_finished_output_is_refused(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root, out = make_celeba(2), tmp_path / "out.h5"
    build(root, out)
    other = BuildConfig(recipe="plain", res=16)
    with pytest.raises(UsageError, match="made with other options"):
        build(root, out, other)
    assert build(root, out, other, overwrite=True).res == 16


def test_another_build_on_an_unfinished_output_is_refused(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root, out = make_celeba(2), tmp_path / "out.h5"
    job = job_of(root)
    survey(job.spec, job.tasks[:1], RunOptions(), BuildPaths.beside(out), "another digest", silent)
    with pytest.raises(FormatError, match="unfinished build with other options"):
        build(root, out)
    assert build(root, out, overwrite=True).num_images == 2


def test_two_builds_on_one_output_refuse_each_other(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    out = tmp_path / "out.h5"
    with output_lock(BuildPaths.beside(out).lock), pytest.raises(BusyError, match="is building this output"):
        build(make_celeba(1), out)


def test_rejects_are_listed_and_strict_makes_them_fatal(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root = make_celeba(4)
    pictures = root / "img_celeba"
    (pictures / "000002.jpg").write_bytes((pictures / "000002.jpg").read_bytes()[:700])
    shutil.copy(pictures / "000001.jpg", pictures / "000009.jpg")
    summary = build(root, tmp_path / "out.h5")
    assert summary.num_images == 3
    listed = [json.loads(line) for line in (tmp_path / "out.rejects.jsonl").read_text().splitlines()]
    assert [(item["file"], item["reason"]) for item in listed] == [
        ("000002.jpg", "truncated"),
        ("000009.jpg", "no-landmarks"),
    ]
    assert all(item["file"] in item["message"] for item in listed)
    with pytest.raises(CelebAHQError, match=r"--strict: 000002\.jpg"):
        build(root, tmp_path / "strict.h5", strict=True)
    with pytest.raises(CelebAHQError, match=r"--strict: 000002\.jpg"):
        build(root, tmp_path / "strict.h5", strict=True, jobs=2)
    assert not (tmp_path / "strict.h5").exists()
    assert build(root, tmp_path / "strict.h5").num_images == 3


def test_nothing_accepted_is_an_error(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root = make_celeba(1)
    (root / "img_celeba" / "000001.jpg").write_bytes(b"")
    with pytest.raises(CelebAHQError, match="none of 1 pictures was accepted"):
        build(root, tmp_path / "out.h5")
    assert (tmp_path / "out.rejects.jsonl").exists()


def test_a_small_face_is_rejected_when_asked(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    config = BuildConfig(recipe="plain", res=32, min_face_px=10_000)
    with pytest.raises(CelebAHQError, match=r"pixels wide, expected at least 10000 \(--min-face\)"):
        build(make_celeba(1), tmp_path / "out.h5", config)


def test_a_late_reject_leaves_the_file_it_would_have_made_early(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root, out = make_celeba(5), tmp_path / "late.h5"
    job = job_of(root)
    survey(job.spec, job.tasks, RunOptions(), BuildPaths.beside(out), job.digest, silent)
    for number in (2, 5):
        (root / "img_celeba" / f"{number:06d}.jpg").unlink()
    summary = build_pyramid(job, RunOptions(), out, silent)
    assert [reject.reason for reject in summary.rejects] == ["missing", "missing"]
    assert not list(tmp_path.glob("*.partial"))

    early = BuildConfig(recipe="plain", res=32, ids=("000001", "000003", "000004"))
    build(root, tmp_path / "early.h5", early)
    assert content(out) == content(tmp_path / "early.h5")


def test_keep_takes_the_best_by_quality(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root = make_celeba(6)
    build(root, tmp_path / "all.h5")
    summary = build(root, tmp_path / "best.h5", BuildConfig(recipe="plain", res=32, keep=2))
    assert summary.left_out == 4
    with PyramidReader(tmp_path / "all.h5") as everything, PyramidReader(tmp_path / "best.h5") as best:
        order = np.sort(np.argsort(-everything.index.quality, kind="stable")[:2])
        np.testing.assert_array_equal(best.read(slice(None)), everything.read(order))
        np.testing.assert_array_equal(best.index.quality, everything.index.quality[order])


def test_ids_and_limit_choose_files(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root = make_celeba(4)
    build(root, tmp_path / "ids.h5", BuildConfig(recipe="plain", res=32, ids=("000003.jpg", "000002")))
    build(root, tmp_path / "limit.h5", BuildConfig(recipe="plain", res=32, limit=3))
    assert list(PyramidReader(tmp_path / "ids.h5").index.key) == ["000002.jpg", "000003.jpg"]
    assert len(PyramidReader(tmp_path / "limit.h5")) == 3
    with pytest.raises(UsageError, match=r"--ids: not in .*: 77"):
        build(root, tmp_path / "bad.h5", BuildConfig(recipe="plain", res=32, ids=("000001", "77")))


def test_too_small_a_disk_is_noticed_before_the_start(
    tmp_path: Path, make_celeba: MakeCelebA, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(partial.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(DiskSpaceError, match=r"need 0\.00 GiB, 0\.00 GiB are free"):
        build(make_celeba(2), tmp_path / "out.h5")
    assert not list(tmp_path.glob("out.h5*"))


@pytest.mark.parametrize("after", [0, 1, 7, 20, 33])
def test_a_full_disk_stops_resumably(
    tmp_path: Path, make_celeba: MakeCelebA, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    root = make_celeba(4)
    build(root, tmp_path / "good.h5")
    real, calls = os.pwrite, iter(range(10**6))

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    out = tmp_path / "full.h5"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises((DiskSpaceError, OSError), match=r"no space|No space"):
            build(root, out)
    assert not out.exists()
    build(root, out)
    assert content(out) == content(tmp_path / "good.h5")


def test_a_damaged_slot_is_found_and_rendered_again(tmp_path: Path, make_celeba: MakeCelebA) -> None:
    root, out = make_celeba(3), tmp_path / "out.h5"
    build(root, tmp_path / "good.h5")
    stages: list[str] = []

    def damaging(stage: str, done: int, total: int) -> None:
        if stage == "render" and done == total and "verify" not in stages:
            with PyramidReader(BuildPaths.beside(out).partial, allow_partial=True) as reader:
                offset = reader.layout.levels[32].offset
            assert offset is not None
            with BuildPaths.beside(out).partial.open("r+b") as file:
                file.seek(offset + 5)
                file.write(b"\xff\x00\xff")
        stages.append(stage)

    job = job_of(root)
    build_pyramid(job, RunOptions(), out, damaging)
    first = stages.index("verify")
    assert "render" in stages[first:], "the damaged slot was not found"
    assert content(out) == content(tmp_path / "good.h5")


def test_pictures_are_imported_with_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels: dict[str, np.ndarray] = {}
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "loose.png"):
        pixels[name] = rng.integers(0, 256, (32, 32, 3), np.uint8)
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[name]).save(tmp_path / "src" / name)
    config = BuildConfig(recipe="images", res=32)
    build_pyramid(
        collection_job(pictures_of(open_source(tmp_path / "src")), config), RunOptions(), tmp_path / "o.h5", silent
    )
    with PyramidReader(tmp_path / "o.h5") as reader:
        assert reader.label_names == ("cat", "dog")
        assert reader.labels is not None
        assert reader.labels.tolist() == [0, 0, 1, -1]
        for slot, key in enumerate(reader.index.key):
            np.testing.assert_array_equal(reader.read(slot), pixels[key].transpose(2, 0, 1))


@pytest.mark.parametrize(("fit", "accepted"), [("refuse", 0), ("crop", 1), ("pad", 1)])
def test_pictures_that_are_not_square(tmp_path: Path, fit: str, accepted: int) -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, 16:48] = 200
    (tmp_path / "src").mkdir()
    Image.fromarray(picture).save(tmp_path / "src" / "a.png")
    config = BuildConfig(recipe="images", res=32, fit=fit)  # type: ignore[arg-type]
    job = collection_job(pictures_of(open_source(tmp_path / "src")), config)
    if not accepted:
        with pytest.raises(CelebAHQError, match="64x32 is not square"):
            build_pyramid(job, RunOptions(), tmp_path / "o.h5", silent)
        return
    build_pyramid(job, RunOptions(), tmp_path / "o.h5", silent)
    image = PyramidReader(tmp_path / "o.h5").read(0)
    assert (image == 200).all() == (fit == "crop")
    assert (image[:, 0] == 0).all() == (fit == "pad")


@pytest.mark.shared
def test_cifar10_is_imported_bit_exact_with_its_classes(tmp_path: Path, shared: Path) -> None:
    import io
    import zipfile

    archive = shared / "data" / "cifar10-train.zip"
    config = BuildConfig(recipe="images", res=32, limit=300)
    job = collection_job(pictures_of(open_source(archive)), config)
    build_pyramid(job, RunOptions(), tmp_path / "o.h5", silent)
    with PyramidReader(tmp_path / "o.h5") as reader, zipfile.ZipFile(archive) as members:
        assert len(reader) == 300
        for slot in range(0, 300, 60):
            file = str(reader.index.file[slot])
            name = next(name for name in members.namelist() if name.endswith(file))
            expected = np.asarray(Image.open(io.BytesIO(members.read(name))).convert("RGB"))
            np.testing.assert_array_equal(reader.read(slot), expected.transpose(2, 0, 1))
            assert reader.labels is not None
            assert reader.label_names[reader.labels[slot]] == file.split("/")[0]
