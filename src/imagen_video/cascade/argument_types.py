"""Arguments of a wrong type are refused with a message, before any arithmetic trips over them.

Only the type is looked at here. Ranges, and what fits a cascade, are checked where they are known.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import torch

from imagen_video.cascade.options import StageOptions
from imagen_video.errors import InputError


def _is_whole(value: Any) -> bool:
    """NumPy's integers are as good as Python's; True is no number of anything."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


_WHOLE = (_is_whole, "a whole number, such as 8")
_NUMBER = (_is_number, "a number, such as 4.0")

_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_frames": _WHOLE,
    "height": _WHOLE,
    "width": _WHOLE,
    "num_inference_steps": _WHOLE,
    "overlap": _WHOLE,
    "guidance_weight": _NUMBER,
    "guidance_scale": _NUMBER,
    "memory": (_is_number, "a number of bytes, such as 4_000_000_000"),
    "generator": (lambda value: isinstance(value, torch.Generator), "a torch.Generator"),
    "stages": (
        lambda value: isinstance(value, Mapping),
        'settings by stage name, such as {"base": StageOptions(steps=8)}',
    ),
}
"""What an argument of that name must be, where it is not None."""

_CHOICES = ("sampler", "guidance", "threshold")
"""Fields of `StageOptions` that are names: `SamplingSpec` refuses all but its own."""


def check_types(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a wrong type; None, and names that are not known here, pass.

    Args:
        arguments: by name, as a caller gave them.

    Raises:
        InputError: naming the argument.
    """
    for name, value in arguments.items():
        if value is not None and name in _TYPES:
            _check(name, value, *_TYPES[name])
    for name, options in (arguments.get("stages") or {}).items():
        _check_options(f"stages[{name!r}]", options)


def _check_options(where: str, options: Any) -> None:
    """Check what a caller gave for one stage."""
    if not isinstance(options, StageOptions):
        raise _wrong(where, options, "StageOptions, such as StageOptions(steps=8)")
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value is not None and field.name not in _CHOICES:
            _check(f"{where}.{field.name}", value, *(_WHOLE if field.name == "steps" else _NUMBER))


def _check(where: str, value: Any, is_right: Callable[[Any], bool], expected: str) -> None:
    if not is_right(value):
        raise _wrong(where, value, expected)


def _wrong(where: str, value: Any, expected: str) -> InputError:
    got = f"{value!r}"[:80]
    return InputError(where, f"{got}, of type {type(value).__name__}", expected, "correct it")
