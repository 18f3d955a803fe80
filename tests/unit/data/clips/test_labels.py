from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.data.clips.faults import Dropped, LabelError, printable
from imagen_video.data.clips.labels import (
    MAX_CAPTION_CHARACTERS,
    MAX_SIDECAR_BYTES,
    Label,
    LabelFields,
    clean_caption,
    label_from_class,
    label_from_fields,
    label_from_json,
    label_from_text,
)
from imagen_video.data.finding.tables import LabelTable, Row, read_table
from imagen_video.errors import DataError

FIELDS = LabelFields()


def test_a_caption_becomes_one_line_and_keeps_everything_else() -> None:
    assert clean_caption(" two  cats,\r\n\ta \u00e9t\u00e9 \U0001f408\n", "a") == (
        "two cats, a \u00e9t\u00e9 \U0001f408"
    )
    assert clean_caption(" \n", "a") is None


@given(st.text(max_size=60))
def test_cleaning_twice_is_cleaning_once_and_what_passes_can_be_printed(text: str) -> None:
    try:
        caption = clean_caption(text, "a")
    except LabelError:
        return
    if caption is not None:
        assert clean_caption(caption, "a") == caption
        assert "\x1b" not in caption
        assert len(caption.splitlines()) == 1
        caption.encode()


@pytest.mark.parametrize("odd", ["\x00", "\x1b[2J", "\x7f", "\u202e", "\ud800", "\x1f", "\x85"])
def test_control_characters_are_refused_and_named(odd: str) -> None:
    with pytest.raises(LabelError, match=f"U\\+{ord(odd[0]):04X}") as caught:
        clean_caption(f"a{odd}b", "clip.mp4")
    assert caught.value.where == "clip.mp4"


def test_a_caption_of_thousands_of_words_is_refused() -> None:
    assert clean_caption("x" * MAX_CAPTION_CHARACTERS, "a")
    with pytest.raises(LabelError, match="8193 characters"):
        clean_caption("x" * (MAX_CAPTION_CHARACTERS + 1), "a")


def test_sidecars_are_read() -> None:
    assert label_from_text(b"\xef\xbb\xbfa cat\n", "a").caption == "a cat"
    assert label_from_class(b"7\n", "a", FIELDS).class_id == 7
    label = label_from_json(b'{"text": "a cat", "class": 2, "vector": [0.5, 1]}', "a", FIELDS)
    assert label == Label(caption="a cat", class_id=2, vector=(0.5, 1.0))
    assert label_from_json(b"{}", "a", FIELDS) == Label()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[1]",
        b'{"caption": ["a", "b"]}',
        b'{"class": "cat"}',
        b'{"class": -1}',
        b'{"class": true}',
        b'{"class": 1.5}',
        b'{"vector": "a b"}',
        b'{"vector": [1, NaN]}',
        b'{"vector": [1e999]}',
        b'{"vector": []}',
        b'{"vector": [true]}',
        b'{"vector": {"a": 1}}',
        b'{"class": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"caption": "' + b"x" * MAX_SIDECAR_BYTES + b'"}',
        b"\xff\xfe",
    ],
    ids=lambda data: data[:24].decode("latin-1"),
)
def test_json_that_makes_no_label_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(LabelError) as caught:
        label_from_json(data, "a.json", FIELDS)
    assert caught.value.reason


def test_fields_and_classes_go_by_the_given_names() -> None:
    fields = LabelFields(
        caption=("titre",),
        class_id=("animal",),
        class_names=("dog", "cat"),
        vector_columns=("x", "y"),
    )
    row = {"titre": "t", "animal": "cat", "x": "1", "y": "-2.5", "caption": "not this"}
    assert label_from_fields(row, "a", fields) == Label(caption="t", class_id=1, vector=(1.0, -2.5))
    assert label_from_fields({"x": "", "y": ""}, "a", fields) == Label()
    with pytest.raises(LabelError, match="finite number"):
        label_from_fields({"x": "1", "y": ""}, "a", fields)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_a_vector_is_the_same_as_numbers_and_as_text(values: list[float]) -> None:
    expected = tuple(values)
    for text in (values, str(values), " ".join(map(repr, values)), ";".join(map(repr, values))):
        assert label_from_fields({"vector": text}, "a", FIELDS).vector == expected


def rows(path: Path, fields: LabelFields = FIELDS) -> list[Row | Dropped]:
    return list(read_table(path, fields))


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        '\ufefffile_name,caption,class\nx/1.mp4,"a, b",3\n./2.mp4,c,\n', encoding="utf-8"
    )
    (tmp_path / "a.tsv").write_text("file_name\tcaption\tclass\nx/1.mp4\ta, b\t3\n2.mp4\tc\t\n")
    lines = [{"file": "x/1.mp4", "caption": "a, b", "class": 3}, {"file": "2.mp4", "caption": "c"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    expected = {"x/1.mp4": Label(caption="a, b", class_id=3), "2.mp4": Label(caption="c")}
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        table = [row for row in rows(tmp_path / name) if isinstance(row, Row)]
        assert {row.file: row.label for row in table} == expected


BAD_CSV = (
    b"file,caption\n"
    b"1.mp4,nul\x00byte\n"
    b"2.mp4,fine\n"
    b"3.mp4,an unquoted, comma\n"
    b",no file\n"
    b"4.mp4," + b"x" * (MAX_SIDECAR_BYTES + 5) + b"\n"
    b"5.mp4," + b"y" * 140_000 + b"\n"  # over the csv module's limit for a field
    b"6.mp4,not \xff UTF-8\n"
    b"7.mp4,escape \x1b[2J\n"
    b"8.mp4,fine too\n"
    b"8.mp4,a second time\n"
    b"9.mp4\n"
)


def test_a_bad_row_costs_no_other_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(BAD_CSV)
    table = LabelTable(tmp_path / "a.csv", FIELDS, tmp_path)
    good = {r.file: r.label.caption for r in table.rows() if isinstance(r.label, Label)}
    assert good == {"2.mp4": "fine", "8.mp4": "fine too", "9.mp4": None}
    refused = {r.file: r.label.reason for r in table.rows() if isinstance(r.label, Dropped)}
    assert refused == dict.fromkeys(("6.mp4", "7.mp4"), "caption with control characters")
    reasons = [(bad.id, bad.reason) for bad in table.bad]
    bad = "bad row in the table"
    assert reasons == [
        ("a.csv line 2", bad),
        ("a.csv line 4", bad),
        ("a.csv line 5", bad),
        ("a.csv line 6", bad),
        ("a.csv line 7", bad),
        ("a.csv line 11", "second row for a clip"),
    ]
    assert "NUL" in table.bad[0].detail
    assert "quote" in table.bad[1].detail


def test_bad_lines_of_jsonl_are_named(tmp_path: Path) -> None:
    lines = [
        b'{"file": "1.mp4"',
        b"",
        b"7",
        b'{"file": 3}',
        b'{"file": "\\u0000"}',
        b'{"file": "2"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = rows(tmp_path / "a.jsonl")
    assert [item.id for item in found if isinstance(item, Dropped)] == [
        f"a.jsonl line {number}" for number in (1, 3, 4, 5)
    ]
    assert [item.file for item in found if isinstance(item, Row)] == ["2"]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", b"", "heading"),
        ("a.csv", b"one,two\n1,2\n", "one, two"),
        ("a.parquet", b"PAR1", "suffix"),
        ("none.csv", None, "no such file"),
    ],
)
def test_a_table_that_is_none_is_an_error(
    tmp_path: Path, name: str, content: bytes | None, match: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=match):
        rows(tmp_path / name)


@given(st.text(max_size=40))
def test_what_is_printed_of_a_strange_name_is_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert printable(shown) == shown
