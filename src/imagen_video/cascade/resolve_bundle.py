"""From a name to a bundle folder: built-in, a path, or a hub id."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from imagen_video.errors import BundleError

BUILT_IN = ("emoji",)
"""Bundles that ship inside the package, under `weights/`."""


def find_bundle(name_or_path: str | Path, revision: str | None = None) -> Path:
    """Find a bundle.

    A folder of that name wins over a built-in one; a name with one slash that is no folder is a
    hub id.

    Args:
        name_or_path: what the user wrote.
        revision: branch, tag or commit, for a hub id only.

    Raises:
        BundleError: if there is nothing of that name, or a revision of something that has none.
    """
    path = Path(name_or_path)
    name = str(name_or_path)
    here = path.is_dir() or name in BUILT_IN
    if here and revision is not None:
        raise BundleError(
            f"bundle {name!r}",
            f"revision {revision!r} of {'a folder' if path.is_dir() else 'a built-in bundle'}",
            "a revision only with a hub id",
            "leave it out",
        )
    if path.is_dir():
        return path
    if here:
        return Path(str(resources.files("imagen_video") / "weights" / name))
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        from imagen_video.cascade.hub import fetch_bundle

        return fetch_bundle(name, revision)
    raise BundleError(
        "bundle",
        repr(name),
        f"{', '.join(BUILT_IN)}, a folder or a hub id",
        "check the name or the path",
    )
