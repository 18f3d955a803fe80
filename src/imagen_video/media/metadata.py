"""The JSON that travels inside a picture or video file: prompt, seed, bundle, versions.

It is one JSON object in the field that every format has for free text (MP4: comment, PNG and GIF:
comment). What is not ours reads as empty, so that foreign files are never an error here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from imagen_video.errors import InputError

MAX_CHARACTERS = 1 << 20
"""Longer comments are not parsed: nobody's provenance is a megabyte."""

TRUE_SIZE = "imagen_video_frame_size"
"""Our own key: [width, height] of a video before it was padded to even sides. Not for callers."""


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """Write metadata as one line of ASCII JSON.

    Raises:
        InputError: if a value is not JSON (NaN included) or the whole is over a megabyte.
    """
    try:
        text = json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            "metadata", str(error), "JSON values", "use text, numbers, lists and dictionaries"
        ) from error
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            "metadata", f"{len(text)} characters", f"at most {MAX_CHARACTERS}", "leave some out"
        )
    return text


def decode_metadata(text: object) -> dict[str, Any]:
    """Read metadata back; anything that is not our JSON object gives an empty dictionary."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
