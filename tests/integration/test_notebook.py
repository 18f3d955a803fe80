"""The notebook of the documentation runs from top to bottom, with the tiny bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from house.source_tree import ROOT
from imagen_video.media.video_io import probe_video

NOTEBOOK = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def is_parameters(cell: dict[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def test_the_notebook_is_a_notebook_without_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for the notebook's display, which needs no Jupyter then."""
    shown: list[Any] = []
    display = ModuleType("IPython.display")
    vars(display).update(Video=lambda path, **options: Path(path), display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_every_cell_of_the_notebook_runs(
    bundle: Path, one_encoder: None, shown: list[Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in CODE:
        exec(compile(source(cell), cell["id"], "exec"), names)
        if is_parameters(cell):
            assert names["BUNDLE"] == "emoji"
            names["BUNDLE"] = str(bundle)
    videos = {path.stem: probe_video(path) for path in shown if isinstance(path, Path)}
    assert set(videos) == {"panda", "large", "smooth", "longer", "launch"}
    assert videos["large"].width == 4 * videos["panda"].width
    assert videos["smooth"].fps == 24
    assert [picture.size for picture in shown if not isinstance(picture, Path)] == [(80, 48)]
    assert [len(frames) for frames in names["two"].frames] == [8, 8]
