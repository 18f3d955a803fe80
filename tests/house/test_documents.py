"""Links lead somewhere, and nothing in the repository points into one particular machine."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from house.source_tree import PACKAGE, ROOT, place, project_files, text_files

DOCUMENTS = [path for path in project_files() if path.suffix == ".md"]

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)
_ELSEWHERE = ("http://", "https://", "mailto:")
# Absolute paths of a developer's or a build machine. Put together here so that this file passes.
_MACHINE = re.compile(r"(?<![\w./~<-])/(?:" + "|".join(["work", "root", "tmp", "home"]) + r")\b")


def prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def links(path: Path) -> list[str]:
    found = [first or second for first, second in _LINK.findall(prose(path))]
    return [link for link in found if not link.startswith(_ELSEWHERE)]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    names = (
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in _HEADING.findall(prose(path))
    )
    return set(names)


def broken(path: Path) -> list[str]:
    found = []
    for link in links(path):
        file_name, _, anchor = link.partition("#")
        target = (path.parent / file_name).resolve() if file_name else path
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            found.append(link)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=[place(p) for p in DOCUMENTS])
def test_every_link_of_a_page_resolves(path: Path) -> None:
    assert not broken(path)


def test_a_broken_link_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One two\n[a](page.md#one-two) [b](missing.md) [c](#three)\n", encoding="utf-8"
    )
    assert broken(page) == ["missing.md", "#three"]


def test_the_files_that_a_visitor_looks_for_are_there() -> None:
    names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
    names += ["LICENSE", "NOTICE", "CITATION.cff", "constraints.txt"]
    missing = [name for name in names if not (ROOT / name).is_file()]
    assert not missing


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        place(path, number)
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if _MACHINE.search(line)
    ]
    assert not found


def test_constraints_leave_the_build_of_torch_to_the_user() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert any(pin.startswith("torch==") for pin in pins)
    assert all(re.fullmatch(r"[a-z0-9._-]+==[a-z0-9.]+", pin) for pin in pins)
    assert not [pin for pin in pins if pin.startswith(("nvidia", "cuda", "triton", "torchvision"))]


def test_every_requirement_is_pinned_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().splitlines()
    pinned = {line.partition("==")[0].replace("_", "-") for line in lines}
    names = {re.split(r"[\[<>=! ]", need)[0].lower().replace("_", "-") for need in wanted}
    assert names - {"imagen-video"} <= pinned


def test_the_changelog_has_the_version_of_the_package() -> None:
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    assert version
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_notice_names_every_source_of_the_corpus_with_its_version() -> None:
    from imagen_video.corpus.packages import PACKAGES

    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())
    missing = [
        package.name
        for package in PACKAGES
        if package.name not in notice or f"version {package.version}" not in notice
    ]
    assert not missing


def test_every_trap_is_guarded_by_tests_that_exist() -> None:
    rows = (ROOT / "docs" / "traps.md").read_text(encoding="utf-8").splitlines()
    named = [re.findall(r"`([\w/]+\.py)::(\w+)`", row) for row in rows if row.count("|") == 3]
    traps = named[2:]  # after the head of the table
    assert len(traps) > 20
    assert all(traps)
    missing = [
        f"{path}::{name}"
        for path, name in chain.from_iterable(traps)
        if not (ROOT / "tests" / path).is_file()
        or f"def {name}(" not in (ROOT / "tests" / path).read_text(encoding="utf-8")
    ]
    assert not missing
