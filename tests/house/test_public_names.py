"""The lazy front door: every promised name is where the table says, and nothing else pretends."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

import imagen_video
from house.source_tree import PACKAGE, syntax_tree


def test_the_three_lists_of_public_names_agree() -> None:
    tree = syntax_tree(PACKAGE / "__init__.py")
    for_checkers = {
        (alias.name, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("imagen_video.")
        for alias in node.names
    }
    assert for_checkers == set(imagen_video._HOME.items())
    assert set(imagen_video.__all__) == {*imagen_video._HOME, "__version__"}


@pytest.mark.parametrize("name", sorted(imagen_video._HOME))
def test_a_public_name_is_defined_in_its_module(name: str) -> None:
    spec = find_spec(imagen_video._HOME[name])
    assert spec is not None
    assert spec.origin is not None
    body = syntax_tree(Path(spec.origin)).body
    assert name in {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = imagen_video.Nonsense


def test_dir_lists_the_public_names() -> None:
    assert set(imagen_video.__all__) <= set(dir(imagen_video))
