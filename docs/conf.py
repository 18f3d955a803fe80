"""How Sphinx builds the site: `make docs` writes it into build/docs, and needs no network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import docstrings
from pygments.lexers.data import JsonLexer

import imagen_video

project = "imagen-video"
author = "The imagen-video contributors"
copyright = "the imagen-video contributors, Apache-2.0"
version = release = imagen_video.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]

# --- Markdown ---

myst_heading_anchors = 3

# --- API reference from docstrings ---

suppress_warnings = ["ref.python"]  # of two classes with one name, either may be linked
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": False}
add_module_names = False
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False

# --- Pages ---

html_theme = "furo"
html_title = f"imagen-video {release}"
html_show_sourcelink = False
html_copy_source = False
templates_path: list[str] = []


def setup(app: Any) -> dict[str, bool]:
    """Read docstrings as this project writes them, and colour JSON lines."""
    docstrings.setup(app)
    app.add_lexer("jsonl", JsonLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
