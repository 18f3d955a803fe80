"""Clips as they are judged: no larger than 192x320, at most 16 frames for what they show.

Frames that are judged for content are those of the base model, every 8th source frame, whatever
the stage: so scores of two stages compare. Measures of time see all frames.

Frames of a file with as many as its JSON file says are taken one by one. An animation may hold
fewer, as equal neighbours are stored as one longer frame: its frames are found by their times.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imagen_video.cascade.resample import resize
from imagen_video.errors import InputError, MediaError
from imagen_video.media.formats import opened
from imagen_video.media.limits import ReadLimits
from imagen_video.media.pictures import picture_info, shown_pictures
from imagen_video.media.video_io import iter_frames, probe_video
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
PICTURES = (*LOSSLESS, ".gif", ".webp")
"""Files that state how long each frame lasts, and no rate."""
SLACK = 0.25
"""Share of a frame's time by which stored times may be off: they are rounded."""
TICK, GIF_TICK = 0.001, 0.01
"""Seconds that animations count in."""
SAME_TIME = 0.25
"""Source frames by which the times of two clips may differ: no measure sees it."""
FRAMES_AT_ONCE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip in memory."""

    frames: np.ndarray
    """uint8 `(f, h, w, 3)`, no larger than `LARGEST`."""
    times: tuple[float, ...]
    """Source frame (24 fps) of each."""
    source: tuple[int, int] | None = None
    """Height and width at which it was made, where it was shrunk; as it is if None."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which it was made."""
        return self.source or self.shape[1:]

    @property
    def judged(self) -> tuple[int, ...]:
        """Indices of the frames that are judged for content."""
        return judged_of(self.times)

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


def judged_of(times: Sequence[float]) -> tuple[int, ...]:
    """Return the indices of the frames that are judged for content.

    Args:
        times: source frame (24 fps) of each frame.
    """
    wanted = [JUDGED_STRIDE * i for i in range(JUDGED_FRAMES)]
    found = np.asarray(times)
    index = (int(np.argmin(abs(found - time))) for time in wanted if time <= found[-1] + 0.5)
    return tuple(dict.fromkeys(index))


def rate_of(times: Sequence[float]) -> float:
    """Return the frames per second of some times; those of the corpus for one frame."""
    return SOURCE_FPS / (times[1] - times[0]) if len(times) > 1 else SOURCE_FPS


def reduced_size(height: int, width: int) -> tuple[int, int]:
    """Return the size at which frames of a size are judged."""
    if height <= LARGEST[0]:
        return height, width
    return LARGEST[0], max(1, round(width * LARGEST[0] / height))


def reduced(frames: np.ndarray) -> np.ndarray:
    """Shrink uint8 frames `(f, h, w, 3)` above `LARGEST`: antialiased bilinear, exact sizes."""
    if frames.shape[1] <= LARGEST[0]:
        return frames
    size = reduced_size(*frames.shape[1:3])
    parts = []
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        part = torch.from_numpy(np.ascontiguousarray(frames[start : start + FRAMES_AT_ONCE]))
        shrunk = resize(part.movedim(-1, 1)[None], *size)
        parts.append(shrunk[0].movedim(1, -1).numpy())
    return np.ascontiguousarray(np.concatenate(parts))


def read_clip(
    path: Path,
    *,
    frames: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
) -> Clip:
    """Read a video file as it is judged.

    Args:
        path: the file.
        frames: how many there are, where it is known: an animation may store equal neighbours as
            one longer frame.
        fps: frames per second, where it is known; the file's if None.
        size: height and width at which it was made, where that is known: a file may hold it as it
            is judged. A size that does not shrink to the file's is passed over.

    Raises:
        MediaError: if the file cannot be read, is shorter than it is said to be, or does not tell
            its rate.
    """
    stored = _stored(path)
    rate = fps if fps is not None else _rate(path, stored)
    if not rate > 0:
        raise MediaError(str(path), f"{rate} frames per second", "a video", "replace it")
    count = len(stored.frames) if frames is None else frames
    held = stored.frames.shape[1:3]
    source = stored.source
    if size is not None and reduced_size(*size) == held:
        source = size
    chosen = stored.frames
    if count != len(chosen):
        wanted, slack = np.arange(count) / rate, SLACK / rate
        if wanted[-1] > stored.ends[-1] - slack:
            raise MediaError(
                str(path),
                f"{len(chosen)} frames that last {stored.ends[-1]:.3g} seconds",
                f"{count} frames at {rate:g} fps, as its JSON file says",
                "make it again, or correct the JSON file",
            )
        index = np.searchsorted(stored.starts, wanted + slack, side="right") - 1
        chosen = chosen[index.clip(0)]
    return Clip(
        frames=chosen, times=clip_times(count, rate), source=None if source == held else source
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stored:
    """What a file holds."""

    frames: np.ndarray
    """As they are judged, `(n, h, w, 3)`."""
    starts: np.ndarray
    """Seconds, `(n,)`."""
    ends: np.ndarray
    """Seconds, `(n,)`."""
    source: tuple[int, int]
    """Height and width in the file."""


def _stored(path: Path) -> _Stored:
    """Read every frame with its start and end, within the limits of `ReadLimits`."""
    seen, seconds, source = [], [], (0, 0)

    def take(timed: Iterable[tuple[float, np.ndarray]]) -> None:
        nonlocal source
        for second, frame in timed:
            source = (frame.shape[0], frame.shape[1])
            seen.append(reduced(frame[None])[0])
            seconds.append(second)

    if path.suffix.lower() in PICTURES:
        limits = ReadLimits()
        with opened(path) as file:
            limits.check_header(file.label, picture_info(file), None)
            shown = ((end, frame) for _, end, frame in shown_pictures(file, limits))
            take(limits.bounded(file.label, shown, 0.0, None))
        ends = np.asarray(seconds)
        starts = np.concatenate([[0.0], ends[:-1]])
    else:
        take(iter_frames(path))
        starts = np.asarray(seconds)
        rate = probe_video(path).fps
        ends = np.append(starts[1:], starts[-1:] + (1 / rate if rate > 0 else 0.0))
    if not seen:
        raise MediaError(str(path), "no frames", "a video", "replace it")
    return _Stored(frames=np.stack(seen), starts=starts, ends=ends, source=source)


def _rate(path: Path, stored: _Stored) -> float:
    """Return the frames per second that a file tells.

    Raises:
        MediaError: for an animation whose frames last unequally long: one of them may stand for
            several, so how many there were cannot be known.
    """
    if path.suffix.lower() not in PICTURES:
        return probe_video(path).fps
    tick = GIF_TICK if path.suffix.lower() == ".gif" else TICK
    lasting = stored.ends - stored.starts
    if np.ptp(lasting) > 1.5 * tick:
        raise MediaError(
            str(path),
            f"frames of {1000 * lasting.min():.0f} to {1000 * lasting.max():.0f} milliseconds",
            "frames that last equally long, or a known rate",
            'say "frames" and "fps" in its JSON file',
        )
    count, whole = len(lasting), float(stored.ends[-1])
    nearest = round(count / whole)
    # the whole is known to a tick: a whole rate that agrees with it is the one that was meant
    meant = nearest > 0 and abs(count / nearest - whole) <= tick
    return float(nearest) if meant else count / whole


def through_codec(parts: Iterable[np.ndarray], fps: float) -> np.ndarray:
    """Write and read frames as `generate` writes videos, so that real clips have its losses too.

    Args:
        parts: uint8 frames `(f, h, w, 3)`, some at a time: no more are held at their full size.
        fps: frames per second.

    Returns:
        All frames as they are judged.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, parts, fps)
        return np.concatenate([reduced(frame[None]) for _, frame in iter_frames(path)])


def check_alike(clip: Clip, name: str, first: Clip, first_name: str) -> None:
    """Refuse a clip of another shape, size or rate than the first: their numbers do not compare.

    Args:
        clip: the clip.
        name: what to call it.
        first: what it is held against.
        first_name: what to call that.

    Raises:
        InputError: saying what differs.
    """
    if clip.shape != first.shape:
        raise InputError(
            f"clip {name}",
            "x".join(map(str, clip.shape)),
            f"{'x'.join(map(str, first.shape))} as {first_name} (frames, height, width)",
            "evaluate clips of one stage and size at a time",
        )
    if clip.size != first.size:
        raise InputError(
            f"clip {name}",
            f"made at {'x'.join(map(str, clip.size))}",
            f"{'x'.join(map(str, first.size))} as {first_name} (height, width)",
            "evaluate clips of one stage and size at a time",
        )
    if np.abs(np.subtract(clip.times, first.times)).max() > SAME_TIME:
        raise InputError(
            f"clip {name}",
            f"{rate_of(clip.times):.4g} frames per second",
            f"{rate_of(first.times):.4g} as {first_name}",
            "evaluate clips of one frame rate at a time",
        )


def pixels(frames: np.ndarray) -> Tensor:
    """Return uint8 frames `(f, h, w, 3)` as float32 `(f, 3, h, w)`, 0..255."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).to(torch.float32)
