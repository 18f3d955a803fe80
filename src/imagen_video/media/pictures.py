"""Read and write pictures, still or moving, with Pillow: PNG, APNG, GIF, WebP, JPEG.

A transparent pixel is shown on white, as a page would show it. Pillow opens a file without
decoding it, so sizes and frame counts are known before any memory is spent on pixels.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from imagen_video.errors import InputError, MediaError
from imagen_video.media.atomic import replacing
from imagen_video.media.formats import OpenedFile, Source, opened
from imagen_video.media.limits import ReadLimits, TimedFrame, VideoInfo
from imagen_video.media.metadata import decode_metadata, encode_metadata

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

_DEFAULT_MILLISECONDS = 100.0
"""Browsers show a frame that names no duration (or one up to 10 ms) for this long."""


def picture_info(file: OpenedFile) -> VideoInfo:
    """Return what the header says; a still picture is a video of one frame.

    Raises:
        MediaError: damaged, or not a picture after all.
    """
    with _decoding(file) as image:
        milliseconds = _milliseconds(image)
        return VideoInfo(
            format=file.format.name,
            codec=file.format.name.lower(),
            width=image.width,
            height=image.height,
            fps=1000.0 / milliseconds,
            num_frames=getattr(image, "n_frames", 1),
            seconds=None,
            metadata=decode_metadata(image.info.get("comment")),
        )


def picture_frames(
    file: OpenedFile, limits: ReadLimits, start_seconds: float = 0.0
) -> Iterator[TimedFrame]:
    """Decode the frames of a GIF, WebP or APNG, each with its start in seconds.

    Args:
        file: an open picture file.
        limits: what to refuse.
        start_seconds: frames that start earlier are left out.

    Yields:
        Seconds since the first frame, and the frame as uint8 RGB.

    Raises:
        MediaError: the data is damaged or cut off, or a frame is over a limit.
    """
    for start, _, frame in shown_pictures(file, limits):
        if start >= start_seconds:
            yield start, frame


def shown_pictures(
    file: OpenedFile, limits: ReadLimits
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Decode the frames of a GIF, WebP or APNG, each with its start and its end in seconds.

    Args:
        file: an open picture file.
        limits: what to refuse.

    Yields:
        Start and end in seconds since the first frame, and the frame as uint8 RGB.

    Raises:
        MediaError: the data is damaged or cut off, or a frame is over a limit.
    """
    with _decoding(file) as image:
        limits.check_size(file.label, image.width, image.height)
        milliseconds = 0.0
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frame = _rgb(image)
            start, milliseconds = milliseconds, milliseconds + _milliseconds(image)
            yield start / 1000.0, milliseconds / 1000.0, frame


def read_image(source: Source, max_pixels: int = 8192 * 8192) -> UInt8[np.ndarray, "h w 3"]:
    """Read a picture (the first frame of a moving one) as uint8 RGB.

    Args:
        source: a path, or the file's bytes.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        The picture, turned upright if a camera noted how it was held.

    Raises:
        MediaError: missing, damaged, too large, a video, or named like another format.
    """
    with opened(source) as file:
        if file.format.demuxer is not None:
            raise MediaError(
                file.label, f"a video ({file.format.name})", "a picture", "use read_video for it"
            )
        limits = ReadLimits(max_pixels=max_pixels)
        with _decoding(file) as image:
            limits.check_size(file.label, image.width, image.height)
            return from_image(image)


def from_image(image: Image) -> UInt8[np.ndarray, "h w 3"]:
    """Return a Pillow image as uint8 RGB, turned upright if a camera noted how it was held."""
    from PIL import ImageOps

    return _rgb(ImageOps.exif_transpose(image))


def write_png(
    path: str | Path,
    image: UInt8[np.ndarray, "h w 3"],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write one picture; the file appears whole or not at all.

    Args:
        path: a name that ends in .png.
        image: uint8 RGB.
        metadata: JSON values, stored as the text field "comment".

    Raises:
        InputError: another suffix, or a folder that cannot be written to.
        ResourceError: the disk is full.
    """
    from PIL import Image

    _check_suffix(path, (".png",))
    with replacing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(
            temporary, format="PNG", pnginfo=_png_text(metadata)
        )


def write_animation(
    path: str | Path,
    frames: UInt8[np.ndarray, "f h w 3"],
    fps: float,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a GIF (256 colours a frame) or an APNG (exact), repeating for ever.

    For pages that show no MP4. The whole animation is held in memory. GIF counts time in 1/100 s:
    single frames are a little longer or shorter, the whole takes as long as it should. Equal
    frames that follow each other are stored as one that lasts longer.

    Args:
        path: a name that ends in .gif, .png or .apng.
        frames: uint8 RGB, at least one.
        fps: frames per second, up to 50 for GIF.
        metadata: JSON values, stored as the comment.

    Raises:
        InputError: another suffix, no frames, an unusable rate, or an unwritable folder.
        ResourceError: the disk is full.
    """
    from PIL import Image

    suffix = _check_suffix(path, (".gif", ".png", ".apng"))
    if not len(frames) or not 0.1 <= fps <= (50 if suffix == ".gif" else 1000):
        raise InputError(
            f"writing {path}",
            f"{len(frames)} frames at {fps} per second",
            "at least one frame, 0.1 to 50 (GIF) or 1000 frames per second",
            "write an MP4 for higher rates",
        )
    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    tick = 10 if suffix == ".gif" else 1  # milliseconds
    ends = [tick * round((index + 1) * 1000.0 / fps / tick) for index in range(len(images))]
    durations = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    options: dict[str, Any] = {"save_all": True, "append_images": images[1:], "loop": 0}
    if suffix == ".gif":
        options |= {"format": "GIF", "comment": encode_metadata(metadata or {})}
    else:
        options |= {"format": "PNG", "pnginfo": _png_text(metadata)}
    with replacing(path) as temporary:
        images[0].save(temporary, duration=durations, **options)


def _check_suffix(path: str | Path, allowed: Sequence[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in allowed:
        raise InputError(
            f"writing {path}",
            f"the suffix {suffix!r}",
            " or ".join(allowed),
            f"name the file *{allowed[0]}",
        )
    return suffix


def _png_text(metadata: Mapping[str, Any] | None) -> PngInfo:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if metadata:
        info.add_text("comment", encode_metadata(metadata))
    return info


@contextlib.contextmanager
def _decoding(file: OpenedFile) -> Iterator[Image]:
    """Open with Pillow; whatever a damaged file makes it raise becomes a MediaError."""
    from PIL import Image

    file.stream.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow's own alarm for huge pictures: ours is stricter and comes right after.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file.stream, formats=[file.format.name.upper()])
        with image:
            yield image
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        # Pillow's parsers raise a dozen kinds (OSError, SyntaxError, ValueError, struct.error, ...)
        # for damaged files, and the list differs from version to version.
        raise MediaError(
            file.label,
            f"{file.format.name} data that cannot be decoded ({error})",
            f"a complete {file.format.name} file",
            "copy or download it again, or save it anew",
        ) from error


def _milliseconds(image: Image) -> float:
    duration = float(image.info.get("duration", 0.0) or 0.0)
    return duration if duration > 10.0 else _DEFAULT_MILLISECONDS


def _rgb(image: Image) -> np.ndarray:
    from PIL import Image as PillowImage

    if image.mode in ("RGB", "L"):
        return np.array(image.convert("RGB"))
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip at 255, nearly all white.
        grey = (np.clip(np.array(image), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    shown = image.convert("RGBA")
    page = PillowImage.new("RGBA", shown.size, (255, 255, 255, 255))
    return np.array(PillowImage.alpha_composite(page, shown).convert("RGB"))
