"""Samples and outcomes that need no cascade."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from imagen_video.distributed.sample import Failed, Made, Sample


def sample(name: str, **settings: Any) -> Sample:
    return Sample(id=name, settings={"prompt": name, "seed": 0, "bundle": "here", **settings})


def made(folder: Path, name: str, content: bytes = b"video") -> Made:
    """Write a file in the place of a video, and say that it was made."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.mp4").write_bytes(content)
    return Made(
        id=name,
        video=f"{name}.mp4",
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
        clip={"frames": 1, "height": 1, "width": 1, "fps": 1.0},
        stages=({"name": "base", "seconds": 1.0, "host": "here", "attempt": 1},),
    )


def failed(name: str, **changes: Any) -> Failed:
    return Failed(**{"id": name, "stage": "base", "error": "it broke", **changes})
