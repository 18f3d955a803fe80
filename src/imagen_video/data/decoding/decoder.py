"""One pass over a clip, whatever it is stored as: frames in order, with the time of each.

Whatever a damaged or hostile file makes a decoder raise leaves here as a `ClipError` with a reason.
Limits are held against the header before the first frame, and against every frame.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.formats import HEAD_BYTES, check_format, picture_size
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.clips.tar_files import read_member
from imagen_video.data.decoding.arrays import open_array, to_uint8
from imagen_video.errors import InputError
from imagen_video.media.container import container_frames
from imagen_video.media.formats import OpenedFile, opened
from imagen_video.media.limits import ReadLimits, VideoInfo
from imagen_video.media.pictures import read_image, shown_pictures
from imagen_video.media.video_io import probe_video


class Decoder:
    """Iterate once: yields seconds since the first frame, and the frame as uint8 `h w c`."""

    def __init__(
        self, record: Record, limits: DataLimits | None = None, start: float = 0.0
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            record: the clip.
            limits: what to refuse.
            start: videos only: enter at the key frame before this many seconds.
        """
        self.record = record
        self.limits = limits or DataLimits()
        self.start = start
        self.end = 0.0
        """When the last frame ends, in seconds; exact once the iteration is over."""
        self.is_still = record.kind == "image"
        """Whether this is one picture; exact once the iteration is over."""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Decode.

        Raises:
            ClipError: unreadable, cut off, or over a limit; its `reason` says which.
        """
        with as_clip_error(self.record):
            shape: tuple[int, ...] | None = None
            count = 0
            for seconds, frame in self._frames():
                if shape is not None and frame.shape != shape:
                    raise ClipError(
                        "frames of different sizes",
                        self.record.id,
                        f"a frame of {frame.shape[1]}x{frame.shape[0]} after {shape[1]}x{shape[0]}",
                        "frames of one size",
                        "cut the clip where its size changes",
                    )
                shape, count = frame.shape, count + 1
                self._check_length(count, seconds)
                yield seconds, frame
            if not count:
                raise ClipError(
                    "unreadable", self.record.id, "no frame", "at least one", "save it again"
                )
            self.is_still = self.is_still or (count == 1 and self.record.kind == "animation")

    def _frames(self) -> Iterator[tuple[float, np.ndarray]]:
        record = self.record
        if record.kind == "array":
            array = open_array(record, self.limits)
            yield from self._at_fixed_rate(to_uint8(record, frame) for frame in array)
        elif record.media.frames:
            yield from self._at_fixed_rate(self._pictures())
        elif record.kind == "image":
            yield 0.0, self._picture()
        else:
            yield from self._moving()

    def _at_fixed_rate(self, frames: Iterator[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
        fps = self.record.fps or 1.0
        for index, frame in enumerate(frames):
            self.end = (index + 1) / fps
            yield index / fps, frame

    def _pictures(self) -> Iterator[np.ndarray]:
        for index in range(len(self.record.media.frames)):
            yield read_frame_file(self.record, index, self.limits)

    def _picture(self) -> np.ndarray:
        source = source_of(self.record)
        _check_source(self.record, source, self.limits.max_image_pixels)
        return read_image(source, self.limits.max_image_pixels)

    def _moving(self) -> Iterator[tuple[float, np.ndarray]]:
        source = source_of(self.record)
        _check_source(self.record, source, self.limits.max_pixels)
        info = probe_video(source)
        self._check_header(info)
        limits = ReadLimits(max_pixels=self.limits.max_pixels)
        with opened(source) as file:
            file = dataclasses.replace(file, label=self.record.id)
            if file.format.demuxer is None:
                for start, end, frame in shown_pictures(file, limits):
                    self.end = end
                    yield start, frame
            else:
                yield from self._video(file, info, limits)

    def _video(
        self, file: OpenedFile, info: VideoInfo, limits: ReadLimits
    ) -> Iterator[tuple[float, np.ndarray]]:
        last = 0.0
        no_timestamps = False
        for index, (stamp, frame) in enumerate(container_frames(file, limits, self.start)):
            if index == 1 and stamp == 0.0 and self.start == 0:
                no_timestamps = True  # as in some AVI files
            # Stamps that go backwards (pieces joined badly) count as no progress.
            last = index / info.fps if no_timestamps else max(stamp, last)
            self.end = last + 1.0 / info.fps
            # VideoWriter pads odd sizes by a row or column and notes it.
            is_padded = frame.shape[:2] == (
                info.height + info.height % 2,
                info.width + info.width % 2,
            )
            yield last, frame[: info.height, : info.width] if is_padded else frame
        # The last frame may be held for longer than the usual period. container_frames has
        # refused headers that promise much more than there is.
        self.end = max(self.end, info.seconds or 0.0)

    def _check_header(self, info: VideoInfo) -> None:
        if info.width * info.height > self.limits.max_pixels or min(info.width, info.height) < 1:
            raise too_large(self.record, info.width, info.height, self.limits.max_pixels)
        self._check_length(info.num_frames or 0, info.seconds or 0.0)

    def _check_length(self, count: int, seconds: float) -> None:
        if count > self.limits.max_frames or seconds > self.limits.max_seconds:
            raise ClipError(
                "too long",
                self.record.id,
                f"{count} frames, {seconds:.0f} seconds",
                f"at most {self.limits.max_frames} and {self.limits.max_seconds:g}",
                "cut it into clips",
            )


def read_frame_file(record: Record, index: int, limits: DataLimits) -> np.ndarray:
    """Return one picture of a folder of frames.

    Raises:
        MediaError: as `media.pictures.read_image`.
        ClipError: empty, of another format than its name says, or too large.
    """
    path = record.media.path / record.media.frames[index]
    # Discovery saw a regular file; a link put there since then is not followed.
    if path.is_symlink():
        raise ClipError("unsafe link", record.id, f"{path.name}: a link", "a file", "copy the file")
    _check_source(record, path, limits.max_pixels, path.suffix.lower())
    return read_image(path, limits.max_pixels)


@contextlib.contextmanager
def as_clip_error(record: Record) -> Iterator[None]:
    """Turn whatever a block raises about a clip into a ClipError."""
    try:
        yield
    except ClipError:
        raise
    except InputError as error:
        raise ClipError("unreadable", record.id, error.got, error.expected, error.fix) from error
    except MemoryError as error:
        raise ClipError(
            "too much memory",
            record.id,
            "an allocation that failed",
            "enough memory to decode it",
            "scale the clip down",
        ) from error
    except Exception as error:
        # Decoders raise what they like for damaged input: one bad file must not stop a long run.
        raise ClipError(
            "unreadable",
            record.id,
            f"{type(error).__name__}: {error!s:.160}",
            "a complete file",
            "copy it again or convert it",
        ) from error


def too_large(record: Record, width: int, height: int, most: int) -> ClipError:
    """Return the error for a frame over the limit."""
    return ClipError(
        "frames too large",
        record.id,
        f"frames of {width}x{height}",
        f"1 to {most} pixels",
        "scale it down",
    )


def source_of(record: Record) -> Path | bytes:
    """Return the path of a file, or the bytes of a tar's member."""
    if record.media.member is None:
        return record.media.path
    return read_member(record.media.path, record.media.offset, record.media.size)


def _check_source(
    record: Record, source: Path | bytes, most: int, suffix: str | None = None
) -> None:
    """Hold name and canvas against the first bytes, before a decoder opens it."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    else:
        head = source[:HEAD_BYTES]
    check_format(record.id, head, suffix or record.media.suffix)
    size = picture_size(head)
    if size is not None and size[0] * size[1] > most:
        raise too_large(record, *size, most)
