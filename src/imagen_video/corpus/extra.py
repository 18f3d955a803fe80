"""The libraries that only the corpus needs, imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from imagen_video.errors import MissingExtraError


def load(module: str) -> Any:
    """Import a module of the `corpus` extra.

    Args:
        module: its import name: `cv2` or `resvg_py`.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            "demo corpus",
            f"no module {module}",
            "the corpus extra",
            "run: pip install 'imagen-video[corpus]'",
        ) from error
