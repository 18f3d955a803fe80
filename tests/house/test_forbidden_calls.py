"""Nothing is unpickled, evaluated or handed to a shell; sharding stays in training.

Layers between our own packages are import-linter's business (`make layers`); these rules are about
calls, and about submodules that import-linter does not tell apart (torch.distributed).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from house.source_tree import place, python_files, syntax_tree

SHIPPED = ("src", "recipes", "benchmarks")

PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
CALLS = {
    "eval": "parse what you expect",
    "exec": "parse what you expect",
    "__import__": "use importlib with a name from a table",
    "os.system": "use subprocess with a list of words",
    "os.popen": "use subprocess with a list of words",
    "torch.load": "use safetensors",
    "torch.save": "use safetensors",
    "torch.hub.load": "nothing is downloaded behind the user's back",
    "yaml.load": "use JSON",
}
# Switches that turn a harmless call into one of the above.
SWITCHES = {"shell", "allow_pickle", "trust_remote_code"}


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything a file imports, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def unpickles_third_party_features(path: Path, call: ast.Call) -> bool:
    """Return whether this is the one permitted torch.load.

    The package of EfficientNet-Lite0 holds its weights as a .pth file and nothing else; evaluation
    may read it with the restricted unpickler, written out.
    """
    keywords = {k.arg: k.value for k in call.keywords}
    only = keywords.get("weights_only")
    return (
        place(path).startswith("src/imagen_video/evaluation/")
        and isinstance(only, ast.Constant)
        and only.value is True
    )


def forbidden(path: Path, tree: ast.Module) -> Iterator[str]:
    for line, name in imported(tree):
        if name.split(".")[0] in PICKLERS:
            yield f"{place(path, line)} imports {name}: nothing is pickled"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = dotted(call.func)
        if name in CALLS and not (
            name == "torch.load" and unpickles_third_party_features(path, call)
        ):
            yield f"{place(path, call.lineno)} calls {name}: {CALLS[name]}"
        for keyword in call.keywords:
            harmless = isinstance(keyword.value, ast.Constant) and not keyword.value.value
            if keyword.arg in SWITCHES and not harmless:
                yield f"{place(path, call.lineno)} sets {keyword.arg}"


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    found = [line for path in python_files(*SHIPPED) for line in forbidden(path, syntax_tree(path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x.pt', weights_only=False)",
        "eval('1')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import numpy\nnumpy.load('x.npy', allow_pickle=flag)",
    ],
)
def test_the_rule_recognises(source: str) -> None:
    assert list(forbidden(Path(__file__), ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    ["network.eval()", "run(['ls'], shell=False)", "from safetensors.torch import load_file"],
)
def test_the_rule_leaves_alone(source: str) -> None:
    assert not list(forbidden(Path(__file__), ast.parse(source)))


def test_sharding_is_known_to_training_only() -> None:
    found = [
        place(path, line)
        for path in python_files("src")
        if not place(path).startswith("src/imagen_video/training/")
        for line, name in imported(syntax_tree(path))
        if name.startswith("torch.distributed")
    ]
    assert not found, "networks and pipelines know no sharding: " + ", ".join(found)
