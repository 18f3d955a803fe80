"""Decode a clip: all of it, frames by number, or frames by time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.arrays import open_array, to_uint8
from imagen_video.data.decoding.decoder import Decoder, as_clip_error, read_frame_file
from imagen_video.errors import InputError

TICK = 0.001
"""Seconds by which a timestamp may be off: Matroska, WebP and APNG round to 1 ms."""
GIF_TICK = 0.0051
"""GIF rounds to 10 ms, up or down; a little more for the halves."""
_SEEK_FROM = 3.0
"""Moments before this many seconds are reached from the start, without looking for a key frame."""
_SEEK_MARGINS = (1.0, 10.0)
"""How long before the first moment to enter a file: its frame may have started that long ago."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeline:
    """When each frame is shown."""

    times: tuple[float, ...]
    """Seconds since the first frame, one a frame, never decreasing (presentation timestamps)."""
    end: float
    """When the last frame ends, seconds. Of a still picture: 0, it has no end of its own."""


def iter_frames(
    record: Record, limits: DataLimits | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Decode everything, one frame in memory at a time.

    Yields:
        Seconds since the first frame, and the frame as uint8 `h w c` (c = 3 but for arrays).

    Raises:
        ClipError: unreadable, cut off, or over a limit; its `reason` says which.
    """
    yield from Decoder(record, limits)


def frame_times(record: Record, limits: DataLimits | None = None) -> Timeline:
    """Decode everything and return when each frame is shown (variable frame rates too).

    Raises:
        ClipError: as `iter_frames`.
    """
    decoder = Decoder(record, limits)
    times = tuple(seconds for seconds, _ in decoder)
    return Timeline(times=times, end=0.0 if decoder.is_still else decoder.end)


def read_frames(
    record: Record, indices: Sequence[int], *, channels: int, limits: DataLimits | None = None
) -> np.ndarray:
    """Return some frames by number, in the order asked for; numbers may repeat.

    Decoded once, in order, up to the last frame wanted; only the frames wanted are kept. Arrays
    and folders of frames are read at the frames wanted only.

    Args:
        record: the clip.
        indices: frame numbers from 0, at least one.
        channels: 1 takes the mean of RGB, 3 repeats grey; any other number must be the clip's own.
        limits: what to refuse.

    Returns:
        uint8 `(f, h, w, c)`.

    Raises:
        ClipError: unreadable, too short, over a limit, or other channels.
        InputError: no or negative indices.
    """
    limits = limits or DataLimits()
    if not len(indices) or min(indices) < 0:
        raise InputError("frames to read", f"{list(indices)[:8]}", "numbers from 0", "correct them")
    output = _Output(record, len(indices), channels, limits)
    places: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        places.setdefault(index, []).append(place)
    with as_clip_error(record):
        count = 0
        for index, frame in _numbered(record, sorted(places), limits):
            for place in places.get(index, ()):
                output.put(place, frame)
            count = index + 1
            if index == max(places):
                return output.frames
    raise _too_short(record, f"{count} frames", f"frame {max(places)}")


def read_at_times(
    record: Record, seconds: Sequence[float], *, channels: int, limits: DataLimits | None = None
) -> np.ndarray:
    """Return the frame shown at each of some moments: the last that starts at or before it.

    Starts are presentation timestamps (animated pictures: the sum of the durations before), so
    variable frame rates come out right. Formats round timestamps (Matroska, WebP and APNG to 1 ms,
    GIF to 10 ms): a frame counts as started up to TICK (GIF_TICK) early. Long videos are entered at
    the key frame before the first moment; the frames are the same as without. A still picture is
    shown at every moment.

    Args:
        record: the clip.
        seconds: moments since the first frame, in any order, at least one.
        channels: as in `read_frames`.
        limits: what to refuse.

    Returns:
        uint8 `(f, h, w, c)`, one frame a moment; a frame may repeat.

    Raises:
        ClipError: unreadable, a moment at or after the clip's end ("too short"), over a limit, or
            other channels.
        InputError: no moments, or negative or not finite ones.
    """
    limits = limits or DataLimits()
    if not len(seconds) or not all(math.isfinite(moment) and moment >= 0 for moment in seconds):
        shown = f"{list(seconds)[:8]}"
        raise InputError("moments to read", shown, "seconds from 0", "correct them")
    if record.kind == "image":
        return read_frames(record, [0] * len(seconds), channels=channels, limits=limits)
    if record.kind == "array" or record.media.frames:
        fps = record.fps or 1.0
        indices = [math.floor((moment + TICK) * fps) for moment in seconds]
        return read_frames(record, indices, channels=channels, limits=limits)
    first = min(seconds)
    if record.kind == "video" and first >= _SEEK_FROM:
        for margin in _SEEK_MARGINS:
            start = first - margin
            try:
                found = (
                    _at_times(Decoder(record, limits, start), seconds, channels)
                    if start > 0
                    else None
                )
            except ClipError:
                break  # key frames that are none, stamps that start again: from the beginning
            if found is not None:
                return found
    found = _at_times(Decoder(record, limits), seconds, channels)
    assert found is not None
    return found


def with_channels(record: Record, frame: np.ndarray, channels: int) -> np.ndarray:
    """Return a frame `(h, w, c)` with the channels wanted: RGB to grey is the rounded mean.

    Raises:
        ClipError: if neither is the frame's own number, nor one is 1 and the other 3.
    """
    own = frame.shape[-1]
    if own == channels:
        return frame
    if (own, channels) == (1, 3):
        return np.repeat(frame, 3, axis=-1)
    if (own, channels) == (3, 1):
        total = frame.sum(axis=-1, dtype=np.uint16, keepdims=True)
        return ((total + 1) // 3).astype(np.uint8)
    raise ClipError(
        "wrong channels",
        record.id,
        f"{own} channels",
        f"{channels}" + (" or 1" if channels == 3 else " or 3" if channels == 1 else ""),
        "save it as .npy with the channels that the cascade has",
    )


class _Output:
    """The result, allocated once the first frame is known and found to be within the limits."""

    def __init__(self, record: Record, count: int, channels: int, limits: DataLimits) -> None:
        self._record, self._count, self._channels, self._limits = record, count, channels, limits
        self.frames: np.ndarray = np.empty((0,))

    def put(self, place: int, frame: np.ndarray) -> None:
        frame = with_channels(self._record, frame, self._channels)
        if not self.frames.size:
            size = self._count * frame.nbytes
            if size > self._limits.max_result_bytes:
                raise ClipError(
                    "too much memory",
                    self._record.id,
                    f"{self._count} frames of {frame.shape[1]}x{frame.shape[0]}, {size} bytes",
                    f"at most {self._limits.max_result_bytes} bytes",
                    "read fewer frames at once",
                )
            self.frames = np.empty((self._count, *frame.shape), np.uint8)
        self.frames[place] = frame


def _numbered(
    record: Record, wanted: Sequence[int], limits: DataLimits
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield frames with their numbers: those wanted where frames can be reached, else all."""
    if record.kind == "array":
        array = open_array(record, limits)
        for index in wanted:
            if index < len(array):
                yield index, to_uint8(record, array[index])
    elif record.media.frames:
        for index in wanted:
            if index < len(record.media.frames):
                yield index, read_frame_file(record, index, limits)
    else:
        for index, (_, frame) in enumerate(Decoder(record, limits)):
            yield index, frame


def _at_times(decoder: Decoder, seconds: Sequence[float], channels: int) -> np.ndarray | None:
    """Return the frames at some moments; None if the decoder starts after the first of them."""
    record = decoder.record
    tick = GIF_TICK if record.media.suffix == ".gif" else TICK
    order = sorted(range(len(seconds)), key=lambda place: seconds[place])
    output = _Output(record, len(seconds), channels, decoder.limits)
    shown: np.ndarray | None = None
    done = 0
    for start, frame in decoder:
        if shown is None and decoder.start > 0 and start > seconds[order[0]] + tick:
            return None
        while done < len(order) and seconds[order[done]] + tick < start:
            output.put(order[done], frame if shown is None else shown)
            done += 1
        if done == len(order):
            return output.frames
        shown = frame
    assert shown is not None  # a clip without frames is an error of its decoder
    last = max(seconds)
    if not decoder.is_still and last >= decoder.end:
        raise _too_short(record, f"{decoder.end:.3f} seconds", f"a frame at {last:.3f}")
    for place in order[done:]:
        output.put(place, shown)
    return output.frames


def _too_short(record: Record, got: str, expected: str) -> ClipError:
    return ClipError("too short", record.id, got, expected, "use a longer clip")
