"""Docstrings of this project in the words of Sphinx.

They are plain text for readers of the source: equations are indented, |x| is a magnitude, `name` is
code. To reStructuredText these are quotations, substitutions and titles of books. So, before
napoleon reads the sections: a paragraph with indented lines is shown as it stands, `code` gets its
second pair of marks, and what else would be read as markup is escaped.
"""

from __future__ import annotations

import re
from typing import Any

_SECTION = re.compile(r"(Args|Returns|Raises|Yields):\s*$")
_CODE = re.compile(r"(?<!`)(`[^`]+`)(?!`)")
_MARKS = re.compile(r"([|*`]|(?<=\w)_(?!\w))")
_BULLET = re.compile(r"\s*[*-] ")


def setup(app: Any) -> None:
    """Convert every docstring, before napoleon does (whose priority is 500)."""
    app.connect("autodoc-process-docstring", process, priority=400)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place."""
    lines[:] = converted(lines)


def converted(lines: list[str]) -> list[str]:
    """Return a docstring's lines as reStructuredText."""
    out: list[str] = []
    in_section = False
    for paragraph in _paragraphs(lines):
        if not paragraph[0].startswith(" "):
            in_section = bool(_SECTION.match(paragraph[0]))
        indented = any(line.startswith("    ") for line in paragraph)
        if indented and not in_section and not _BULLET.match(paragraph[0]):
            out += ["::", "", *(f"    {line}" for line in paragraph), ""]
        else:
            out += [*map(escaped, paragraph), ""]
    return out


def escaped(line: str) -> str:
    """Mark `code` as reStructuredText does, and escape the rest."""
    bullet = _BULLET.match(line)
    start = bullet.end() if bullet else 0
    parts = _CODE.split(line[start:])
    return line[:start] + "".join(
        f"`{part}`" if index % 2 else _MARKS.sub(r"\\\1", part) for index, part in enumerate(parts)
    )


def _paragraphs(lines: list[str]) -> list[list[str]]:
    """Split at blank lines."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]
