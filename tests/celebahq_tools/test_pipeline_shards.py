"""Shards of a cluster: resumed after a kill, checked when joined; and errors of the background writer."""

import dataclasses
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import DiskSpaceError, FormatError, PictureError
from celebahq_tools.pipeline import render, shards
from celebahq_tools.pipeline.candidates import Candidate
from celebahq_tools.pipeline.job import Job, face_job
from celebahq_tools.pipeline.shards import Shard, join_shard, render_shard, shard_plan
from celebahq_tools.pipeline.tasks import survey_files
from celebahq_tools.sources import open_source
from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid

RES = 32


@pytest.fixture
def job(make_celeba: Callable[..., Path]) -> Job:
    return face_job(open_source(make_celeba(5)), BuildConfig(recipe="plain", res=RES), RunOptions())


@pytest.fixture
def shard(job: Job, tmp_path: Path) -> Shard:
    items: list[Candidate] = [item for result in survey_files(job.spec, job.tasks) for item in result.items]
    return Shard(
        plan="plan",
        start=0,
        stop=5,
        res=RES,
        data=tmp_path / "0.bin",
        journal=tmp_path / "0.jsonl",
        work=tuple(enumerate(items)),
    )


def counted(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> list[int]:
    rendered: list[int] = []
    real = shards.render_item

    def render_item(recipe: object, slot: int, candidate: Candidate, *, scored: bool) -> object:
        if len(rendered) == fail_at:
            raise RuntimeError("killed")
        rendered.append(slot)
        return real(recipe, slot, candidate, scored=scored)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "render_item", render_item)
    return rendered


def test_a_killed_shard_goes_on_where_it_was(job: Job, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        counted(patch, fail_at=3)
        with pytest.raises(RuntimeError, match="killed"):
            render_shard(job.spec, shard)
    rendered = counted(monkeypatch)
    render_shard(job.spec, shard)
    assert rendered == [3, 4]


def test_a_shard_of_another_plan_is_done_anew(job: Job, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    render_shard(job.spec, shard)
    rendered = counted(monkeypatch)
    render_shard(job.spec, dataclasses.replace(shard, plan="another"))
    assert rendered == [0, 1, 2, 3, 4]


def test_a_shard_with_a_flipped_byte_is_not_joined(job: Job, shard: Shard, tmp_path: Path) -> None:
    render_shard(job.spec, shard)
    rows = [IndexRow(key=str(slot), file=str(slot)) for slot in range(5)]
    create_pyramid(tmp_path / "o.h5", res=RES, rows=rows, meta=PyramidMeta())
    data = bytearray(shard.data.read_bytes())
    data[2 * shard.image_bytes + 7] ^= 1
    shard.data.write_bytes(data)
    with SlotWriter(tmp_path / "o.h5") as writer:
        with pytest.raises(FormatError, match="slot 2 is not what its worker wrote"):
            list(join_shard(shard, writer))
        assert writer.read_sha256(2) is None
        assert writer.read_sha256(1) is not None


def test_shards_cover_what_is_to_do_and_nothing_else(tmp_path: Path) -> None:
    work = [(slot, Candidate(key=str(slot), file=str(slot))) for slot in range(200) if not 50 <= slot < 60]
    pieces = shard_plan(work, 200, 1024, tmp_path, "plan")
    assert [slot for piece in pieces for slot, _item in piece.work] == [slot for slot, _item in work]
    assert all(piece.start <= slot < piece.stop for piece in pieces for slot, _item in piece.work)
    assert len({piece.data for piece in pieces}) == len(pieces) <= 64


def test_what_the_disk_does_not_take_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_pyramid(tmp_path / "o.h5", res=RES, rows=[IndexRow(key="a", file="a")], meta=PyramidMeta())
    failed = threading.Event()

    def sync(self: SlotWriter) -> None:
        if not failed.is_set():
            failed.set()
            raise DiskSpaceError("full")

    def write_a_while() -> None:
        with render.synced_in_background(tmp_path / "o.h5"):
            assert failed.wait(timeout=30)

    monkeypatch.setattr(render, "SYNC_INTERVAL_SEC", 0.01)
    monkeypatch.setattr(SlotWriter, "sync", sync)
    with pytest.raises(DiskSpaceError, match="full"):
        write_a_while()


def test_a_picture_error_survives_the_way_back_from_a_worker() -> None:
    copy = pickle.loads(pickle.dumps(PictureError("truncated", "a.jpg: ends early")))  # noqa: S301
    assert (copy.reason, str(copy)) == ("truncated", "a.jpg: ends early")
