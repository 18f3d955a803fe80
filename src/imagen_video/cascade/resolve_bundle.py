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

    Raises:
        BundleError: if there is nothing of that name.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    name = str(name_or_path)
    if name in BUILT_IN:
        return Path(str(resources.files("imagen_video") / "weights" / name))
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return _from_hub(name, revision)
    raise BundleError(
        "bundle",
        repr(name),
        f"{', '.join(BUILT_IN)}, a folder or a hub id",
        "check the name or the path",
    )


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=["*.json", "*/config.json", "*/model.safetensors"],
            )
        )
    except Exception as error:  # the hub's many errors all mean the same to the user
        raise BundleError(
            "bundle", f"{name!r} ({error})"[:300], "a folder or a reachable hub id", "check both"
        ) from error
