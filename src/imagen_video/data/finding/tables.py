"""Labels in one table for many clips: CSV with a heading, or JSONL, one row a clip.

Read line by line with bounded memory; a bad row costs its own clip and no other.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from imagen_video.data.clips.faults import Dropped, LabelError
from imagen_video.data.clips.labels import (
    MAX_SIDECAR_BYTES,
    Label,
    LabelFields,
    first_value,
    label_from_fields,
    parse_object,
)
from imagen_video.errors import DataError

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
TABLE_NAMES = tuple(
    f"{stem}{suffix}" for stem in ("metadata", "captions", "labels") for suffix in TABLE_SUFFIXES
)
"""Taken from the root of a folder without being named."""
MAX_ROWS = 20_000_000
_TOO_LONG = "\x00too long\x00"  # stands for a line that was not kept; NUL is refused anyway


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row that names a clip."""

    file: str
    """Path as written, with `/`, without a leading `./`."""
    where: str
    """`metadata.csv line 7`."""
    label: Label | Dropped
    """What it says, or why that cannot be used."""


class LabelTable:
    """A whole table in memory, asked clip by clip; remembers which rows were asked for."""

    def __init__(self, path: Path, fields: LabelFields, root: Path) -> None:
        """Read the table.

        Args:
            path: the table.
            fields: its columns.
            root: the folder of the clips; rows may name absolute paths below it.

        Raises:
            DataError: as `read_table`, or more than MAX_ROWS rows.
        """
        self._rows: dict[str, Row] = {}
        self._used: set[str] = set()
        self.bad: list[Dropped] = []
        """Rows that are about no clip, or about one that has a row already."""
        for row in read_table(path, fields):
            if isinstance(row, Dropped):
                self.bad.append(row)
                continue
            if row.file.startswith("/"):
                row = _below(root, row)
            if row.file in self._rows:
                detail = f"{row.file} has a row already ({self._rows[row.file].where})"
                self.bad.append(
                    Dropped(id=row.where, reason="second row for a clip", detail=detail)
                )
            else:
                self._rows[row.file] = row
            if len(self._rows) + len(self.bad) > MAX_ROWS:
                raise DataError(str(path), "more rows", f"at most {MAX_ROWS}", "split the table")

    def find(self, ident: str) -> Label | Dropped | None:
        """Return what the table says about a clip, named with or without its suffix."""
        for name in (ident, str(PurePosixPath(ident).with_suffix(""))):
            if name in self._rows:
                self._used.add(name)
                return self._rows[name].label
        return None

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order."""
        yield from self._rows.values()

    def unused(self) -> Iterator[Row]:
        """Yield the rows that `find` never returned."""
        yield from (row for name, row in self._rows.items() if name not in self._used)


def read_table(path: Path, fields: LabelFields) -> Iterator[Row | Dropped]:
    """Yield the rows of a CSV (or TSV) or JSONL table.

    Raises:
        DataError: it does not exist, cannot be read, or (CSV) its heading names no file column.
    """
    if not path.is_file():
        raise DataError(str(path), "no such file", "a CSV or JSONL table", "check the path")
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(
            str(path), f"the suffix {suffix!r}", " or ".join(TABLE_SUFFIXES), "convert the table"
        )
    try:
        # newline="": the csv module sees quoted line breaks. Bytes that are not UTF-8 become lone
        # surrogates, which clean_caption refuses in that row alone.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            lines = _bounded_lines(stream)
            read = _jsonl_rows if suffix == ".jsonl" else _csv_rows
            yield from read(lines, path, fields)
    except OSError as error:
        raise DataError(
            str(path), error.strerror or "an error", "a readable table", "check its permissions"
        ) from error


def _bounded_lines(stream: TextIO) -> Iterator[str]:
    """Yield lines; one over the limit is skipped without being held and yields `_TOO_LONG`."""
    while line := stream.readline(MAX_SIDECAR_BYTES):
        too_long = False
        while len(line) == MAX_SIDECAR_BYTES and not line.endswith("\n"):
            too_long = True
            line = stream.readline(MAX_SIDECAR_BYTES)
        yield f"{_TOO_LONG}\n" if too_long else line


def _jsonl_rows(lines: Iterator[str], path: Path, fields: LabelFields) -> Iterator[Row | Dropped]:
    for number, line in enumerate(lines, start=1):
        where = f"{path.name} line {number}"
        if not line.strip():
            continue
        if "\0" in line:
            yield _unusable(where, line)
            continue
        try:
            values = parse_object(line, where)
        except LabelError as error:
            yield Dropped(id=where, reason="bad row in the table", detail=error.got)
            continue
        yield _row(values, where, fields)


def _csv_rows(lines: Iterator[str], path: Path, fields: LabelFields) -> Iterator[Row | Dropped]:
    reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    heading: list[str] | None = None
    while True:
        where = f"{path.name} line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:  # the reader goes on at the next line
            yield Dropped(id=where, reason="bad row in the table", detail=str(error))
            continue
        if cells is None:
            break
        if heading is None:
            heading = [cell.strip() for cell in cells]
            _check_heading(heading, path, fields)
        elif any("\0" in cell for cell in cells):
            yield _unusable(where, cells[0])
        elif len(cells) > len(heading):
            # Most often a comma in a caption without quotes: the caption would be cut short.
            detail = f"{len(cells)} cells under {len(heading)} headings; quote cells with commas"
            yield Dropped(id=where, reason="bad row in the table", detail=detail)
        elif cells:
            yield _row(dict(zip(heading, cells, strict=False)), where, fields)
    if heading is None:
        _check_heading([], path, fields)


def _check_heading(heading: list[str], path: Path, fields: LabelFields) -> None:
    if not set(heading) & set(fields.file):
        raise DataError(
            str(path),
            f"the heading {', '.join(heading)!r:.100}",
            f"a column named {' or '.join(fields.file)}",
            "add a heading, or name the column with --file-field",
        )


def _row(values: dict[str, Any], where: str, fields: LabelFields) -> Row | Dropped:
    file = first_value(values, fields.file)
    if not isinstance(file, str) or "\0" in file:
        return Dropped(id=where, reason="bad row in the table", detail="it names no file")
    try:
        file.encode()
    except UnicodeEncodeError:
        return Dropped(id=where, reason="label is not UTF-8", detail="in the file's name")
    name = str(PurePosixPath(file.strip()))
    try:
        label = label_from_fields(values, where, fields)
    except LabelError as error:
        return Row(file=name, where=where, label=error.dropped(name))
    return Row(file=name, where=where, label=label)


def _below(root: Path, row: Row) -> Row:
    for base in (root, root.resolve()):
        if PurePosixPath(row.file).is_relative_to(base.as_posix()):
            relative = PurePosixPath(row.file).relative_to(base.as_posix())
            return dataclasses.replace(row, file=str(relative))
    return row


def _unusable(where: str, start: str) -> Dropped:
    too_long = _TOO_LONG in start
    detail = f"a line of more than {MAX_SIDECAR_BYTES} characters" if too_long else "NUL bytes"
    return Dropped(id=where, reason="bad row in the table", detail=detail)
