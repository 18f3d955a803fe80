"""The files that the house rules look at."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "imagen_video"

_BINARY = {".safetensors", ".png", ".webp", ".gif", ".mp4", ".ttf", ".npz", ".jpg", ".pdf"}


@cache
def project_files() -> tuple[Path, ...]:
    """Return every file that git tracks or would track; never what is ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    paths = {ROOT / name for name in listing.split("\0") if name}
    return tuple(sorted(path for path in paths if path.is_file()))


def text_files() -> list[Path]:
    """Return the files that people read."""
    return [path for path in project_files() if path.suffix not in _BINARY]


def python_files(*folders: str) -> list[Path]:
    """Return the Python files under some folders of the repository, all of them by default."""
    roots = [ROOT / folder for folder in folders] or [ROOT]
    return [
        path
        for path in project_files()
        if path.suffix == ".py" and any(path.is_relative_to(root) for root in roots)
    ]


@cache
def syntax_tree(path: Path) -> ast.Module:
    """Parse one Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, line: int | None = None) -> str:
    """Return `path:line` relative to the repository, for messages."""
    name = path.relative_to(ROOT).as_posix()
    return name if line is None else f"{name}:{line}"
