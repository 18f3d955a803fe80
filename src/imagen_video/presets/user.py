"""A cascade of one's own: a function in a Python file, named as `path/to/my_cascade.py:cascade`.

The file is executed. That is the point - a cascade is written in Python, as ours are - and it is
done only to the file that the user names on the command line, never to one that came with data or
weights: bundles hold their spec as JSON.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import InputError
from imagen_video.presets import preset

SUFFIX = ".py"


def load_preset(text: str) -> CascadeSpec:
    """Return a named preset, or what a function in a user's own Python file returns.

    Args:
        text: `emoji`, or `FILE.py:FUNCTION`. The function is called without arguments. The file
            stands alone: it may import installed packages, not files beside it.

    Raises:
        InputError: if there is no such preset, file or function, if something goes wrong in the
            file (with its line), or if the function returns no `CascadeSpec`.
    """
    path, _, function = text.rpartition(":")
    if not path or not path.endswith(SUFFIX):
        if not text.endswith(SUFFIX):
            return preset(text)
        path, function = text, ""
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"preset {text!r}", f"no file {path}", "a Python file", "check the path before the ':'"
        )
    module = _execute(file)
    return _call(_function(module, file, function), file, function)


def _execute(file: Path) -> ModuleType:
    """Import a file under a name of its own; a second import executes it anew."""
    mark = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]
    name = f"imagen_video_preset_{file.stem}_{mark}"
    spec = spec_from_file_location(name, file, loader=_UncachedLoader(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _explained(error, file, "a file that can be imported") from error
    return module


class _UncachedLoader(SourceFileLoader):
    """Compiles the file every time: no `__pycache__` beside it, nothing stale."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _function(module: ModuleType, file: Path, name: str) -> Callable[[], object]:
    """Find the function that was named.

    Raises:
        InputError: if it is not there or takes arguments.
    """
    found = getattr(module, name, None) if name else None
    if not callable(found):
        got = f"no function {name!r}" if name else "no function after the file"
        if found is not None:
            got = f"{name!r} is {type(found).__name__}, not a function"
        own = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value)
            and value.__module__ == module.__name__
            and not key.startswith("_")
        ]
        raise InputError(
            str(file),
            got,
            f"one of its functions: {', '.join(own)}" if own else "a function",
            f"write {file}:FUNCTION",
        )
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise InputError(
            f"{file}:{name}",
            f"a function that cannot be called without arguments ({error})",
            "one without, or with defaults",
            "give its arguments defaults",
        ) from error
    except ValueError:  # something without a signature: calling it will tell
        pass
    return found


def _call(function: Callable[[], object], file: Path, name: str) -> CascadeSpec:
    """Call it and check what it returns."""
    try:
        made = function()
    except (Exception, SystemExit) as error:
        raise _explained(error, file, "a CascadeSpec") from error
    if not isinstance(made, CascadeSpec):
        raise InputError(
            f"{file}:{name}",
            f"a function that returns {type(made).__name__}",
            "a CascadeSpec",
            "return CascadeSpec(...); see docs/own_cascade.md",
        )
    return made


def _explained(error: BaseException, file: Path, expected: str) -> InputError:
    """Say what went wrong in a file, and in which of its lines."""
    resolved = str(file)
    if isinstance(error, SyntaxError) and error.filename == resolved:
        line, said = error.lineno, f"SyntaxError: {error.msg}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == resolved), None)
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    where = str(file) if line is None else f"{file} line {line}"
    return InputError(where, said, expected, "correct the file")
