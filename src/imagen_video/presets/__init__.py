"""Named cascades. A preset is a function that returns a `CascadeSpec`; a new one is a row here."""

from __future__ import annotations

from collections.abc import Callable

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import InputError
from imagen_video.presets.emoji import emoji
from imagen_video.presets.images import imagenet, text_to_image
from imagen_video.presets.paper import paper
from imagen_video.presets.tiny import tiny

PRESETS: dict[str, Callable[[], CascadeSpec]] = {
    "emoji": emoji,
    "imagenet": imagenet,
    "paper": paper,
    "text_to_image": text_to_image,
    "tiny": tiny,
}


def preset(name: str) -> CascadeSpec:
    """Build a named cascade.

    Raises:
        InputError: for an unknown name.
    """
    if name not in PRESETS:
        raise InputError("preset", repr(name), f"one of {sorted(PRESETS)}", "choose one of them")
    return PRESETS[name]()
