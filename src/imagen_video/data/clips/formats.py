"""What a clip's name and first bytes say it is, without decoding anything."""

from __future__ import annotations

from typing import BinaryIO

from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.records import Kind
from imagen_video.errors import MediaError
from imagen_video.media.formats import AVI, GIF, JPEG, MP4, PNG, WEBM, WEBP, Format, opened

HEAD_BYTES = 64
ARRAY_SUFFIX = ".npy"
_ARRAY_MAGIC = b"\x93NUMPY"

KINDS: dict[str, Kind] = {
    **{suffix: "video" for kind in (MP4, WEBM, AVI) for suffix in kind.suffixes},
    **{suffix: "animation" for kind in (GIF,) for suffix in kind.suffixes},
    **{suffix: "image" for kind in (WEBP, PNG, JPEG) for suffix in kind.suffixes},
    ARRAY_SUFFIX: "array",
}
"""By suffix; WebP and PNG are animations if their header says so."""

UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(
        (".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".m2ts", ".3gp", ".ogv", ".mxf", ".y4m"),
        "convert it to MP4 (H.264)",
    ),
    **dict.fromkeys(
        (".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".jp2"), "convert it to PNG"
    ),
    **dict.fromkeys(
        (".npz", ".h5", ".hdf5", ".mat", ".nii", ".dcm", ".pt", ".pkl"),
        "save it as .npy, frames x height x width x channels",
    ),
    **dict.fromkeys((".gz", ".tgz", ".zip", ".zst", ".bz2", ".xz", ".7z", ".rar"), "unpack it"),
}
"""Suffixes of clips, or of archives of them, that are not read; and what to do."""

_MOST_CHUNKS = 64


def check_format(ident: str, head: bytes, suffix: str) -> Format | None:
    """Hold the first bytes against the name.

    Args:
        ident: what to call the clip.
        head: its first HEAD_BYTES.
        suffix: of its name, lower-case.

    Returns:
        Its format; None for an array.

    Raises:
        ClipError: empty, not a format that is read, or another one than the name says.
    """
    if not head:
        raise ClipError("empty file", ident, "0 bytes", "a video or picture", "copy it again")
    if head.startswith(_ARRAY_MAGIC):
        found, suffixes, kind = "NPY", (ARRAY_SUFFIX,), None
    else:
        try:
            with opened(head) as file:
                kind = file.format
        except MediaError as error:
            raise ClipError("unreadable", ident, error.got, error.expected, error.fix) from error
        found, suffixes = kind.name, kind.suffixes
    if suffix not in suffixes:
        raise ClipError(
            "wrong extension",
            ident,
            f"{found} content under the name {suffix or 'without a suffix'}",
            " or ".join(suffixes),
            f"rename it to end in {suffixes[0]}",
        )
    return kind


def moves(stream: BinaryIO) -> bool:
    """Return whether a PNG or WebP file says that it is an animation.

    Reads headers only. What is neither, or damaged, does not move.
    """
    head = stream.read(32)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return bool(head[20] & 0x02)  # the animation flag (WebP Container Specification)
    if not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    stream.seek(8)
    for _ in range(_MOST_CHUNKS):  # acTL stands before IDAT (PNG, third edition, 11.3.6)
        chunk = stream.read(8)
        if len(chunk) < 8 or chunk[4:] == b"IDAT":
            return False
        if chunk[4:] == b"acTL":
            return True
        stream.seek(int.from_bytes(chunk[:4], "big") + 4, 1)
    return False


def picture_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, GIF or WebP from its first 30 bytes; None for the rest.

    The WebP decoder allocates the canvas as it opens a file, so it must not be asked first.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return width, height
