"""The documents in data_manifests: as their schema says, and refused where they are not."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from celebahq_tools import manifest
from celebahq_tools.errors import FormatError
from celebahq_tools.manifest import (
    load_celeba_facts,
    load_celebahq_index,
    load_sample_provenance,
    orig_file_name,
    parse_image_list,
)

HEAD = "idx orig_idx orig_file proc_md5 final_md5"
MD5 = "0123456789abcdef" * 2
ROW = f"0 119613 119614.jpg {MD5} {MD5}"


def test_celeba_facts() -> None:
    facts = load_celeba_facts()
    assert facts.pictures == 202_599
    assert sum(facts.partition) == facts.pictures
    assert len(set(facts.attribute_names)) == 40
    assert facts.first_picture_md5 == "9cad8178d6cb0196b36f7b34bc5eb6d3"
    assert len({item.name for item in facts.files}) == len(facts.files)
    for item in facts.files:
        assert item.reported_by
        for digest, length in ((item.md5, 32), (item.sha1, 40), (item.sha256, 64)):
            assert digest is None or (len(digest) == length and int(digest, 16) >= 0)
        assert item.size is None or item.size > 0
    volumes = [item for item in facts.files if "img_celeba.7z." in item.name]
    assert len(volumes) == 14
    assert facts.file("list_landmarks_celeba.txt") is facts.file("Anno/list_landmarks_celeba.txt")
    with pytest.raises(KeyError):
        facts.file("landmarks.txt")


def test_files_are_compared_with_what_is_known() -> None:
    data = b"some annotation"
    digests = {kind: hashlib.new(kind, data).hexdigest() for kind in ("md5", "sha1", "sha256")}
    common = {"name": "a", "about": "", "needed": True, "reported_by": ("x",)}
    known = manifest.ExpectedFile(size=len(data), **digests, **common)
    assert known.mismatch(data) is None
    assert known.mismatch(data + b"!") == "size"
    assert known.mismatch(data[::-1]) == "sha256"
    unknown = manifest.ExpectedFile(size=None, md5=None, sha1=None, sha256=None, **common)
    assert unknown.mismatch(data) is None
    assert manifest.ExpectedFile(size=None, md5=MD5, sha1=None, sha256=None, **common).mismatch(data) == "md5"


def test_celebahq_index() -> None:
    index = load_celebahq_index()
    assert len(index) == 30_000
    assert index.idx.tolist() == list(range(30_000))
    assert len(np.unique(index.orig_idx)) == 30_000
    assert index.orig_idx.min() >= 0
    assert index.orig_idx.max() < load_celeba_facts().pictures
    assert index.orig_file(0) == "119614.jpg"
    assert index.proc_md5[0] == b"0be7e162e25c06f50dd5c1090007f2cf"
    assert index.final_md5[29_999] == b"1fa064bfd06814cf2ebc5462ef0d941b"
    facts = json.loads(manifest._read("celebahq.json"))
    assert 30_000 - len(np.unique(index.proc_md5)) == facts["repeated_proc_md5"] == 30
    assert 30_000 - len(np.unique(index.final_md5)) == facts["repeated_final_md5"] == 27
    data = gzip.decompress(manifest._read(facts["file"]))
    assert (len(data), hashlib.sha256(data).hexdigest()) == (facts["bytes"], facts["sha256"])
    assert hashlib.md5(data).hexdigest() == "775f1ed78779f521f3229ca4c986799d"


@pytest.mark.shared
def test_index_is_the_copy_in_circulation(shared: Path) -> None:
    data = (shared / "data" / "celebahq" / "image_list.txt").read_bytes()
    assert gzip.decompress(manifest._read("celebahq_image_list.txt.gz")) == data


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_image_list(newline: str) -> None:
    index = parse_image_list(newline.join([HEAD, ROW, ""]).encode(), "L.txt")
    assert (index.idx.tolist(), index.orig_idx.tolist()) == ([0], [119613])
    assert index.proc_md5[0] == MD5.encode()
    assert index.orig_file(0) == orig_file_name(119613) == "119614.jpg"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["line 1", "expected the columns", "nothing"]),
        (ROW, ["line 1", "expected the columns"]),
        (f"{HEAD}\n", ["at least one row"]),
        (f"{HEAD}\n{ROW} x", ["line 2", "5 fields, found 6"]),
        (f"{HEAD}\n{ROW.replace('0 119613', '-1 119613')}", ["line 2", "numbers in the first two"]),
        (f"{HEAD}\n{ROW.replace('119613', '99999999999')}", ["line 2", "numbers in the first two"]),
        (f"{HEAD}\n{ROW.replace('119614.jpg', '119613.jpg')}", ["line 2", "expected orig_file 119614.jpg"]),
        (f"{HEAD}\n{ROW}\n{ROW.replace('0 119613', '1 119613')[:-1]}", ["line 3", "32 hex digits"]),
        (f"{HEAD}\n{ROW.replace('abcdef', 'ABCDEF')}", ["line 2", "32 hex digits"]),
        (f"{HEAD}\n{ROW}\n{ROW}", ["twice"]),
    ],
)
def test_wrong_image_lists(text: str, words: list[str]) -> None:
    with pytest.raises(FormatError) as caught:
        parse_image_list(text.encode(), "L.txt")
    message = str(caught.value)
    assert message.startswith("L.txt")
    for word in words:
        assert word in message


def test_documents_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = {
        "celeba.json": manifest._read("celeba.json"),
        "celebahq.json": manifest._read("celebahq.json"),
        "celebahq_image_list.txt.gz": manifest._read("celebahq_image_list.txt.gz"),
    }
    monkeypatch.setattr(manifest, "_read", lambda name: changed.get(name, documents[name]))
    celeba = json.loads(documents["celeba.json"])
    for change, words in (
        ({"schema": "celeba/2"}, "expected schema celeba/1, found celeba/2"),
        ({"counts": {**celeba["counts"], "pictures": 3}}, "contradict"),
        ({"files": [{"name": "a"}]}, "schema says"),
        ({"first_picture": {}}, "schema says"),
    ):
        changed = {"celeba.json": json.dumps({**celeba, **change}).encode()}
        with pytest.raises(FormatError, match=words):
            load_celeba_facts()
    changed = {"celeba.json": b"{"}
    with pytest.raises(FormatError, match="no valid JSON"):
        load_celeba_facts()
    changed = {"celebahq_image_list.txt.gz": gzip.compress(b"idx\n")}
    with pytest.raises(FormatError, match="expected md5 775f1ed78779f521f3229ca4c986799d"):
        load_celebahq_index()
    changed = {"celebahq_image_list.txt.gz": documents["celebahq_image_list.txt.gz"][:1000]}
    with pytest.raises(FormatError, match="damaged"):
        load_celebahq_index()


def test_sample_provenance() -> None:
    document = load_sample_provenance()
    originals, pictures = document["originals"], document["pictures"]
    for original in originals.values():
        assert original["title"]
        assert original["author"]
        assert "public domain" in original["licence"]
        assert len(original["sha256"]) == 64
    assert {picture["original"] for picture in pictures} == set(originals)
    # The photographs whose publisher asks that they stay as they are were only cropped and scaled.
    for picture in pictures:
        if "NASA" not in originals[picture["original"]]["licence"]:
            assert (picture["degrees"], picture["mirrored"], picture["gray"]) == (0, False, False)
