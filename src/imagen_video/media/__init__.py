"""Pictures and video files: uint8 RGB outside, floats in [-1, 1] inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagen_video.media.export import export_to_video

__all__ = ["export_to_video"]


def __getattr__(name: str) -> object:
    """Import what people import from here when it is first asked for (PEP 562): it loads torch."""
    if name != "export_to_video":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from imagen_video.media.export import export_to_video

    return export_to_video
