"""CelebA's annotation files: what is read, and the line that says what is wrong."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celebahq_tools import annotations
from celebahq_tools.annotations import (
    LANDMARK_COLUMNS,
    align_to,
    parse_attributes,
    parse_identities,
    parse_landmarks,
    parse_partition,
)
from celebahq_tools.errors import SourceError

COLUMNS = " ".join(LANDMARK_COLUMNS)
ROW = "000001.jpg  10 20  30 20  20 30  12 40  28 40"
ROW_2 = "000002.jpg  11 21  31 21  21 31  13 41  29 41"
GOOD = f"2\n{COLUMNS}\n{ROW}\n{ROW_2}\n"


def refused(parse: Callable[[bytes, str], object], text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(SourceError) as caught:
        parse(data, "F.txt")
    message = str(caught.value)
    assert message.startswith("F.txt")
    assert "\n" not in message
    return message


def test_landmarks() -> None:
    table = parse_landmarks(GOOD.encode(), "F.txt")
    assert table.names.tolist() == [b"000001.jpg", b"000002.jpg"]
    assert table.values[0].tolist() == [10, 20, 30, 20, 20, 30, 12, 40, 28, 40]
    assert table.row("000002.jpg") == 1
    assert table.row("000003.jpg") is None
    assert table.row("000001.jpg.and.longer") is None
    assert table.row("") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "  \t\n"),
        lambda text: text.replace("  ", "\t"),
        lambda text: text + "\n\n",
        lambda text: text.rstrip("\n"),
        lambda text: text.replace(" 10", " +10"),
        lambda text: text.replace("jpg  10", "jpg  0010"),
    ],
    ids=["crlf", "cr", "bom", "trailing", "tabs", "blank-lines", "no-last-newline", "plus", "leading-zeros"],
)
def test_harmless_differences(change: Callable[[str], str]) -> None:
    expected = parse_landmarks(GOOD.encode(), "F.txt")
    table = parse_landmarks(change(GOOD).encode(), "F.txt")
    np.testing.assert_array_equal(table.names, expected.names)
    np.testing.assert_array_equal(table.values, expected.values)


def test_rows_are_sorted_by_name() -> None:
    table = parse_landmarks(f"2\n{COLUMNS}\n{ROW_2}\n{ROW}\n".encode(), "F.txt")
    assert table.names.tolist() == [b"000001.jpg", b"000002.jpg"]
    assert table.values[0, 0] == 10


def test_negative_landmarks_lie_outside_the_picture() -> None:
    table = parse_landmarks(GOOD.replace(" 10 20", " -10 -20").encode(), "F.txt")
    assert table.values[0, :2].tolist() == [-10, -20]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["cut short"]),
        ("2\n", ["cut short"]),
        (GOOD.replace("2\n", "3\n", 1), ["line 1", "announces 3 pictures", "2 rows"]),
        (GOOD.replace("2\n", "1\n", 1), ["line 1", "announces 1 pictures", "2 rows"]),
        (GOOD.replace("2\n", "two\n", 1), ["line 1", "number of pictures", "'two'"]),
        (f"{ROW}\n{ROW_2}\n{ROW_2}\n", ["line 1", "number of pictures"]),
        (GOOD.replace("lefteye_x ", ""), ["line 2", "10 column names", "found 9"]),
        (GOOD.replace("nose_x nose_y", "nose_y nose_x"), ["line 2", "expected the columns"]),
        (GOOD.replace(" 28 40", " 28"), ["line 3", "10 numbers", "10 fields", "000001.jpg"]),
        (GOOD.replace(" 29 41", " 29 41 7"), ["line 4", "12 fields"]),
        (GOOD.replace(" 12 40", " 12 4O"), ["line 3", "field 9", "'4O'"]),
        (GOOD.replace(" 12 40", " 12 40.5"), ["line 3", "field 9", "'40.5'"]),
        (GOOD.replace(" 12 40", " 12 -"), ["line 3", "field 9", "'-'"]),
        (GOOD.replace(" 12 40", " 12 --4"), ["line 3", "'--4'"]),
        (GOOD.replace(" 12 40", " 12 1234567890"), ["line 3", "'1234567890'"]),
        (GOOD.replace(" 12 40", " 12 \u0664\u0660"), ["line 3", "whole number"]),
        (GOOD.replace("000002", "000001"), ["line 4", "'000001.jpg'", "twice", "line 3"]),
        (GOOD.replace("000002", "0" * 300), ["line 4", "255 bytes"]),
    ],
)
def test_wrong_landmark_files(text: str, words: list[str]) -> None:
    message = refused(parse_landmarks, text)
    for word in words:
        assert word in message


def test_line_numbers_count_blank_lines_and_span_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotations, "CHUNK_BYTES", 200)
    rows = [f"{number:06d}.jpg" + " 5" * 10 for number in range(1, 101)]
    text = f"100\n{COLUMNS}\n\n" + "\n".join(rows) + "\n"
    assert len(parse_landmarks(text.encode(), "F.txt").names) == 100
    assert "line 80:" in refused(parse_landmarks, text.replace("000077.jpg 5", "000077.jpg x"))
    assert "line 80:" in refused(parse_landmarks, text.replace("000077.jpg 5", "000077.jpg"))
    # Repetition is noticed across blocks.
    assert "first in line 13" in refused(parse_landmarks, text.replace("000077.jpg", "000010.jpg"))


def test_binary_rubbish_is_one_printable_line() -> None:
    message = refused(parse_landmarks, b"2\n" + COLUMNS.encode() + b"\n\xff\xfe\x00\x01 \x1b[31m\n")
    assert message.isprintable()


def test_attributes() -> None:
    table = parse_attributes(b"2\nBald Young\n000001.jpg -1  1\n000002.jpg  1 -1\n", "F.txt")
    assert table.columns == ("Bald", "Young")
    assert table.values.tolist() == [[-1, 1], [1, -1]]
    message = refused(parse_attributes, "2\nBald Young\n000001.jpg -1  1\n000002.jpg  1 0\n")
    for word in ("-1 or 1", "000002.jpg", "Young", "found 0"):
        assert word in message


def test_identities() -> None:
    assert parse_identities(b"000001.jpg 2880\n000002.jpg 7\n", "F.txt").values.tolist() == [[2880], [7]]
    assert "identity number from 1" in refused(parse_identities, "000001.jpg 0\n")
    assert "line 2" in refused(parse_identities, "000001.jpg 1\n000002.jpg\n")
    assert "at least one row" in refused(parse_identities, "\n \n")


def test_partition() -> None:
    assert parse_partition(b"000001.jpg 0\n000002.jpg 2\n", "F.txt").values.tolist() == [[0], [2]]
    assert "2 (test)" in refused(parse_partition, "000001.jpg 3\n")


def test_align_reorders_and_names_what_is_missing() -> None:
    table = parse_identities(b"b.jpg 2\na.jpg 1\nc.jpg 3\n", "F.txt")
    names = np.array([b"c.jpg", b"a.jpg"])
    assert align_to(table, names)[:, 0].tolist() == [3, 1]
    with pytest.raises(SourceError, match=r"F\.txt: 2 of 3 .* first\s+bb\.jpg"):
        align_to(table, np.array([b"a.jpg", b"bb.jpg", b"zz.jpg"]))


@given(
    st.dictionaries(
        st.text("abcXYZ019_-./é世", min_size=1, max_size=12),
        st.lists(st.integers(-999_999_999, 999_999_999), min_size=10, max_size=10),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([" ", "   ", "\t"]),
)
@settings(deadline=None)
def test_what_is_written_is_read(rows: dict[str, list[int]], newline: str, space: str) -> None:
    lines = [str(len(rows)), COLUMNS, *(space.join([name, *map(str, row)]) for name, row in rows.items())]
    table = parse_landmarks((newline.join(lines) + newline).encode(), "F.txt")
    assert len(table.names) == len(rows)
    for name, row in rows.items():
        at = table.row(name)
        assert at is not None
        assert table.values[at].tolist() == row


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_end_in_a_table_or_a_source_error(data: bytes) -> None:
    for parse in (parse_landmarks, parse_attributes, parse_identities, parse_partition):
        try:
            parse(b"1\n" + COLUMNS.encode() + b"\n" + data, "F.txt")
        except SourceError as error:
            message = str(error)
        else:
            continue
        assert message.startswith("F.txt")
        assert message.isprintable()


def test_the_size_of_celeba_takes_seconds_at_most() -> None:
    count = 202_599
    rows = "".join(f"{number:06d}.jpg" + " -1  1" * 20 + "\n" for number in range(1, count + 1))
    data = (f"{count}\n" + " ".join(f"a{number}" for number in range(40)) + "\n" + rows).encode()
    start = time.perf_counter()
    table = parse_attributes(data, "F.txt")
    # About 0.6 seconds; the bound only tells arrays from a loop over eight million words on a busy machine.
    assert time.perf_counter() - start < 10
    assert table.values.shape == (count, 40)
    assert table.row("202599.jpg") == count - 1
