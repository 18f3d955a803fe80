"""Write MP4 as frames finish: a long video is never held in memory.

Written files play everywhere: H.264, 4:2:0 chroma, BT.709 limited range and labelled so, index in
front ("faststart"). 4:2:0 needs even sides, so an odd one gets its last row or column repeated; the
true size is noted in the file's metadata and `read_video` cuts the addition off again.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from imagen_video.errors import InputError, MediaError
from imagen_video.media.atomic import replacing, writing_error
from imagen_video.media.metadata import TRUE_SIZE, encode_metadata

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_BT709 = 1  # The number of BT.709 as matrix, primaries and transfer (ITU-T H.273).
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG: black is 16, white is 235.
_MAX_SIDE = 16384  # H.264's own limit.


class VideoWriter:
    """An MP4 file that takes frames as they finish; it appears under its name when it is whole.

        with VideoWriter("video.mp4", fps=24, metadata={"prompt": prompt}) as writer:
            for frames in stage:            # uint8, f h w 3
                writer.write(frames)

    If the block raises, or no frame was written, there is no file (an older one stays).
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | Fraction,
        metadata: Mapping[str, Any] | None = None,
        *,
        crf: int = 18,
    ) -> None:
        """Check the arguments; nothing is opened yet.

        Args:
            path: a name that ends in .mp4.
            fps: frames per second, 0.1 to 1000. 23.976 is taken as 24000/1001.
            metadata: JSON values (prompt, seed, versions), stored as the file's comment.
            crf: constant rate factor of H.264, 0 (lossless luma) to 51; 18 looks like the source.

        Raises:
            InputError: another suffix, an unusable rate or quality, or metadata that is not JSON.
        """
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise InputError(
                f"writing {path}",
                f"the suffix {self.path.suffix!r}",
                ".mp4",
                "name the file *.mp4, or use write_animation for GIF and APNG",
            )
        if not (math.isfinite(fps) and 0.1 <= fps <= 1000.0):
            raise InputError("fps", str(fps), "0.1 to 1000", "give frames per second")
        if not 0 <= crf <= 51:
            raise InputError("crf", str(crf), "0 to 51", "use 18, or a higher one for small files")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._metadata = dict(metadata or {})
        encode_metadata(self._metadata)  # Fails now and not after an hour of sampling.
        self._crf = crf
        self._shape: tuple[int, int] | None = None
        self._stack = contextlib.ExitStack()
        self._temporary: Path | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self.num_frames = 0

    def __enter__(self) -> VideoWriter:
        self._temporary = self._stack.enter_context(replacing(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            with self._stack:
                self._finish()
            return
        if self._container is not None:
            # The file is thrown away; that it cannot be completed is no second error.
            with contextlib.suppress(Exception):
                self._container.close()
        self._stack.__exit__(kind, error, trace)

    def write(self, frames: np.ndarray) -> None:
        """Append frames.

        Args:
            frames: uint8 RGB, `f h w 3`, or one frame `h w 3`; all of the size of the first.

        Raises:
            MediaError: another type, shape or size, or the encoder refuses it.
            InputError: the file cannot be written to.
            ResourceError: the disk is full.
        """
        assert self._temporary is not None, "write() belongs inside the with block"
        frames = frames[None] if frames.ndim == 3 else frames
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise MediaError(
                f"writing {self.path}",
                f"an array of shape {frames.shape} and type {frames.dtype}",
                "uint8 frames (f, h, w, 3)",
                "convert the video with media.frames.to_uint8",
            )
        with self._errors():
            for frame in frames:
                self._write_one(frame)

    def _write_one(self, frame: np.ndarray) -> None:
        import av

        height, width = frame.shape[:2]
        if self._shape is None:
            self._open(width, height)
            self._shape = (height, width)
        if (height, width) != self._shape:
            raise MediaError(
                f"frame {self.num_frames} of {self.path}",
                f"{width}x{height}",
                f"{self._shape[1]}x{self._shape[0]} like the first frame",
                "write frames of one size",
            )
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        # Without the two arguments FFmpeg would convert by BT.601 and players decode by BT.709.
        picture = picture.reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        picture.pts = self.num_frames
        self._mux(picture)
        self.num_frames += 1

    def _open(self, width: int, height: int) -> None:
        import av
        from av.video.stream import VideoStream

        if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
            raise MediaError(
                f"writing {self.path}",
                f"frames of {width}x{height}",
                f"sides of 1 to {_MAX_SIDE} pixels",
                "resize the frames",
            )
        codec, options = _encoder(self._crf)
        assert self._temporary is not None
        container = av.open(
            str(self._temporary), mode="w", format="mp4", options={"movflags": "faststart"}
        )
        self._container = container
        true_size = {} if width % 2 == height % 2 == 0 else {TRUE_SIZE: [width, height]}
        container.metadata["comment"] = encode_metadata(self._metadata | true_size)
        stream = container.add_stream(codec, rate=self._rate, options=options)
        assert isinstance(stream, VideoStream)
        stream.width = width + width % 2
        stream.height = height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._stream = stream

    def _mux(self, picture: Any) -> None:
        assert self._container is not None
        assert self._stream is not None
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def _finish(self) -> None:
        if self._container is None:
            raise MediaError(
                f"writing {self.path}", "no frames", "at least one frame", "write a frame first"
            )
        with self._errors():
            try:
                self._mux(None)
            finally:
                self._container.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from av.error import FFmpegError

        try:
            yield
        except FFmpegError as error:
            if isinstance(error, OSError):
                raise writing_error(self.path, error) from error
            raise MediaError(
                f"writing {self.path}",
                error.strerror or str(error),
                "frames that the encoder takes",
                "check the size of the frames, or write an APNG with write_animation",
            ) from error


def _encoder(crf: int) -> tuple[str, dict[str, str]]:
    """Choose H.264, or MPEG-4 Part 2 where this FFmpeg was built without x264."""
    import av

    try:
        av.Codec("libx264", "w")
    except ValueError:  # UnknownCodecError is one.
        warnings.warn(
            "this build of PyAV has no libx264: writing MPEG-4 Part 2, which browsers do not play; "
            "install PyAV from its wheels (pip install --force-reinstall av) for H.264",
            UserWarning,
            stacklevel=6,
        )
        # 118 is FFmpeg's unit of the quantiser (FF_QP2LAMBDA); 2 is its finest useful step.
        return "mpeg4", {"flags": "+qscale", "global_quality": str(2 * 118)}
    return "libx264", {"crf": str(crf)}


def write_video(
    path: str | Path,
    frames: np.ndarray | Iterable[np.ndarray],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write an MP4 file; see `VideoWriter` for the arguments, the file and the errors.

    Args:
        path: a name that ends in .mp4.
        frames: uint8 RGB `f h w 3`, or an iterable of frames or of such arrays.
        fps: frames per second.
        metadata: JSON values, stored as the file's comment.
    """
    with VideoWriter(path, fps, metadata) as writer:
        for part in [frames] if isinstance(frames, np.ndarray) else frames:
            writer.write(part)
