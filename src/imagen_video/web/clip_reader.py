"""What a worker process does with an uploaded clip: decode it within limits, bring it to size.

Runs apart from the server, because a hostile file can crash a decoder or keep it busy for ever.
Answers are JSON; pixels go through a file that the parent names.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from imagen_video.errors import InputError, MediaError
from imagen_video.media.limits import ReadLimits, VideoInfo
from imagen_video.media.video_io import iter_frames, probe_video


def probe(job: dict[str, Any]) -> dict[str, Any]:
    """Read the header of a clip and decode its first frame.

    Args:
        job: `path`, `max_pixels`, `max_seconds`.

    Returns:
        `width`, `height`, `fps`, `frames` and `seconds` (None where the file does not say); or
        `error`, the four parts.
    """
    try:
        data = Path(job["path"]).read_bytes()
        info = probe_video(data)
        _check_length(info, job["max_seconds"])
        for _, frame in iter_frames(data, limits=_limits(job), count=1):
            height, width, _ = frame.shape
            return {
                "width": width,
                "height": height,
                "fps": info.fps,
                "frames": info.num_frames,
                "seconds": info.seconds,
            }
        raise MediaError("upload", "no frames", "a video", "choose another file")
    except InputError as error:
        return _told(error)


def read(job: dict[str, Any]) -> dict[str, Any]:
    """Decode a clip and bring it to the input of a stage.

    Args:
        job: `path`, `max_pixels`, `max_seconds`; `frames`, `height`, `width`, `fps` of the stage's
            input, `channels`, and `out`, the file for the pixels.

    Returns:
        An empty dictionary; uint8 `(f, h, w, 3)` is in `out` then. Or `error`.
    """
    from imagen_video.cascade.inputs import fit_video
    from imagen_video.cascade.spec import Clip
    from imagen_video.media.frames import to_uint8

    try:
        data = Path(job["path"]).read_bytes()
        info = probe_video(data)
        _check_length(info, job["max_seconds"])
        rate = float(info.fps)
        one = Clip(frames=1, height=job["height"], width=job["width"], fps=job["fps"])
        # Frames by time, as fit_video takes them; one by one, so that large ones are never many.
        wanted = [math.floor(i / job["fps"] * rate + 1e-6) for i in range(job["frames"])]
        small: dict[int, np.ndarray] = {}
        frames = iter_frames(data, limits=_limits(job), count=wanted[-1] + 1)
        for index, (_, frame) in enumerate(frames):
            if index in wanted:
                small[index] = to_uint8(fit_video(frame[None], one, rate, job["channels"]))[0, 0]
        fitted = np.stack([small[index] for index in wanted if index in small])
        np.save(job["out"], fitted, allow_pickle=False)
        return {}
    except InputError as error:
        return _told(error)


def _limits(job: dict[str, Any]) -> ReadLimits:
    return ReadLimits(max_pixels=job["max_pixels"], max_seconds=job["max_seconds"])


def _check_length(info: VideoInfo, most: float) -> None:
    seconds = info.seconds
    if seconds is None and info.num_frames is not None:
        seconds = info.num_frames / info.fps
    if seconds is not None and seconds > most:
        raise MediaError(
            "upload", f"{seconds:.0f} seconds", f"at most {most:g}", "cut a part out of it"
        )


def _told(error: InputError) -> dict[str, Any]:
    return {"error": ["upload", error.got, error.expected, error.fix]}
