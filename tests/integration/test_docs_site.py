"""The documentation builds without a warning: every page is reachable, every reference leads on."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import imagen_video
from house.source_tree import ROOT

sys.path.insert(0, str(ROOT / "docs"))
converted = import_module("docstrings").converted


@pytest.mark.timeout(600)  # fifteen seconds of computing, minutes on a machine that is shared
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = ["-b", "html", "-W", "--keep-going", "-q", "-d", tmp_path / "trees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, ROOT / "docs", tmp_path / "site"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pipeline = (tmp_path / "site" / "api" / "pipeline.html").read_text(encoding="utf-8")
    assert 'id="imagen_video.cascade.pipeline.ImagenVideoPipeline.from_pretrained"' in pipeline


def test_every_public_name_has_its_module_in_the_reference() -> None:
    reference = "".join(path.read_text("utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    shown = set(re.findall(r"automodule:: (\S+)", reference))
    assert set(imagen_video._HOME.values()) <= shown


def test_pictures_of_the_concepts_are_small() -> None:
    pictures = sorted((ROOT / "docs" / "images").glob("concept-*"))
    assert pictures
    assert not [path.name for path in pictures if path.stat().st_size > 150_000]


def test_an_equation_of_a_docstring_is_shown_as_it_stands() -> None:
    lines = [
        "Scale |x| by alpha_.",
        "",
        "    z = a * x",
        "",
        "Args:",
        "    x: a `video`",
        "    f_c",
    ]
    assert converted(lines) == [
        r"Scale \|x\| by alpha\_.",
        "",
        "::",
        "",
        "        z = a * x",
        "",
        "Args:",
        "    x: a ``video``",
        "    f_c",
        "",
    ]


def test_a_list_of_a_docstring_stays_a_list() -> None:
    lines = ["Rules:", "", "* one *star*;", "  more of it", "* two."]
    assert converted(lines)[2:5] == [r"* one \*star\*;", "  more of it", "* two."]
