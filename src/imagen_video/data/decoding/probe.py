"""What does a clip's own header say? One frame is decoded, to see its true size."""

from __future__ import annotations

import dataclasses

from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.arrays import open_array, to_uint8
from imagen_video.data.decoding.decoder import Decoder, as_clip_error, source_of
from imagen_video.media.video_io import probe_video


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """The shape of a clip, as far as its header tells. `read.frame_times` tells it exactly."""

    frames: int | None
    """Number of frames; None where the format does not say."""
    fps: float
    """Frames per second, the average where frames last unequally long; 0 for a still picture."""
    height: int
    """Pixels, upright."""
    width: int
    """Pixels, upright."""
    channels: int
    """3 for videos and pictures (grey ones too), whatever it is for arrays."""
    seconds: float | None
    """Duration; None where the format does not say; 0 for a still picture."""

    @property
    def is_image(self) -> bool:
        """Whether this is a single picture, whatever its file format could have held."""
        return self.fps == 0


def probe(record: Record, limits: DataLimits | None = None) -> Probe:
    """Read a clip's header and its first frame; an animated picture is decoded to its end.

    Raises:
        ClipError: unreadable, of another format than its name says, or over a limit; its `reason`
            says which.
    """
    limits = limits or DataLimits()
    with as_clip_error(record):
        if record.kind == "array":
            array = open_array(record, limits)
            to_uint8(record, array[0])
            return _fixed_rate(len(array), record.fps or 1.0, array.shape[1:])
        if record.kind == "animation":
            return _animation(Decoder(record, limits))
        _, first = next(iter(Decoder(record, limits)))
        if record.media.frames:
            return _fixed_rate(len(record.media.frames), record.fps or 1.0, first.shape)
        if record.kind == "image":
            return _of_shape(first.shape, frames=1, fps=0.0, seconds=0.0)
        return _video(record, first.shape)


def _animation(decoder: Decoder) -> Probe:
    # Each frame states its own duration, and only the decoder knows how many there are.
    count, shape = 0, (0, 0, 0)
    for count, (_, frame) in enumerate(decoder, start=1):  # noqa: B007
        shape = frame.shape
    if decoder.is_still:
        return _of_shape(shape, frames=1, fps=0.0, seconds=0.0)
    return _of_shape(shape, frames=count, fps=count / decoder.end, seconds=decoder.end)


def _video(record: Record, shape: tuple[int, ...]) -> Probe:
    info = probe_video(source_of(record))
    return _of_shape(shape, frames=info.num_frames, fps=info.fps, seconds=info.seconds)


def _fixed_rate(frames: int, fps: float, shape: tuple[int, ...]) -> Probe:
    return _of_shape(shape, frames=frames, fps=fps, seconds=frames / fps)


def _of_shape(
    shape: tuple[int, ...], *, frames: int | None, fps: float, seconds: float | None
) -> Probe:
    height, width, channels = shape
    return Probe(
        frames=frames, fps=fps, height=height, width=width, channels=channels, seconds=seconds
    )
