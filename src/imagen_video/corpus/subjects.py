"""The table of subjects: what the corpus shows, and the words for it.

`subjects.tsv` names each animated emoji with a noun phrase and what its animation does;
`facing.tsv` says of side views which way they look, so that nothing walks backwards when it moves
across the frame.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from imagen_video.corpus.decode import plain_codepoint
from imagen_video.corpus.sprites import Subject
from imagen_video.errors import DataError

SUBJECTS_FILE = Path(__file__).with_name("subjects.tsv")
FACING_FILE = Path(__file__).with_name("facing.tsv")
SUBJECT_COLUMNS = ("codepoint", "name", "noun", "verb", "family")
FACING_COLUMNS = ("codepoint", "facing")


def read_subjects(
    path: Path = SUBJECTS_FILE, facing_path: Path = FACING_FILE
) -> tuple[Subject, ...]:
    """Read both tables.

    Args:
        path: subjects, with the columns of `SUBJECT_COLUMNS`.
        facing_path: side views, with the columns of `FACING_COLUMNS`.

    Raises:
        DataError: if columns are missing, a cell is empty or unknown, or a subject occurs twice.
    """
    facing = {}
    for number, cells in _rows(facing_path, FACING_COLUMNS):
        if cells["facing"] not in ("left", "right"):
            raise DataError(
                f"{facing_path}, row {number}", cells["facing"], "left or right", "correct the cell"
            )
        facing[plain_codepoint(cells["codepoint"])] = cells["facing"]
    subjects = []
    for _, cells in _rows(path, SUBJECT_COLUMNS):
        cells["codepoint"] = plain_codepoint(cells["codepoint"])
        subject = Subject(**{column: cells[column] for column in SUBJECT_COLUMNS})
        subjects.append(replace(subject, facing=facing.get(subject.codepoint, "")))
    for column in ("codepoint", "name"):
        seen = Counter(getattr(subject, column) for subject in subjects)
        twice = [value for value, count in seen.items() if count > 1]
        if twice:
            raise DataError(
                str(path), f"{column} {twice[0]} twice", "one row each", "delete one of the rows"
            )
    return tuple(subjects)


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a table with a header, every wanted cell filled, with their line numbers."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            str(path), f"{error!s:.80}", "a tab-separated table", "name another file"
        ) from error
    numbered = [
        (number, line.split("\t"))
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    ]
    header = numbered[0][1] if numbered else []
    if not set(columns) <= set(header):
        raise DataError(
            str(path),
            f"columns {', '.join(header):.80}" if header else "an empty file",
            f"columns {', '.join(columns)}",
            "add the missing columns",
        )
    rows = []
    for number, row in numbered[1:]:
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
        if not all(cells.get(column) for column in columns):
            raise DataError(
                f"{path}, row {number}", "an empty cell", "a full row", "fill it in or delete it"
            )
        rows.append((number, cells))
    return rows
