"""The file of prompts of a batch, read and checked line by line before anything starts.

`.jsonl`: an object a line. Any other file: a prompt a line. Empty lines, and lines that begin
with #, are left out of both.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen_video.cli.settings import parse_steps
from imagen_video.distributed.sample import MAX_ID
from imagen_video.errors import InputError
from imagen_video.text.base import checked_prompts

if TYPE_CHECKING:
    from imagen_video.cascade.spec import StageSpec

MAX_LINE = 1 << 20
"""Characters of a line; the longest prompt is far shorter."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line: what it asks for. None where it says nothing."""

    where: str
    """File and number, for messages."""
    prompt: str = ""
    id: str | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    class_id: int | None = None
    vector: list[float] | None = None
    steps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    guidance_weight: float | None = None


def read_lines(path: Path, stages: Sequence[str], chosen: Sequence[StageSpec] = ()) -> list[Line]:
    """Read the file.

    Args:
        path: the file.
        stages: names of the cascade's stages.
        chosen: the stages that will run, as for `parse_steps`.

    Raises:
        InputError: for the first line that cannot be used, or if there is none.
    """
    lines = []
    try:
        with path.open(encoding="utf-8") as stream:
            # A part at a time: a line without end must not fill the memory.
            parts = iter(lambda: stream.readline(MAX_LINE + 1), "")
            for number, text in enumerate(parts, start=1):
                if len(text) > MAX_LINE:
                    raise InputError(
                        f"{path} line {number}",
                        f"more than {MAX_LINE} characters",
                        "a prompt",
                        "shorten it",
                    )
                text = text.strip().lstrip("\ufeff")
                if text and not text.startswith("#"):
                    where = f"{path} line {number}"
                    is_json = path.suffix.lower() in (".jsonl", ".json", ".ndjson")
                    lines.append(
                        _of_json(where, text, stages, chosen)
                        if is_json
                        else _of_prompt(where, text)
                    )
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}", f"{error}"[:200], "a readable text file in UTF-8", "check the path"
        ) from error
    if not lines:
        raise InputError(f"{path}", "no prompt", "one a line", "write some")
    return lines


def _of_prompt(where: str, text: str) -> Line:
    return Line(where=where, prompt=_prompt(where, text))


def _of_json(where: str, text: str, stages: Sequence[str], chosen: Sequence[StageSpec]) -> Line:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            where, f"{error}"[:200], 'a JSON object, such as {"prompt": "a cat"}', "correct it"
        ) from error
    if not isinstance(data, dict):
        raise InputError(
            where, f"{text[:60]!r}", 'a JSON object, such as {"prompt": "a cat"}', "correct it"
        )
    unknown = sorted(data.keys() - _FIELDS.keys())
    if unknown:
        raise InputError(
            f"{where}, {unknown[0]}", "an unknown key", f"one of {', '.join(_FIELDS)}", "correct it"
        )
    if not {"prompt", "class_id", "vector"} & data.keys():
        raise InputError(where, "none of them", "a prompt, class_id or vector", "add one")
    values = {
        name: _FIELDS[name](f"{where}, {name}", value)
        for name, value in data.items()
        if value is not None and name != "steps"
    }
    if data.get("steps") is not None:
        values["steps"] = _steps(f"{where}, steps", data["steps"], stages, chosen)
    return Line(where=where, **values)


def _prompt(where: str, value: Any) -> str:
    try:
        return checked_prompts([value])[0]
    except InputError as error:
        raise InputError(where, error.got, error.expected, error.fix) from error


def _id(where: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_ID or not _ID.fullmatch(value):
        raise InputError(
            where,
            f"{value!r}"[:80],
            f"up to {MAX_ID} letters, digits, dots, hyphens or underscores, no dot in front",
            "it becomes the name of a file: correct it",
        )
    return value


def _seed(where: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise InputError(where, f"{value!r}"[:80], "a whole number, 0 to 2^63 - 1", "correct it")
    return value


def _class_id(where: str, value: Any) -> int:
    if type(value) is not int or not -1 <= value < 2**63:
        raise InputError(where, f"{value!r}"[:80], "a whole number from 0 on", "correct it")
    return value


def _number(where: str, value: Any) -> float:
    number = _as_float(value)
    if number is None or not math.isfinite(number):
        raise InputError(where, f"{value!r}"[:80], "a finite number", "correct it")
    return number


def _vector(where: str, value: Any) -> list[float]:
    numbers = [_as_float(number) for number in (value if isinstance(value, list) else [value])]
    # NaN stands for a number that is not known, as in `generate --vector`.
    known = [number for number in numbers if number is not None and not math.isinf(number)]
    if not known or len(known) < len(numbers):
        raise InputError(where, f"{value!r}"[:80], "a list of finite numbers", "correct it")
    return known


def _as_float(value: Any) -> float | None:
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:  # an integer with hundreds of digits
        return None


def _steps(
    where: str, value: Any, stages: Sequence[str], chosen: Sequence[StageSpec]
) -> dict[str, int]:
    """Read steps as a number, by stage, or as on the command line."""
    if isinstance(value, dict):
        value = ",".join(f"{name}={number}" for name, number in value.items())
    if type(value) not in (int, str):
        raise InputError(where, f"{value!r}"[:80], "a number, or numbers by stage", "correct it")
    return parse_steps(str(value), stages, where, chosen)


_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "prompt": _prompt,
    "id": _id,
    "seed": _seed,
    "negative_prompt": _prompt,
    "steps": lambda where, value: value,
    "guidance_weight": _number,
    "class_id": _class_id,
    "vector": _vector,
}
"""Keys of a line, and what reads them."""
