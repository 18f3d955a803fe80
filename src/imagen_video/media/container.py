"""Read MP4, WebM and AVI with PyAV (FFmpeg): header first, then frame by frame.

Colours: FFmpeg converts by the matrix that the file names. Many files name none; then BT.709 is
taken from 720 lines on and BT.601 below, as players do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from imagen_video.errors import MediaError
from imagen_video.media.formats import WEBM, OpenedFile
from imagen_video.media.limits import ReadLimits, TimedFrame, VideoInfo
from imagen_video.media.metadata import decode_metadata

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_BUFFER_BYTES = 1 << 18
_UNSPECIFIED_MATRIX = 2  # AVCOL_SPC_UNSPECIFIED
_AV_TIME_BASE = 1_000_000  # Container durations are in microseconds.


def container_info(file: OpenedFile) -> VideoInfo:
    """Return what the header says.

    Raises:
        MediaError: damaged, no video in it, a codec that this FFmpeg lacks, or no frame rate.
    """
    with _opened(file) as (container, stream):
        return _info(file, container, stream)


def container_frames(
    file: OpenedFile, limits: ReadLimits, start_seconds: float = 0.0
) -> Iterator[TimedFrame]:
    """Decode frames in the order they are shown, from `start_seconds` on.

    Args:
        file: an open MP4, WebM or AVI.
        limits: what to refuse while decoding.
        start_seconds: the first frame is the one nearest to this time, or the next.

    Yields:
        Seconds since the first frame, and the frame as uint8 RGB.

    Raises:
        MediaError: the data is damaged or ends early, or a frame is over a limit.
    """
    from av.error import FFmpegError

    with _opened(file) as (container, stream):
        info = _info(file, container, stream)
        _check_complete(file, stream)
        # The decoder refuses larger pictures before it allocates them. Codecs round sizes up to
        # whole blocks, hence the margin; the exact limit is checked on every frame.
        stream.codec_context.options = {"max_pixels": str(4 * limits.max_pixels + (1 << 16))}
        end = 0.0
        try:
            for frame in _decoded(container, stream, start_seconds):
                if frame.is_corrupt:
                    raise _damaged(file, "a damaged frame")
                limits.check_size(file.label, frame.width, frame.height)
                seconds = _seconds(frame, stream)
                end = seconds + 1.0 / info.fps
                if seconds >= start_seconds - 0.5 / info.fps:
                    yield seconds, _rgb(frame)
        except FFmpegError as error:
            raise _damaged(file, error.strerror or type(error).__name__) from error
        if info.seconds is not None and end < 0.9 * info.seconds - 2.0 / info.fps:
            raise _damaged(file, f"{end:.2f} of {info.seconds:.2f} seconds of video")


@contextlib.contextmanager
def _opened(file: OpenedFile) -> Iterator[tuple[InputContainer, VideoStream]]:
    import av
    from av.error import FFmpegError

    file.stream.seek(0)
    try:
        # The demuxer is fixed and reads from our file object only: a file cannot make FFmpeg open
        # another file or an address.
        container = av.open(
            file.stream,
            mode="r",
            format=file.format.demuxer,
            buffer_size=_BUFFER_BYTES,
            metadata_errors="replace",
        )
    except (FFmpegError, ValueError, OverflowError) as error:
        raise _damaged(file, getattr(error, "strerror", None) or str(error)) from error
    with container:
        streams = [s for s in container.streams.video if not _is_cover(s)]
        if not streams:
            raise MediaError(
                file.label, "no video stream", "a video", "use a file that has pictures in it"
            )
        if streams[0].codec_context is None:
            raise MediaError(
                file.label,
                "a codec that this FFmpeg cannot decode",
                "H.264, HEVC, VP9, AV1 or another common codec",
                "convert it to MP4 (H.264)",
            )
        yield container, streams[0]


def _is_cover(stream: VideoStream) -> bool:
    """Music files carry their cover as a one-frame video stream."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _info(file: OpenedFile, container: InputContainer, stream: VideoStream) -> VideoInfo:
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not rate:
        raise _damaged(file, "no frame rate")
    seconds: float | None = None
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        # A sound track may be longer than the pictures, so only when there is none.
        seconds = container.duration / _AV_TIME_BASE
    num_frames = stream.frames or (None if seconds is None else round(seconds * float(rate)))
    return VideoInfo(
        format=file.format.name,
        codec=context.name,
        width=context.width,
        height=context.height,
        fps=float(rate),
        num_frames=num_frames,
        seconds=seconds,
        metadata=decode_metadata(_comment(container)),
    )


def _comment(container: InputContainer) -> str | None:
    # Matroska writes its tag names in capitals.
    tags = {name.lower(): value for name, value in container.metadata.items()}
    return tags.get("comment")


def _check_complete(file: OpenedFile, stream: VideoStream) -> None:
    """Refuse a file whose size or index points behind its end: it was cut off."""
    if file.format is WEBM and _matroska_end(file) > file.size:
        raise _damaged(file, "a file that was cut off")
    index: Any = getattr(stream, "index_entries", None)  # PyAV 14 on.
    if not index:
        return
    # Entries are nearly in file order; the last few hold the furthest one.
    last = [index[position] for position in range(max(0, len(index) - 64), len(index))]
    if max(entry.pos + entry.size for entry in last) > file.size:
        raise _damaged(file, "a file that was cut off")


def _matroska_end(file: OpenedFile) -> int:
    """Return where the file says that it ends; 0 if it does not say (a live recording)."""
    position = file.stream.tell()
    file.stream.seek(0)
    head = file.stream.read(4096)
    file.stream.seek(position)
    header_end = _element_end(head, 0)
    if head[header_end : header_end + 4] != b"\x18\x53\x80\x67":  # Segment, which holds the rest.
        return 0
    return _element_end(head, header_end)


def _element_end(data: bytes, start: int) -> int:
    """Return the end of the EBML element at `start`, whose id has 4 bytes; 0 if it is open."""
    size = data[start + 4 : start + 12]
    # The position of the first set bit tells how many bytes the size has (RFC 8794, section 4).
    num_bytes = 9 - size[0].bit_length() if size else 9
    if len(size) < num_bytes:
        return 0
    most = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(size[:num_bytes], "big") & most
    return 0 if value == most else start + 4 + num_bytes + value


def _decoded(
    container: InputContainer, stream: VideoStream, start_seconds: float
) -> Iterator[VideoFrame]:
    if start_seconds > 0 and stream.time_base:
        # To the key frame before it; the frames between are decoded and dropped.
        target = (stream.start_time or 0) + round(start_seconds / stream.time_base)
        container.seek(target, stream=stream, backward=True)
    yield from container.decode(stream)


def _seconds(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.pts is None or frame.time_base is None:
        return 0.0
    return float((frame.pts - (stream.start_time or 0)) * frame.time_base)


def _rgb(frame: VideoFrame) -> np.ndarray:
    untagged_hd = frame.colorspace == _UNSPECIFIED_MATRIX and frame.height >= 720
    pixels = frame.to_ndarray(format="rgb24", src_colorspace="ITU709" if untagged_hd else None)
    # Telephones store pictures lying on their side, with a note how to turn them.
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def _damaged(file: OpenedFile, found: str) -> MediaError:
    return MediaError(
        file.label,
        found,
        f"a complete {file.format.name} file",
        "copy or download it again, or convert it to MP4 (H.264)",
    )
