"""Clips as they are judged: no larger than 192x320, at most 16 frames for what they show.

Frames that are judged for content are those of the base model, every 8th source frame, whatever
the stage: so scores of two stages compare. Measures of time see all frames.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imagen_video.cascade.resample import resize
from imagen_video.errors import InputError, MediaError
from imagen_video.media.video_io import iter_frames, probe_video, read_video
from imagen_video.media.video_writer import write_video

SOURCE_FPS = 24.0
"""Frames per second of the corpus."""
JUDGED_STRIDE = 8
"""Source frames between two frames that are judged for content."""
JUDGED_FRAMES = 16
"""Most frames that are judged for content."""
LARGEST = (192, 320)
"""Larger clips are judged at this size."""
LOSSLESS = (".png", ".apng")
"""Files that hold the frames exactly."""
TICK = 0.002
"""Seconds by which stored times may be off: animations count milliseconds."""
FRAMES_AT_ONCE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip in memory."""

    frames: np.ndarray
    """uint8 `(f, h, w, 3)`, no larger than `LARGEST`."""
    times: tuple[float, ...]
    """Source frame (24 fps) of each."""

    @property
    def judged(self) -> tuple[int, ...]:
        """Indices of the frames that are judged for content."""
        wanted = [JUDGED_STRIDE * i for i in range(JUDGED_FRAMES)]
        times = np.asarray(self.times)
        found = (int(np.argmin(abs(times - time))) for time in wanted if time <= times[-1] + 0.5)
        return tuple(dict.fromkeys(found))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height and width."""
        frames, height, width = self.frames.shape[:3]
        return frames, height, width


def clip_times(frames: int, fps: float) -> tuple[float, ...]:
    """Return the source frame of each frame.

    Args:
        frames: how many.
        fps: of the clip.
    """
    return tuple(index * SOURCE_FPS / fps for index in range(frames))


def reduced(frames: np.ndarray) -> np.ndarray:
    """Shrink uint8 frames `(f, h, w, 3)` above `LARGEST`: antialiased bilinear, exact sizes."""
    if frames.shape[1] <= LARGEST[0]:
        return frames
    width = max(1, round(frames.shape[2] * LARGEST[0] / frames.shape[1]))
    parts = []
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        part = torch.from_numpy(np.ascontiguousarray(frames[start : start + FRAMES_AT_ONCE]))
        shrunk = resize(part.movedim(-1, 1)[None], LARGEST[0], width)
        parts.append(shrunk[0].movedim(1, -1).numpy())
    return np.ascontiguousarray(np.concatenate(parts))


def read_clip(path: Path, *, frames: int | None = None, fps: float | None = None) -> Clip:
    """Read a video file as it is judged.

    Args:
        path: the file.
        frames: how many there are, where it is known: an animation may store equal neighbours as
            one longer frame.
        fps: frames per second, where it is known; the file's if None.

    Raises:
        MediaError: if the file cannot be read, or is shorter than it is said to be.
    """
    rate = fps if fps is not None else probe_video(path).fps
    seen, seconds = [], []
    for second, frame in iter_frames(path):
        seen.append(reduced(frame[None])[0])
        seconds.append(second)
    if not seen or not rate > 0:
        raise MediaError(str(path), f"{len(seen)} frames at {rate} fps", "a video", "replace it")
    count = len(seen) if frames is None else frames
    wanted = np.arange(count) / rate
    if wanted[-1] > seconds[-1] + TICK and path.suffix.lower() not in LOSSLESS:
        raise MediaError(
            str(path), f"{len(seen)} frames", f"{count} frames at {rate:g} fps", "make it again"
        )
    index = np.searchsorted(np.asarray(seconds), wanted + TICK, side="right") - 1
    return Clip(frames=np.stack(seen)[index.clip(0)], times=clip_times(count, rate))


def through_codec(clip: Clip) -> Clip:
    """Write and read a clip as `generate` writes videos, so that real clips have its losses too."""
    fps = SOURCE_FPS / (clip.times[1] - clip.times[0]) if len(clip.times) > 1 else SOURCE_FPS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, clip.frames, fps)
        frames, _ = read_video(path)
    return dataclasses.replace(clip, frames=frames)


def check_same_shape(shapes: Sequence[tuple[int, ...]], names: Sequence[str]) -> None:
    """Refuse clips of different shapes: their numbers do not compare.

    Raises:
        InputError: naming the first that differs.
    """
    for shape, name in zip(shapes, names, strict=True):
        if shape != shapes[0]:
            raise InputError(
                f"clip {name}",
                "x".join(map(str, shape)),
                f"{'x'.join(map(str, shapes[0]))} as {names[0]} (frames, height, width)",
                "evaluate clips of one stage and size at a time",
            )


def pixels(frames: np.ndarray) -> Tensor:
    """Return uint8 frames `(f, h, w, 3)` as float32 `(f, 3, h, w)`, 0..255."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).to(torch.float32)
