"""`export_to_video`: frames in, a file that plays everywhere out."""

from __future__ import annotations

from pathlib import Path

from imagen_video.errors import InputError
from imagen_video.media.clips import ClipSource, take_clips
from imagen_video.media.pictures import write_animation
from imagen_video.media.video_writer import write_video

ANIMATIONS = (".gif", ".png", ".apng")


def export_to_video(frames: ClipSource, path: str | Path, fps: float) -> Path:
    """Write one clip as a file, which appears whole or not at all.

    Args:
        frames: one of `result.frames`: uint8 `(f, h, w, 3)`, a list of PIL images, or a tensor
            `(f, c, h, w)` in [-1, 1].
        path: the suffix decides: .mp4 is H.264, .gif has 256 colours, .png and .apng are exact.
        fps: frames per second, `result.fps`; at most 50 for GIF.

    Returns:
        The path.

    Raises:
        InputError: for another suffix, several clips, or an unusable rate.
        ResourceError: if the disk is full.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in (".mp4", *ANIMATIONS):
        raise InputError(
            f"writing {path}",
            f"the suffix {target.suffix!r}",
            f".mp4 or {', '.join(ANIMATIONS)}",
            "name the file *.mp4",
        )
    clips = take_clips(frames, "frames")
    if len(clips) != 1:
        raise InputError(
            "frames", f"{len(clips)} clips", "one", "write a file for each: result.frames[0]"
        )
    write = write_video if suffix == ".mp4" else write_animation
    write(target, clips.to_uint8()[0], fps)
    return target
