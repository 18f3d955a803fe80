"""Checks the shapes in annotations while the tests run (pytest's --jaxtyping-packages names this).

Only annotations that mention an array are checked. Ordinary types are the type checker's business,
and a wrong one that a user passes must reach our own message in the tests as it does in production,
not be stopped on the way by a check that production does not have.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def mentions_array(hint: object) -> bool:
    """Return whether an annotation, or a part of it, states a shape."""
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return True
    return any(mentions_array(part) for part in get_args(hint))


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments and result of a function that carry shapes; leave the others alone."""
    hints = function.__annotations__
    if not any(map(mentions_array, hints.values())):
        return function
    function.__annotations__ = {
        name: hint if mentions_array(hint) else Any for name, hint in hints.items()
    }
    return beartype(function)
