"""The parts of the pipeline that need no pictures: selection, plan, journal, lock, paths."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.deltas import OfficialRow
from celebahq_tools.errors import BusyError, FormatError, UsageError
from celebahq_tools.pipeline.candidates import Candidate, natural_key, plan_digest, select
from celebahq_tools.pipeline.journal import JournalWriter, read_journal, write_lines
from celebahq_tools.pipeline.lock import output_lock
from celebahq_tools.pipeline.paths import BuildPaths

KIND = "test-journal"

candidates = st.builds(
    Candidate,
    key=st.text(max_size=8),
    file=st.text(max_size=8),
    quad=st.none() | st.tuples(*[st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))] * 4),
    quality=st.none() | st.floats(0, 1),
    identity=st.none() | st.integers(0, 10_177),
    attributes=st.none() | st.tuples(st.sampled_from([-1, 1]), st.sampled_from([-1, 1])),
    partition=st.none() | st.integers(0, 2),
    label=st.none() | st.integers(0, 9),
    official=st.none() | st.just(OfficialRow(idx=3, orig_idx=4, orig_file="000005.jpg", proc_md5="ab", final_md5="cd")),
)


@given(candidates)
def test_a_candidate_survives_json(candidate: Candidate) -> None:
    assert Candidate.from_json(json.loads(json.dumps(candidate.to_json()))) == candidate


def test_names_are_ordered_as_people_count() -> None:
    names = ["10.jpg", "9.jpg", "a/2.jpg", "a/10.jpg", "009.jpg", "b.jpg"]
    assert sorted(names, key=natural_key) == ["009.jpg", "9.jpg", "10.jpg", "a/2.jpg", "a/10.jpg", "b.jpg"]


@given(st.lists(st.text(max_size=6), unique=True), st.randoms())
def test_the_order_of_arrival_does_not_matter(names: list[str], shuffler: random.Random) -> None:
    items = [Candidate(key=name, file=name, quality=len(name) / 7) for name in names]
    shuffled = list(items)
    shuffler.shuffle(shuffled)
    for keep in (None, 1, 3):
        assert select(items, keep) == select(shuffled, keep)


def test_keep_takes_the_best_and_leaves_them_in_order() -> None:
    items = [Candidate(key=str(n), file=str(n), quality=quality) for n, quality in enumerate((0.2, 0.9, 0.5, 0.9, 0.1))]
    chosen, left_out = select(items, 3)
    assert [item.key for item in chosen] == ["1", "2", "3"]
    assert [item.key for item in left_out] == ["0", "4"]


def test_ties_at_the_limit_go_to_the_earlier_key() -> None:
    items = [Candidate(key=str(n), file=str(n), quality=0.5) for n in (3, 1, 2)]
    assert [item.key for item in select(items, 2)[0]] == ["1", "2"]


def test_official_images_are_ordered_by_their_number() -> None:
    def row(idx: int) -> OfficialRow:
        return OfficialRow(idx=idx, orig_idx=0, orig_file="", proc_md5="", final_md5="")

    items = [Candidate(key=key, file=key, official=row(idx)) for key, idx in (("a", 12), ("b", 2), ("c", 7))]
    assert [item.key for item in select(items, None)[0]] == ["b", "c", "a"]


def test_the_plan_digest_knows_config_items_and_order() -> None:
    one, two = Candidate(key="1", file="1"), Candidate(key="2", file="2")
    digests = {
        plan_digest("x", [one, two]),
        plan_digest("x", [two, one]),
        plan_digest("x", [one]),
        plan_digest("y", [one]),
    }
    assert len(digests) == 4


def test_journal_cuts_off_what_a_kill_leaves(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with JournalWriter(path, KIND, {"digest": "d"}) as journal:
        journal.append({"slot": 1})
        journal.append({"slot": 2})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        before = read_journal(path, KIND)
        with JournalWriter(path, KIND, {"digest": "d"}) as journal:
            journal.append({"slot": 3})
        after = read_journal(path, KIND)
        assert after is not None
        assert after[0]["digest"] == "d"
        assert after[1] == ([] if before is None else before[1]) + [{"slot": 3}]


def test_journal_of_another_kind_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with JournalWriter(path, KIND, {}) as journal:
        journal.append({"a": 1})
        journal.append({"a": 2})
    with pytest.raises(FormatError, match="expected a other of version 1, found 'test-journal'"):
        read_journal(path, "other")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00\x00\n" + lines[2])
    with pytest.raises(FormatError, match="line 2: not a JSON object"):
        read_journal(path, KIND)


def test_lines_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"

    def failing() -> object:
        yield {"a": 1}
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_lines(path, failing())  # type: ignore[arg-type]
    assert not path.exists()
    assert write_lines(path, iter([{"a": "\udcff"}])) == 1
    assert json.loads(path.read_text()) == {"a": "\udcff"}


def test_the_lock_is_exclusive_and_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    hold = (
        "import sys, time\nfrom pathlib import Path\nfrom celebahq_tools.pipeline.lock import output_lock\n"
        "with output_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BusyError, match=f"process {holder.pid} is building"), output_lock(path):
            pass
        holder.kill()
        holder.wait()
    with output_lock(path):
        assert path.read_text() == str(os.getpid())


def test_state_files_stand_beside_the_output(tmp_path: Path) -> None:
    paths = BuildPaths.beside(tmp_path / "faces.v1.h5")
    assert paths.partial.name == "faces.v1.h5.partial"
    assert paths.rejects.name == "faces.v1.rejects.jsonl"
    for bad, words in (("faces.png", r"ending in \.h5"), ("no/such/faces.h5", "no folder")):
        with pytest.raises(UsageError, match=words):
            BuildPaths.beside(tmp_path / bad)


@pytest.mark.parametrize("res", [0, 3, 100, 8192])
def test_resolution_must_be_a_power_of_two_in_range(res: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        BuildConfig(recipe="plain", res=res)


def test_the_config_digest_follows_every_field() -> None:
    base = BuildConfig(recipe="plain")
    others = [
        BuildConfig(recipe="ffhq"),
        BuildConfig(recipe="plain", res=512),
        BuildConfig(recipe="plain", keep=3),
        BuildConfig(recipe="plain", faces="all"),
        BuildConfig(recipe="plain", min_face_px=99),
        BuildConfig(recipe="plain", ids=("1",)),
        BuildConfig(recipe="plain", limit=7),
    ]
    assert len({config.digest("source") for config in (base, *others)} | {base.digest("other source")}) == 9


def test_jobs_must_be_positive() -> None:
    with pytest.raises(UsageError, match="--jobs 0"):
        RunOptions(jobs=0)
