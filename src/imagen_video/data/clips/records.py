"""What a clip is before anybody has decoded it: where its bytes lie and what is said about it.

A record is a plain value that survives JSON, so that worker processes and journals can carry it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from imagen_video.data.clips.faults import ClipError, Dropped
from imagen_video.data.clips.labels import Label

__all__ = ["ClipError", "DataLimits", "Dropped", "Kind", "MediaFile", "Record"]

Kind = Literal["video", "animation", "image", "array"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataLimits:
    """How much of a stranger's file we are willing to read or decode. Checked before allocating."""

    max_pixels: int = 4096 * 2304
    """Height times width of a frame of anything that moves."""
    max_image_pixels: int = 8192 * 8192
    """Height times width of a still picture."""
    max_frames: int = 500_000
    """Frames of one clip (5.8 hours at 24 per second)."""
    max_seconds: float = 6 * 3600.0
    """Length of one clip."""
    max_member_bytes: int = 2 << 30
    """A member of a tar is held in memory while it is read."""
    max_result_bytes: int = 8 << 30
    """Pixels that one call of `read_frames` or `read_at_times` returns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MediaFile:
    """Where the bytes are: a file, a member of an uncompressed tar, or a folder of frames."""

    path: Path
    """The file; the tar; or the folder whose pictures are the frames."""
    member: str | None = None
    """The member's name, if `path` is a tar."""
    offset: int = 0
    """Where the member's bytes start in the tar."""
    size: int = 0
    """Bytes of the file or member, when it was discovered; of all frames in a folder of frames."""
    modified_ns: int = 0
    """Modification time of `path`, when it was discovered."""
    frames: tuple[str, ...] = ()
    """File names of the frames in order, if `path` is a folder of frames."""

    @property
    def suffix(self) -> str:
        """The lower-case suffix that says what this should be; of the first frame in a folder."""
        name = self.frames[0] if self.frames else self.member or self.path.name
        return Path(name).suffix.lower()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One clip or picture with its label."""

    id: str
    """Stable name: the path relative to the root with `/`, or `archive.tar!member`."""
    media: MediaFile
    """Its bytes."""
    kind: Kind
    """By name and first bytes. An animation may turn out to have a single frame (see `Probe`)."""
    label: Label
    """What is known about it; may be empty."""
    fps: float | None = None
    """Frames per second of arrays and folders of frames, which do not say it themselves."""
    value_range: tuple[float, float] = (0.0, 1.0)
    """What 0 and 255 mean in arrays of floating-point numbers: (0, 1) or (-1, 1)."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = dataclasses.asdict(self)
        values["media"]["path"] = str(self.media.path)
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Record:
        """Rebuild what `to_json` wrote (our own worker's or journal's, not a stranger's)."""
        media = dict(values["media"])
        media["path"] = Path(media["path"])
        media["frames"] = tuple(media["frames"])
        label = dict(values["label"])
        if label["vector"] is not None:
            label["vector"] = tuple(label["vector"])
        return cls(
            id=values["id"],
            media=MediaFile(**media),
            kind=values["kind"],
            label=Label(**label),
            fps=values["fps"],
            value_range=(values["value_range"][0], values["value_range"][1]),
        )
