"""The code blocks of the documentation: found, told apart, and read as the shell would read them.

A fence is `python`, shell commands (`bash`, or no language at all), or another language that is
only shown. An HTML comment on the line before it says more:

    <!-- shows: output -->       what a command prints; not looked at
    <!-- needs: gpu -->          or cluster, download, training, time: read but not run
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

from house.source_tree import ROOT

NEEDS = {"gpu", "cluster", "download", "training", "time"}
SHELL = {"", "bash", "sh", "console"}
# Programs of others: that they are named is all that is checked.
KNOWN = {"cd", "cp", "curl", "docker", "export", "git", "jupyter", "ls", "mkdir", "pipx", "ray"}
KNOWN |= {"sbatch", "serve", "source", "srun", "tensorboard", "uv", "uvx", "wandb"}

_FENCE = re.compile(
    r"(?:^<!-- (?P<marker>[a-z]+: [a-z]+) -->\n)?"
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.DOTALL | re.MULTILINE,
)
_INLINE = re.compile(r"(?<!`)`(imagen-video [^`]+)`(?!`)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Where its text begins, from 1."""
    language: str
    marker: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def need(self) -> str | None:
        kind, _, what = self.marker.partition(": ")
        return what if kind == "needs" else None

    @property
    def is_shell(self) -> bool:
        return self.language in SHELL and self.marker != "shows: output"


def pages() -> list[Path]:
    """Return the pages whose code is checked."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    content = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=content.count("\n", 0, match.start("text")) + 1,
            language=match["language"].strip(),
            marker=match["marker"] or "",
            text=match["text"],
        )
        for match in _FENCE.finditer(content)
    ]


def inline_commands(page: Path) -> list[str]:
    """Return the command lines inside sentences and tables."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in _INLINE.findall(prose)]


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of every command; comments, prompts and variables before it are left out."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                words = _without_variables(words)
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def _without_variables(words: list[str]) -> list[str]:
    if ">" in words:
        words = words[: words.index(">")]
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def own_words(words: list[str]) -> list[str] | None:
    """Return the words after `imagen-video`, however it is started; None for another program."""
    if Path(words[0]).name == "imagen-video":
        return words[1:]
    if "imagen_video" in words and words[words.index("imagen_video") - 1] == "-m":
        return words[words.index("imagen_video") + 1 :]
    return None


def complaint(words: list[str]) -> str | None:
    """Say what is wrong with a command of another program; None if nothing is."""
    name = Path(words[0]).name
    if name in ("python", "python3"):
        return _script_complaint(words[1:])
    if name == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        wrong = [word for word in words[1:] if "=" not in word and word not in targets]
        return f"make has no target {wrong[0]}" if wrong else None
    if name == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        named = re.findall(r"(?:imagen-video|\.)\[([a-z,]+)\]", " ".join(words))
        extras = [extra for group in named for extra in group.split(",")]
        wrong = [extra for extra in extras if extra not in project["optional-dependencies"]]
        return f"there is no extra {wrong[0]}" if wrong else None
    if name in KNOWN or name in ("pytest", "pre-commit"):
        return None
    return f"{words[0]!r} is no known command; if this is output, say <!-- shows: output -->"


def _script_complaint(words: list[str]) -> str | None:
    if not words or words[0] in ("-c", "-m"):
        return None
    script = ROOT / words[0]
    if not script.is_file():
        return f"there is no {words[0]}"
    # Scripts of a folder may share the module that reads their options, or hand them on.
    sources = "".join(path.read_text("utf-8") for path in script.parent.glob("*.py"))
    known = set(re.findall(r"--[a-z][a-z-]*[a-z]", sources))
    wrong = [word for word in words[1:] if word.startswith("--") and word not in known]
    return f"{words[0]} has no option {wrong[0]}" if wrong else None
