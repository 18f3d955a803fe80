"""What the documentation says to type works: its Python runs, its commands are understood.

The built-in bundle is a tiny one here, so that the pages are run in seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tyro

from house.source_tree import ROOT, place
from imagen_video.cascade import resolve_bundle
from imagen_video.cli.main import load_verb, main
from integration.docs_code import (
    NEEDS,
    Block,
    blocks,
    command_lines,
    complaint,
    inline_commands,
    own_words,
    pages,
)

PAGES = [pytest.param(page, id=place(page)) for page in pages()]
WITH_PYTHON = [
    pytest.param(page, id=place(page))
    for page in pages()
    if any(block.language == "python" for block in blocks(page))
]
RUN = [ROOT / "docs" / "index.md"]
"""Pages whose `generate` commands are run and not only read."""


class Understood(BaseException):
    """The words of a command line were taken by the real parser; nothing was done yet."""


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop every verb once its words are parsed."""
    parse = tyro.cli

    def understand(*args: Any, **options: Any) -> None:
        parse(*args, **options)
        raise Understood

    monkeypatch.setattr(tyro, "cli", understand)


@pytest.fixture
def tiny_built_in(bundle: Path, one_encoder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name of the shipped bundle mean the tiny one."""
    root = bundle.parent / "package"
    (root / "weights").mkdir(parents=True, exist_ok=True)
    if not (root / "weights" / "emoji").exists():
        (root / "weights" / "emoji").symlink_to(bundle)
    monkeypatch.setattr(resolve_bundle, "resources", SimpleNamespace(files=lambda name: root))


def fault(words: list[str]) -> str | None:
    """Say why a command line of ours is not understood; None if it is."""
    with (
        contextlib.redirect_stderr(io.StringIO()) as said,
        contextlib.redirect_stdout(io.StringIO()) as shown,
    ):
        try:
            if words[0].startswith("-"):
                code: object = main(words)
            else:
                code = load_verb(words[0])(words[1:])
        except Understood:
            return None
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            return str(error)
    return (said.getvalue() or shown.getvalue()) if code else None


def unknown_option(words: list[str]) -> str | None:
    """Say which option of a command that leaves words out does not exist."""
    if words[0].startswith("-"):
        return None
    shown = io.StringIO()
    for head in (words[1:2], []):  # `data check --help`, `train --help`
        with (
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(SystemExit),
        ):
            load_verb(words[0])([*head, "--help"])
    wrong = [word for word in words if word.startswith("--") and word not in shown.getvalue()]
    return f"no option {wrong[0]}" if wrong else None


def faults(block: Block) -> Iterator[str]:
    try:
        commands = list(command_lines(block.text))
    except ValueError as error:  # a quotation that does not end
        commands = []
        yield f"{block.place}: {error}; if this is output, say <!-- shows: output -->"
    for words in commands:
        ours = own_words(words)
        if ours is None:
            wrong = complaint(words)
        else:
            wrong = unknown_option(ours) if "..." in ours else fault(ours)
        if wrong:
            yield f"{block.place}: {' '.join(words)}\n{wrong}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_understood(page: Path, parser: None) -> None:
    found = [text for block in blocks(page) if block.is_shell for text in faults(block)]
    for line in inline_commands(page):  # often without what it needs
        wrong = unknown_option(next(command_lines(line))[1:])
        found += [f"{place(page)}: {line}\n{wrong}"] if wrong else []
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_marker_of_a_page_is_a_known_one(page: Path) -> None:
    unknown = [
        f"{block.place}: {block.marker}"
        for block in blocks(page)
        if block.marker not in ("", "shows: output") and block.need not in NEEDS
    ]
    assert not unknown


@pytest.mark.parametrize("page", PAGES)
def test_json_of_a_page_is_json(page: Path) -> None:
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs_in_order(
    page: Path, tiny_built_in: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language != "python":
            continue
        # The line numbers of a traceback are those of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        if block.need is None:
            exec(code, names)


@pytest.mark.parametrize("page", [pytest.param(p, id=place(p)) for p in RUN if p.exists()])
def test_the_commands_of_a_page_run_in_order(
    page: Path, tiny_built_in: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for block in blocks(page):
        if not block.is_shell or block.need is not None:
            continue
        for words in command_lines(block.text):
            ours = own_words(words)
            if ours and ours[0] in ("generate", "inspect", "--help", "--version"):
                with contextlib.redirect_stdout(io.StringIO()):
                    assert main(ours) == 0, f"{block.place}: {' '.join(words)}"
                ran += 1
    assert ran


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imagen-video generate 'a cat' --out x --number-of-steps 3", "number-of-steps"),
        ("imagen-video genrate 'a cat'", "genrate"),
        ("torchrun -m imagen_video train ... --paralel fsdp", "--paralel"),
        ("python benchmarks/nothing.py", "nothing.py"),
        ("python benchmarks/quality.py --promts 3", "--promts"),
        ("make everything", "everything"),
        ("pip install 'imagen-video[trainer]'", "trainer"),
        ("wrote demo/video.mp4", "shows: output"),
    ],
)
def test_a_wrong_command_is_noticed(text: str, said: str, parser: None) -> None:
    block = Block(page=ROOT / "README.md", line=1, language="", marker="", text=text)
    assert [said in line for line in faults(block)] == [True]


def test_commands_are_read_as_the_shell_reads_them() -> None:
    text = "A=1 python x.py \\\n  --seed 1  # note\n$ make demo && ls | cat > file\n"
    assert list(command_lines(text)) == [
        ["python", "x.py", "--seed", "1"],
        ["make", "demo"],
        ["ls"],
        ["cat"],
    ]


def test_fences_are_found_with_their_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- needs: gpu -->\n```bash\nmake x\n```\n\n```python\nx = 1\n```\n", encoding="utf-8"
    )
    found = blocks(page)
    assert [(block.language, block.need, block.line) for block in found] == [
        ("bash", "gpu", 4),
        ("python", None, 8),
    ]
    assert sys.version_info >= (3, 11)
