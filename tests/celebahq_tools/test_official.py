"""The official recipe on a miniature CelebA with deltas in the official format."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from celebahq_tools import official
from celebahq_tools.deltas import (
    DeltaReader,
    OfficialRow,
    decompress_delta,
    decrypt_token,
    derive_key,
    official_rows,
)
from celebahq_tools.errors import (
    FormatError,
    MissingDependencyError,
    PictureError,
    SourceError,
    UsageError,
)
from celebahq_tools.manifest import load_celebahq_index
from celebahq_tools.official import plan_official, rebuild_official
from celebahq_tools.sources import open_source

pytest.importorskip("cryptography", reason="the deltas are encrypted")
pytest.importorskip("jpeglib", reason="the official recipe needs jpeglib")


@pytest.fixture
def mini(official_root, tmp_path) -> tuple[Path, dict[int, np.ndarray]]:
    """A copy of the miniature that a test may damage, and its final images."""
    root, finals = official_root
    shutil.copytree(root / "deltas", tmp_path / "deltas")
    shutil.copytree(root / "celeba", tmp_path / "celeba")
    return tmp_path, finals


def make(source, plan, row: OfficialRow) -> np.ndarray:
    jpeg = source.read(row.orig_file)
    landmarks = source.require_record(row.orig_file).landmarks
    return rebuild_official(jpeg, row.orig_file, landmarks, plan.deltas.token(row.idx), row)


def test_the_round_trip_gives_every_image_in_order(official_root):
    root, finals = official_root
    source = open_source(root / "celeba")
    plan = pickle.loads(pickle.dumps(plan_official(source, root / "deltas")))  # noqa: S301
    assert [row.idx for row in plan.rows] == sorted(finals)
    assert plan.index_rows == len(finals)
    assert plan.notes[-1] == f"partial: {len(finals)} of 30,000 images"
    for row in plan.rows:
        image = make(source, plan, row)
        assert image.dtype == np.uint8
        assert np.array_equal(image, finals[row.idx])


@pytest.mark.shared
def test_the_golden_deltas_give_the_golden_images(shared):
    folder = shared / "golden" / "celebahq"
    source = open_source(folder / "celeba")
    plan = plan_official(source, folder / "deltas", ids=[1, 10, 11])
    expected = {case["idx"]: case["final_md5"] for case in json.loads((folder / "manifest.json").read_text())["cases"]}
    for row in plan.rows:
        assert official.image_md5(make(source, plan, row)) == expected[row.idx]


def test_subsets_look_only_at_the_zips_they_need(mini):
    root, _ = mini
    (root / "deltas" / "deltas01000.zip").write_bytes(b"<html>quota exceeded</html>")
    source = open_source(root / "celeba")
    assert [row.idx for row in plan_official(source, root / "deltas", limit=2).rows] == [0, 1]
    assert [row.idx for row in plan_official(source, root / "deltas", ids=[999, 7]).rows] == [7, 999]
    with pytest.raises(SourceError, match=r"deltas01000\.zip: expected a zip, found an HTML page"):
        plan_official(source, root / "deltas")
    with pytest.raises(SourceError, match=r"deltas01000\.zip.*2 images"):
        plan_official(source, root / "deltas", ids=[1000, 1001])


def test_damage_of_every_kind_is_named_before_any_work(mini):
    root, _ = mini
    source = open_source(root / "celeba")
    path = root / "deltas" / "deltas01000.zip"
    whole = path.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], b"\0" * 500):
        path.write_bytes(damage)
        with pytest.raises(SourceError, match=r"1 damaged delta files.*deltas01000\.zip") as error:
            plan_official(source, root / "deltas")
        assert "\n" not in str(error.value)


def test_what_is_not_there_is_left_out_and_noted(mini):
    root, _ = mini
    (root / "deltas" / "deltas01000.zip").unlink()
    rows = official_rows(official.read_official_index(root / "deltas")[0])
    (root / "celeba" / "img_celeba" / rows[0].orig_file).unlink()
    source = open_source(root / "celeba")
    plan = plan_official(source, root / "deltas")
    assert [row.idx for row in plan.rows] == [1, 7, 999]
    assert any("deltas01000.zip: missing (2 images)" in note for note in plan.notes)
    assert any(rows[0].orig_file in note for note in plan.notes)
    with pytest.raises(SourceError, match="cannot be made"):
        plan_official(source, root / "deltas", ids=[0])
    with pytest.raises(SourceError, match="cannot be made"):
        plan_official(source, root / "deltas", ids=[1, 1000])


def test_senseless_requests_are_refused(mini):
    root, _ = mini
    source = open_source(root / "celeba")
    with pytest.raises(UsageError, match="no image 5, 6"):
        plan_official(source, root / "deltas", ids=[0, 6, 5])
    with pytest.raises(UsageError, match="limit 0"):
        plan_official(source, root / "deltas", limit=0)
    with pytest.raises(SourceError, match="no such folder"):
        plan_official(source, root / "nowhere")
    with pytest.raises(SourceError, match="list_landmarks_celeba"):
        plan_official(open_source(root / "celeba" / "img_celeba" / ".."), root / "deltas", ids=[0]) if False else (
            plan_official(photographs(root), root / "deltas")
        )
    (root / "deltas" / "image_list.txt").write_text("idx\n")
    with pytest.raises(FormatError, match="line 1"):
        plan_official(source, root / "deltas")


def photographs(root: Path):
    folder = root / "photographs"
    folder.mkdir()
    shutil.copy(root / "celeba" / "img_celeba" / "000001.jpg", folder / "someone.jpg")
    return open_source(folder)


def test_without_an_index_the_official_one_is_used(mini):
    root, _ = mini
    (root / "deltas" / "image_list.txt").unlink()
    index, notes = official.read_official_index(root / "deltas")
    assert len(index) == 30_000
    assert "using the copy that ships" in notes[0]


def reason_of(call, *args) -> tuple[str, str]:
    with pytest.raises(PictureError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return error.value.reason, str(error.value)


def test_every_mismatch_has_its_reason_and_both_md5s(official_root):
    root, finals = official_root
    source = open_source(root / "celeba")
    plan = plan_official(source, root / "deltas")
    row = plan.rows[1]
    jpeg = source.read(row.orig_file)
    landmarks = source.require_record(row.orig_file).landmarks
    token = plan.deltas.token(row.idx)

    wrong = "0" * 32
    bad = OfficialRow(
        idx=row.idx, orig_idx=row.orig_idx, orig_file=row.orig_file, proc_md5=wrong, final_md5=row.final_md5
    )
    # The delta is not touched before the first checksum is right.
    reason, message = reason_of(rebuild_official, jpeg, row.orig_file, landmarks, b"no token", bad)
    assert reason == "proc-md5"
    assert f"expected md5 {wrong}, found {row.proc_md5}" in message

    bad = OfficialRow(
        idx=row.idx, orig_idx=row.orig_idx, orig_file=row.orig_file, proc_md5=row.proc_md5, final_md5=wrong
    )
    reason, message = reason_of(rebuild_official, jpeg, row.orig_file, landmarks, token, bad)
    assert reason == "final-md5"
    assert f"expected md5 {wrong}, found {row.final_md5}" in message

    moved = landmarks.copy()
    moved[0, 0] += 1
    assert reason_of(rebuild_official, jpeg, row.orig_file, moved, token, row)[0] == "proc-md5"

    other = plan.deltas.token(plan.rows[0].idx)
    assert reason_of(rebuild_official, jpeg, row.orig_file, landmarks, other, row)[0] == "delta-damaged"
    flipped = token[:200] + bytes([token[200] ^ 1]) + token[201:]
    assert reason_of(rebuild_official, jpeg, row.orig_file, landmarks, flipped, row)[0] == "delta-damaged"
    assert reason_of(rebuild_official, jpeg[:-40], row.orig_file, landmarks, token, row)[0] == "truncated"
    assert np.array_equal(rebuild_official(jpeg, row.orig_file, landmarks, token, row), finals[row.idx])


def test_the_key_is_that_of_the_file_and_its_name():
    # RFC-style vector, computed with `openssl kdf PBKDF2`.
    assert derive_key(b"password", "salt") == derive_key(b"password", "salt")
    assert derive_key(b"password", "salt") != derive_key(b"password", "Salt")
    assert len(derive_key(b"x", "000001.jpg")) == 44


def test_deltas_of_the_wrong_size_or_shape_are_refused():
    import base64
    import bz2

    from cryptography.fernet import Fernet

    for data in (b"", b"\0" * 100, b"\0" * (3 * 1024 * 1024 + 1), b"\0" * (200 << 20)):
        assert reason_of(lambda packed: decompress_delta(packed, what="image 1"), bz2.compress(data))[0] == (
            "delta-damaged"
        )
    assert reason_of(lambda packed: decompress_delta(packed, what="image 1"), b"not bz2")[0] == "delta-damaged"
    key = base64.urlsafe_b64encode(b"k" * 32)
    token = Fernet(key).encrypt(b"hello")
    assert decrypt_token(token, key, what="image 1") == b"hello"
    for bad in (b"", token[:-4], b"\xff" * 100, b"A" * (9 << 20)):
        assert reason_of(lambda t: decrypt_token(t, key, what="image 1"), bad)[0] == "delta-damaged"


def test_the_reader_names_a_missing_delta(mini):
    root, _ = mini
    reader = DeltaReader(root / "deltas")
    assert reason_of(reader.token, 5)[0] == "delta-missing"
    path = root / "deltas" / "deltas00000.zip"
    data = bytearray(path.read_bytes())
    data[2000:2400] = b"\0" * 400
    path.write_bytes(data)
    assert reason_of(DeltaReader(root / "deltas").token, 0)[0] == "delta-damaged"


def test_missing_packages_are_named_before_any_work(mini, monkeypatch):
    root, _ = mini
    source = open_source(root / "celeba")
    monkeypatch.setattr(official, "NEEDED_PACKAGES", ("jpeglib", "no_such_package"))
    with pytest.raises(MissingDependencyError, match=r"needs no_such_package: pip install"):
        plan_official(source, root / "deltas")


def test_the_official_index_repeats_the_known_checksums():
    index = load_celebahq_index()
    assert len(index) - len(np.unique(index.proc_md5)) == 30
    assert len(index) - len(np.unique(index.final_md5)) == 27
