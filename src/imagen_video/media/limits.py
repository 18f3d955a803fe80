"""What a video file says about itself, and how much of it we are willing to decode.

Files from strangers can be small and decode to terabytes. Limits are checked against the file's
own header before anything is decoded, and again while decoding, because a header can lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imagen_video.errors import MediaError

MAX_DECODED_BYTES = 8 << 30
"""Most bytes of RGB that one call returns: 22 times the paper's 128x768x1280 video."""

TimedFrame = tuple[float, np.ndarray]
"""(seconds since the start, uint8 RGB `h w 3`)."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What the header of a file says. Nothing here is proved until it is decoded."""

    format: str
    """MP4, WebM, AVI, GIF, WebP or PNG."""

    codec: str
    """FFmpeg's name of the codec, or the format's for pictures."""

    width: int
    """Pixels, as stored (before a rotation that the file asks for)."""

    height: int
    """Pixels, as stored."""

    fps: float
    """Frames per second, the average where frames last unequally long."""

    num_frames: int | None
    """None where the format does not say."""

    seconds: float | None
    """Duration; None where the format does not say."""

    metadata: dict[str, Any] = field(default_factory=dict)
    """Our JSON, if the file carries it."""


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """How much to decode at most."""

    max_frames: int = 20_000
    """Frames returned by one call."""

    max_pixels: int = 4096 * 2304
    """Height times width of a frame."""

    max_seconds: float = 3600.0
    """Length of the part that is read."""

    def check_header(self, label: str, info: VideoInfo, count: int | None) -> None:
        """Refuse a file by what its header says.

        Args:
            label: what to call the file.
            info: its header.
            count: how many frames are wanted; None for all.

        Raises:
            MediaError: if the wanted part is over a limit.
        """
        self.check_size(label, info.width, info.height)
        if count is None and info.seconds is not None and info.seconds > self.max_seconds:
            raise self._too_long(label, info.seconds)
        wanted = info.num_frames if count is None else count
        if wanted is not None:
            self.check_count(label, wanted, info.width * info.height)

    def check_size(self, label: str, width: int, height: int) -> None:
        """Refuse a frame that is too large, or has no area."""
        if width < 1 or height < 1 or width * height > self.max_pixels:
            raise MediaError(
                label,
                f"frames of {width}x{height}",
                f"1 to {self.max_pixels} pixels",
                "scale the video down, or raise max_pixels if you trust the file",
            )

    def check_count(self, label: str, num_frames: int, pixels: int) -> None:
        """Refuse more frames, or more bytes of them, than are wanted in memory."""
        most = min(self.max_frames, MAX_DECODED_BYTES // (3 * pixels))
        if num_frames > most:
            raise MediaError(
                label,
                f"{num_frames} frames" if num_frames < 1 << 40 else "an absurd number of frames",
                f"at most {most}",
                "read a part of it (start_seconds, count), or raise max_frames",
            )

    def bounded(
        self, label: str, frames: Iterable[TimedFrame], start_seconds: float, count: int | None
    ) -> Iterator[TimedFrame]:
        """Pass frames on while they keep to the limits and `count` is not reached."""
        if count == 0:
            return
        shape: tuple[int, ...] | None = None
        for number, (seconds, frame) in enumerate(frames, start=1):
            shape = frame.shape if shape is None else shape
            if frame.shape != shape:
                raise MediaError(
                    label,
                    f"a frame of {frame.shape[1]}x{frame.shape[0]} after {shape[1]}x{shape[0]}",
                    "frames of one size",
                    "cut the video where its size changes",
                )
            if seconds - start_seconds > self.max_seconds:
                raise self._too_long(label, seconds - start_seconds)
            self.check_count(label, number, frame.shape[0] * frame.shape[1])
            yield seconds, frame
            if number == count:
                return

    def _too_long(self, label: str, seconds: float) -> MediaError:
        return MediaError(
            label,
            f"{seconds:.0f} seconds",
            f"at most {self.max_seconds:g}",
            "read a part of it (start_seconds, count), or raise max_seconds",
        )
