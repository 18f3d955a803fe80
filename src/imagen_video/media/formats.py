"""Which file is this? Decided by its first bytes, then held against its name.

The demuxer is chosen from this table and never guessed by FFmpeg: a text file that FFmpeg would
take for a playlist could make it read other files or reach the network.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imagen_video.errors import MediaError

Source = str | Path | bytes
"""A file's path, or its content (a member of an archive)."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file that can be read."""

    name: str
    """What people call it."""

    suffixes: tuple[str, ...]
    """The file names that fit."""

    demuxer: str | None = None
    """FFmpeg's name for it; None for pictures, which Pillow reads."""


MP4 = Format(name="MP4", suffixes=(".mp4", ".m4v", ".mov"), demuxer="mov")
WEBM = Format(name="WebM", suffixes=(".webm", ".mkv"), demuxer="matroska")
AVI = Format(name="AVI", suffixes=(".avi",), demuxer="avi")
GIF = Format(name="GIF", suffixes=(".gif",))
WEBP = Format(name="WebP", suffixes=(".webp",))
PNG = Format(name="PNG", suffixes=(".png", ".apng"))
JPEG = Format(name="JPEG", suffixes=(".jpg", ".jpeg"))

# (offset, bytes) pairs that must all match.
_SIGNATURES: tuple[tuple[Format, tuple[tuple[int, bytes], ...]], ...] = (
    (MP4, ((4, b"ftyp"),)),
    (MP4, ((4, b"moov"),)),  # QuickTime files from before the ftyp box.
    (MP4, ((4, b"wide"),)),
    (WEBM, ((0, b"\x1a\x45\xdf\xa3"),)),
    (AVI, ((0, b"RIFF"), (8, b"AVI "))),
    (WEBP, ((0, b"RIFF"), (8, b"WEBP"))),
    (GIF, ((0, b"GIF87a"),)),
    (GIF, ((0, b"GIF89a"),)),
    (PNG, ((0, b"\x89PNG\r\n\x1a\n"),)),
    (JPEG, ((0, b"\xff\xd8\xff"),)),
)


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """A file whose format is known, positioned at its start."""

    label: str
    """How messages call it."""

    format: Format
    """What it holds."""

    stream: BinaryIO
    """Its bytes."""

    size: int
    """How many there are."""


@contextlib.contextmanager
def opened(source: Source) -> Iterator[OpenedFile]:
    """Open a file and find out what it is.

    Args:
        source: a path, or the bytes themselves.

    Yields:
        The open file.

    Raises:
        MediaError: missing, not a regular file, unreadable, empty, of an unknown format, or named
            like another format.
    """
    if isinstance(source, bytes):
        yield _identified("a file in memory", io.BytesIO(source), len(source), suffix=None)
        return
    path = Path(source)
    if not path.is_file():
        # A pipe or a device could block for ever, so only regular files.
        found = "something that is not a regular file" if path.exists() else "no such file"
        raise MediaError(str(path), found, "a video or picture file", "check the path")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise MediaError(
            str(path), error.strerror or "an error", "a readable file", "check its permissions"
        ) from error
    with stream:
        yield _identified(str(path), stream, path.stat().st_size, path.suffix.lower())


def _identified(label: str, stream: BinaryIO, size: int, suffix: str | None) -> OpenedFile:
    head = stream.read(16)
    stream.seek(0)
    if not head:
        raise MediaError(label, "an empty file", "a video or picture", "copy or record it again")
    found = next((kind for kind, marks in _SIGNATURES if _matches(head, marks)), None)
    if found is None:
        raise MediaError(
            label,
            "content of an unknown kind",
            "MP4, WebM, AVI, GIF, WebP, PNG or JPEG",
            "convert it to MP4 (H.264)",
        )
    if suffix is not None and suffix not in found.suffixes:
        raise MediaError(
            label,
            f"{found.name} content under the name {suffix or 'without a suffix'}",
            " or ".join(found.suffixes),
            f"rename it to end in {found.suffixes[0]}",
        )
    return OpenedFile(label=label, format=found, stream=stream, size=size)


def _matches(head: bytes, marks: tuple[tuple[int, bytes], ...]) -> bool:
    return all(head[start : start + len(mark)] == mark for start, mark in marks)
