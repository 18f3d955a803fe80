from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from imagen_video.corpus.subjects import read_subjects
from imagen_video.errors import DataError

HEADER = "codepoint\tname\tnoun\tverb\tfamily\n"
HORSE = "1F40E-fe0f\thorse\ta horse\tgalloping\thorse\n"


def tables(folder: Path, subjects: str, facing: str = "codepoint\tname\tfacing\n") -> list[Path]:
    (folder / "subjects.tsv").write_text(subjects)
    (folder / "facing.tsv").write_text(facing)
    return [folder / "subjects.tsv", folder / "facing.tsv"]


def test_the_shipped_table_is_complete_and_consistent() -> None:
    subjects = read_subjects()
    assert len(subjects) >= 100
    assert len({subject.noun for subject in subjects}) == len(subjects)
    for subject in subjects:
        assert subject.noun.isascii()
        assert subject.verb.isascii()
        assert subject.verb.split()[0].endswith("ing"), subject


def test_every_side_view_belongs_to_a_subject() -> None:
    facing = Counter(subject.facing for subject in read_subjects())
    rows = Path("src/imagen_video/corpus/facing.tsv").read_text().splitlines()[1:]
    assert facing["left"] + facing["right"] == len(rows)
    assert facing["left"] > 30


def test_a_row_becomes_a_subject_that_faces_its_way(tmp_path: Path) -> None:
    facing = "codepoint\tname\tfacing\n1f40e\thorse\tleft\n"
    subjects = read_subjects(*tables(tmp_path, HEADER + "# a comment\n\n" + HORSE, facing))
    assert len(subjects) == 1
    assert subjects[0].codepoint == "1f40e"
    assert subjects[0].facing == "left"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("codepoint\tname\n", "add the missing columns"),
        (HEADER + "1f40e\thorse\ta horse\t\thorse\n", "row 2: got an empty cell"),
        (HEADER + "1f40e\thorse\n", "row 2: got an empty cell"),
        (HEADER + HORSE + HORSE, "1f40e twice"),
        (HEADER + HORSE + HORSE.replace("1F40E", "1f40f"), "horse twice"),
    ],
)
def test_a_malformed_table_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_subjects(*tables(tmp_path, text))


def test_an_unknown_direction_is_refused(tmp_path: Path) -> None:
    facing = "codepoint\tname\tfacing\n1f40e\thorse\tupwards\n"
    with pytest.raises(DataError, match="left or right"):
        read_subjects(*tables(tmp_path, HEADER + HORSE, facing))


def test_a_missing_table_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name another file"):
        read_subjects(tmp_path / "none.tsv")
