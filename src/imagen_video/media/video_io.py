"""Video files: written frame by frame (`video_writer.py`), read here within limits.

What can be read: MP4, MOV, WebM, MKV and AVI through PyAV (`container.py`), GIF, WebP, PNG and APNG
through Pillow (`pictures.py`). A file is judged by its first bytes and refused if its name says
otherwise; its header is held against the limits before anything is decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from imagen_video.errors import InputError, MediaError
from imagen_video.media.container import container_frames, container_info
from imagen_video.media.formats import OpenedFile, Source, opened
from imagen_video.media.limits import ReadLimits, TimedFrame, VideoInfo
from imagen_video.media.metadata import TRUE_SIZE
from imagen_video.media.pictures import picture_frames, picture_info
from imagen_video.media.video_writer import VideoWriter, write_video

__all__ = [
    "ReadLimits",
    "VideoInfo",
    "VideoWriter",
    "iter_frames",
    "probe_video",
    "read_metadata",
    "read_video",
    "write_video",
]


def probe_video(source: Source) -> VideoInfo:
    """Return what a file's header says, without decoding it.

    Raises:
        MediaError: missing, damaged, not a video, or named like another format.
    """
    with opened(source) as file:
        return _as_written(_info(file))


def read_metadata(source: Source) -> dict[str, Any]:
    """Return the JSON that `write_video`, `write_png` or `write_animation` stored; {} if none.

    Raises:
        MediaError: missing, damaged, not a video or picture, or named like another format.
    """
    return probe_video(source).metadata


def iter_frames(
    source: Source,
    *,
    limits: ReadLimits | None = None,
    start_seconds: float = 0.0,
    count: int | None = None,
) -> Iterator[TimedFrame]:
    """Decode frame by frame, holding one at a time.

    Args:
        source: a path, or the file's bytes: MP4, MOV, WebM, MKV, AVI, GIF, WebP, PNG, APNG.
        limits: what to refuse; the defaults of `ReadLimits` if None.
        start_seconds: where to start; key frames are used, so this is quick in long files.
        count: stop after so many frames; None reads to the end.

    Yields:
        Seconds since the start of the video, and uint8 RGB `h w 3`.

    Raises:
        MediaError: missing, damaged, cut off, over a limit, or named like another format.
        InputError: a negative start or count.
    """
    _check_part(start_seconds, count)
    with opened(source) as file:
        yield from _frames(file, _info(file), limits or ReadLimits(), start_seconds, count)


def read_video(
    source: Source,
    *,
    max_frames: int = ReadLimits.max_frames,
    max_pixels: int = ReadLimits.max_pixels,
    max_seconds: float = ReadLimits.max_seconds,
    start_seconds: float = 0.0,
    count: int | None = None,
) -> tuple[np.ndarray, float]:
    """Read a video, or a part of it, into memory.

    The limits refuse; they never shorten silently. They are checked before decoding as far as the
    header tells, and while decoding.

    Args:
        source: a path, or the file's bytes (see `iter_frames` for the formats).
        max_frames: most frames to return.
        max_pixels: most pixels in a frame.
        max_seconds: longest part to read.
        start_seconds: where to start.
        count: stop after so many frames; None reads to the end.

    Returns:
        Frames as uint8 RGB `f h w 3`, and frames per second (the average where they vary).

    Raises:
        MediaError: missing, damaged, cut off, over a limit, no frames in the part asked for, or
            named like another format.
    """
    _check_part(start_seconds, count)
    limits = ReadLimits(max_frames=max_frames, max_pixels=max_pixels, max_seconds=max_seconds)
    times: list[float] = []
    frames: list[np.ndarray] = []
    with opened(source) as file:
        info = _info(file)
        for seconds, frame in _frames(file, info, limits, start_seconds, count):
            times.append(seconds)
            frames.append(frame)
        if not frames:
            raise MediaError(
                file.label,
                f"no frame from {start_seconds:g} seconds on",
                "at least one frame",
                "choose an earlier start, or another file",
            )
    fps = info.fps
    if file.format.demuxer is None and times[-1] > times[0]:
        # Pictures state a duration for each frame and no rate.
        fps = (len(times) - 1) / (times[-1] - times[0])
    return _stacked(frames), fps


def _stacked(frames: list[np.ndarray]) -> np.ndarray:
    """Stack frames, letting go of each as it is copied: a long clip is held once."""
    clip = np.empty((len(frames), *frames[0].shape), dtype=frames[0].dtype)
    for index in range(len(frames)):
        clip[index] = frames[index]
        frames[index] = clip[index]
    return clip


def _check_part(start_seconds: float, count: int | None) -> None:
    if not start_seconds >= 0 or (count is not None and count < 0):
        raise InputError(
            "the part to read",
            f"start_seconds={start_seconds}, count={count}",
            "numbers of 0 or more",
            "correct them",
        )


def _frames(
    file: OpenedFile,
    info: VideoInfo,
    limits: ReadLimits,
    start_seconds: float,
    count: int | None,
) -> Iterator[TimedFrame]:
    limits.check_header(file.label, info, count)
    decode = picture_frames if file.format.demuxer is None else container_frames
    true_size = _true_size(info)
    frames = decode(file, limits, start_seconds)
    for seconds, frame in limits.bounded(file.label, frames, start_seconds, count):
        # Cutting off the row and column that VideoWriter added.
        yield seconds, frame if true_size is None else frame[: true_size[1], : true_size[0]]


def _info(file: OpenedFile) -> VideoInfo:
    return picture_info(file) if file.format.demuxer is None else container_info(file)


def _true_size(info: VideoInfo) -> tuple[int, int] | None:
    """Return the size noted by VideoWriter, if it fits the padded size and nothing else does."""
    noted = info.metadata.get(TRUE_SIZE)
    if not (isinstance(noted, list) and len(noted) == 2):
        return None
    if not all(isinstance(side, int) and side > 0 for side in noted):
        return None
    width, height = noted
    if (width + width % 2, height + height % 2) != (info.width, info.height):
        return None
    return width, height


def _as_written(info: VideoInfo) -> VideoInfo:
    """Undo in the header what VideoWriter did to an odd size."""
    width, height = _true_size(info) or (info.width, info.height)
    metadata = {name: value for name, value in info.metadata.items() if name != TRUE_SIZE}
    return dataclasses.replace(info, width=width, height=height, metadata=metadata)
