"""Files and functions stay short, modules are named for what they hold, source is ASCII."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from house.source_tree import PACKAGE, ROOT, place, python_files, syntax_tree

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
# The one function that may be long: a newcomer reads the whole training step in one place.
LONG_FUNCTIONS = {("src/imagen_video/training/loop.py", "train"): 120}

BANNED_STEMS = {"utils", "util", "helpers", "helper", "common", "misc"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_the_rules_see_the_package() -> None:
    seen = python_files("src")
    assert PACKAGE / "errors.py" in seen
    assert PACKAGE / "cli" / "main.py" in seen


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    long = [f"{place(p)}: {n} lines" for p, n in lines.items() if n > MAX_FILE_LINES]
    assert not long, "split by noun: " + ", ".join(long)


def test_no_function_is_longer_than_eighty_lines() -> None:
    long = [
        f"{place(path, node.lineno)} {node.name}: {length(node)} lines"
        for path in python_files()
        for node in functions(path)
        if length(node) > LONG_FUNCTIONS.get((place(path), node.name), MAX_FUNCTION_LINES)
    ]
    assert not long, "split into steps with names: " + ", ".join(long)


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        place(path)
        for path in python_files()
        if BANNED_STEMS & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    ]
    assert not vague, "name it for what it holds: " + ", ".join(vague)


def test_python_source_is_ascii() -> None:
    foreign = [
        place(path, number)
        for path in python_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if not line.isascii()
    ]
    assert not foreign, "write it as an escape: " + ", ".join(foreign)


def test_every_module_of_the_package_says_what_it_answers() -> None:
    silent = [
        place(path) for path in python_files("src") if not ast.get_docstring(syntax_tree(path))
    ]
    assert not silent, "add a module docstring: " + ", ".join(silent)
