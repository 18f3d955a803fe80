"""The form in which a call returns its videos: `output_type`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from imagen_video.errors import InputError
from imagen_video.media.frames import to_images, to_uint8

OUTPUT_TYPES = ("np", "pil", "pt", "none")


def check_output_type(name: str) -> None:
    """Refuse an unknown name before anything is computed.

    Raises:
        InputError: if it is none of `OUTPUT_TYPES`.
    """
    if name not in OUTPUT_TYPES:
        raise InputError(
            "output_type", repr(name), f"one of {', '.join(OUTPUT_TYPES)}", "choose one of them"
        )


def as_output_type(video: Tensor, name: str) -> Any:
    """Return a batch of videos `(b, f, c, h, w)` in [-1, 1] in the form that was asked for.

    Args:
        video: the last stage's output.
        name: `np`: uint8 arrays `(f, h, w, 3)`; `pil`: lists of images; `pt`: the tensor on the
            CPU; `none`: None.
    """
    if name == "none":
        return None
    if name == "pt":
        return video.cpu()
    clips = list(to_uint8(video.cpu()))
    return clips if name == "np" else [to_images(clip) for clip in clips]
