"""Videos that were made earlier: found by the prompts in their JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagen_video.errors import InputError
from imagen_video.evaluation.material.clips import LOSSLESS, read_clip
from imagen_video.evaluation.scoring.evaluator import MadeClip
from imagen_video.media.digest import file_sha256

SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif", ".webp", ".png", ".apng")
MAX_JSON_BYTES = 2**20
SAME = ("bundle_sha256", "version", "precision", "fps", "frames", "height", "width")
"""What must be the same for all videos, where their JSON files say it."""


def of_file(path: Path) -> MadeClip:
    """Describe a video file that has a JSON file beside it."""
    about = _about(path.with_suffix(".json"))
    frames, fps = about.get("frames"), about.get("fps")
    if not isinstance(frames, int) or frames < 1 or fps is None:
        frames = fps = None  # the file knows
    return MadeClip(
        name=path.name,
        digest=f"{file_sha256(path)} {frames} {fps} {_size(about)}",
        lossy=path.suffix.lower() not in LOSSLESS,
        load=lambda: read_clip(path, frames=frames, fps=fps, size=_size(about)),
    )


def _size(about: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the height and width that a JSON file says, if it does."""
    height, width = about.get("height"), about.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    return None


def found_videos(folder: Path, prompts: Sequence[str]) -> tuple[list[MadeClip], dict[str, Any]]:
    """Find one video for every prompt.

    Args:
        folder: holds videos, each with a JSON file of the same name that tells its `prompt`.
        prompts: what is wanted, in order.

    Returns:
        The videos, and what the report says about them.

    Raises:
        InputError: if a prompt has no video or several, or the videos are of different settings.
    """
    known: dict[str, list[Path]] = {}
    abouts: dict[Path, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        about = _about(path)
        video = _video_of(path)
        if isinstance(about.get("prompt"), str) and video is not None:
            known.setdefault(about["prompt"], []).append(video)
            abouts[video] = about
    missing = [prompt for prompt in prompts if prompt not in known]
    if missing:
        raise InputError(
            f"--videos {folder}",
            f"no video of {len(missing)} of {len(prompts)} prompts, such as {missing[0]!r}",
            "a video and a JSON file with its prompt for every prompt",
            "see the prompts with --list-prompts, or ask for fewer with --count",
        )
    twice = [prompt for prompt in prompts if len(known[prompt]) > 1]
    if twice:
        names = ", ".join(path.name for path in known[twice[0]][:3])
        raise InputError(
            f"--videos {folder}", f"{names} of one prompt", "one each", "keep one seed a folder"
        )
    videos = [known[prompt][0] for prompt in prompts]
    return [of_file(path) for path in videos], _shared(folder, [abouts[path] for path in videos])


def _video_of(path: Path) -> Path | None:
    """Return the video beside a JSON file; the MP4 where there is a contact sheet too."""
    found = (path.with_suffix(suffix) for suffix in SUFFIXES)
    return next((video for video in found if video.is_file()), None)


def _shared(folder: Path, abouts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what is said of all videos alike.

    Raises:
        InputError: if they differ in what makes numbers compare.
    """
    first = {key: abouts[0].get(key) for key in SAME}
    for about in abouts:
        for key, value in first.items():
            if about.get(key) != value:
                raise InputError(
                    f"--videos {folder}",
                    f"videos with {key} {value!r} and {about.get(key)!r}",
                    "videos of one bundle, stage and size",
                    "put them into folders of their own",
                )
    return {
        "videos": "given",
        **{key: value for key, value in first.items() if value is not None},
        "seeds": [about.get("seed") for about in abouts],
        "stages": abouts[0].get("stages"),
    }


def _about(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("over 1 MiB")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError("no object")
        fps = found.get("fps", 1.0)
        if not (type(fps) in (int, float) and math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps {fps!r}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            str(path), f"{error}"[:120], "the JSON file of a video", "correct or remove it"
        ) from error
    return found
