"""What is said about a clip: a caption, a class id, a vector of numbers, or nothing.

Labels come from strangers' text files. They are small, UTF-8, and free of control characters, or
they are refused: a caption ends up on terminals, in file names and in JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from imagen_video.data.clips.faults import LabelError

MAX_SIDECAR_BYTES = 1 << 20
MAX_CAPTION_CHARACTERS = 8192
MAX_VECTOR = 4096
MAX_CLASS_ID = 1 << 24

# Marks that turn the direction of what follows: a terminal or a report would show another text
# than the encoder reads.
_DIRECTION_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """Any of the three may be missing."""

    caption: str | None = None
    """One line of text, not empty."""
    class_id: int | None = None
    """0 or more."""
    vector: tuple[float, ...] | None = None
    """Finite numbers."""

    def updated(self, other: Label) -> Label:
        """Return this label with what `other` knows put over it."""
        known = {name: value for name, value in vars(other).items() if value is not None}
        return dataclasses.replace(self, **known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelFields:
    """Which columns of a table, or keys of a JSON object, hold the label."""

    file: tuple[str, ...] = ("file_name", "file", "path", "filename", "video", "image")
    """Tables only: the clip that a row is about. The first name that is there counts."""
    caption: tuple[str, ...] = ("caption", "text", "prompt")
    """The first name that is there counts."""
    class_id: tuple[str, ...] = ("class_id", "class", "label")
    """The first name that is there counts."""
    vector: tuple[str, ...] = ("vector",)
    """A list of numbers, or text with numbers between spaces, commas or semicolons."""
    vector_columns: tuple[str, ...] = ()
    """Columns with one number each that together make the vector, in this order."""
    class_names: tuple[str, ...] = ()
    """Names of the classes 0, 1, ... where they are given as words."""


def clean_caption(text: str, where: str) -> str | None:
    """Return a caption as one line, or None if it is blank.

    Runs of spaces and line breaks become one space; nothing else is changed.

    Raises:
        LabelError: too long, or it holds control characters, text-direction overrides or halves of
            surrogate pairs.
    """
    # Before splitting: Python counts the separators 0x1c to 0x1f as white space.
    for character in text:
        if character in " \t\n\r":
            continue
        odd = unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTION_OVERRIDES
        if odd:
            raise LabelError(
                "caption with control characters",
                where,
                f"the character U+{ord(character):04X} in the caption",
                "printable text",
                "remove it",
            )
    caption = " ".join(text.split())
    if len(caption) > MAX_CAPTION_CHARACTERS:
        raise LabelError(
            "caption too long",
            where,
            f"{len(caption)} characters",
            f"at most {MAX_CAPTION_CHARACTERS}",
            "shorten the caption",
        )
    return caption or None


def label_from_text(data: bytes, where: str) -> Label:
    """Read a `.txt` sidecar: the whole file is the caption."""
    return Label(caption=clean_caption(_decoded(data, where), where))


def label_from_class(data: bytes, where: str, fields: LabelFields) -> Label:
    """Read a `.cls` sidecar, as webdataset has them: a class id or name."""
    return Label(class_id=_class_id(_decoded(data, where).strip(), where, fields))


def label_from_json(data: bytes, where: str, fields: LabelFields) -> Label:
    """Read a `.json` sidecar: an object with the keys that `fields` names."""
    return label_from_fields(parse_object(_decoded(data, where), where), where, fields)


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        LabelError: if it is something else.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # nesting without end is a RecursionError
        raise _bad_sidecar(where, f"no JSON ({error!s:.100})") from error
    if not isinstance(values, dict):
        raise _bad_sidecar(where, f"a JSON {type(values).__name__}")
    return values


def label_from_fields(values: Mapping[str, Any], where: str, fields: LabelFields) -> Label:
    """Pick the label out of a row of a table or a JSON object.

    Args:
        values: JSON values, or the text of a table's cells. Blank ones count as missing.
        where: what to call it in messages.
        fields: which of them matter.

    Raises:
        LabelError: a caption that is no text, an unknown class, a number that is none.
    """
    caption = first_value(values, fields.caption)
    if caption is not None and not isinstance(caption, str):
        raise LabelError(
            "unusable label",
            where,
            f"a caption of type {type(caption).__name__}",
            "text",
            "give each clip one caption",
        )
    return Label(
        caption=None if caption is None else clean_caption(caption, where),
        class_id=_class_id(first_value(values, fields.class_id), where, fields),
        vector=_vector(values, where, fields),
    )


def first_value(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first value that is there and not blank, else None."""
    for name in names:
        value = values.get(name)
        if value is not None and value != "":
            return value
    return None


def _decoded(data: bytes, where: str) -> str:
    if len(data) > MAX_SIDECAR_BYTES:
        raise LabelError(
            "sidecar too large",
            where,
            f"more than {MAX_SIDECAR_BYTES} bytes",
            "a caption",
            "shorten the file",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(
            "label is not UTF-8", where, f"byte {data[error.start]:#x}", "UTF-8", "convert the file"
        ) from error


def _class_id(value: Any, where: str, fields: LabelFields) -> int | None:
    if value is None or value == "":
        return None
    if value in fields.class_names:
        return fields.class_names.index(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_CLASS_ID:
        return value
    raise LabelError(
        "unusable label",
        where,
        f"the class {value!r:.60}",
        f"a number from 0 to {MAX_CLASS_ID}, or one of the given class names",
        "correct it, or name the classes",
    )


def _vector(values: Mapping[str, Any], where: str, fields: LabelFields) -> tuple[float, ...] | None:
    if fields.vector_columns:
        cells = [values.get(name) for name in fields.vector_columns]
        if all(cell is None or cell == "" for cell in cells):
            return None
        return tuple(_number(cell, where) for cell in cells)
    value = first_value(values, fields.vector)
    if value is None:
        return None
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip(" \t\r\n[]"))
    if isinstance(value, int | float):
        value = [value]
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_VECTOR:
        raise LabelError(
            "unusable label",
            where,
            f"the vector {value!r:.60}",
            f"a list of 1 to {MAX_VECTOR} numbers",
            "correct it",
        )
    return tuple(_number(cell, where) for cell in value)


def _number(cell: Any, where: str) -> float:
    try:
        if isinstance(cell, bool) or not isinstance(cell, int | float | str):
            raise ValueError
        number = float(cell)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise LabelError(
            "unusable label", where, f"{cell!r:.60} in the vector", "a finite number", "correct it"
        )
    return number


def _bad_sidecar(where: str, found: str) -> LabelError:
    return LabelError("unusable label", where, found, "a JSON object", "correct the file")
