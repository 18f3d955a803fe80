"""What a folder of prepared shards holds: `manifest.json`.

    manifest.json         written last: a folder without it is not finished
    text.safetensors      every caption, encoded once (`text_store`)
    dropped.jsonl         what was left out, of which stages, and why
    STAGE/00000.tar ...   the samples of a stage, in the layout of webdataset (`samples`)
    STAGE/index.npy       where each sample starts (`samples`)

The manifest names every file with its size and SHA-256, so that damaged, mixed-up and half-copied
folders are found before the first step (`verify`). It does not find forgery: who can write the
shards can write a manifest that fits them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from imagen_video.errors import DataError, InputError
from imagen_video.media.atomic import replacing
from imagen_video.models.spec import checked_fields

FORMAT = "imagen-video shards 1"
MANIFEST = "manifest.json"
DROPPED_FILE = "dropped.jsonl"
MAX_MANIFEST_BYTES = 1 << 28
MAX_SHARDS = 1_000_000
_NAME = re.compile(r"(?:[a-z][a-z0-9_]{0,31}/)?[a-z0-9][a-z0-9_]{0,31}\.[a-z]{1,12}")
_FIX = "prepare the data again, or copy the whole folder again"

Entry = TypeVar("Entry", bound="FileEntry")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the folder."""

    file: str
    """Its name relative to the folder: one folder deep at most, lower case."""
    bytes: int
    """Its size."""
    sha256: str
    """Of its content, hexadecimal."""

    def __post_init__(self) -> None:
        """Refuse names that could lead out of the folder, and sizes and digests that are none."""
        if not _NAME.fullmatch(self.file):
            raise _bad("a file name", repr(self.file)[:80], "a name as `data prepare` gives")
        if not 0 <= self.bytes < 1 << 62 or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise _bad(self.file, f"{self.bytes} bytes, SHA-256 {self.sha256[:80]!r}", "both")

    @classmethod
    def from_json(cls, data: Any, where: str) -> Self:
        """Rebuild from JSON values.

        Raises:
            InputError: on anything unknown, missing or mistyped.
        """
        return _built(cls, checked_fields(cls, data, where), where)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardEntry(FileEntry):
    """A tar with samples of one stage."""

    samples: int
    """How many."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEntry(FileEntry):
    """The file of encoded captions."""

    identity: Mapping[str, Any]
    """Of the encoder, as in `text_encoder.json` of a bundle."""
    captions: int
    """Distinct captions."""
    tokens: int
    """Token states, over all captions."""
    width: int
    """Of a token state."""

    @property
    def bytes_per_caption(self) -> float:
        """Bytes of the file for each distinct caption."""
        return self.bytes / self.captions

    @classmethod
    def from_json(cls, data: Any, where: str) -> Self:
        """Rebuild from JSON values.

        Raises:
            InputError: on anything unknown, missing or mistyped.
        """
        values = checked_fields(cls, data, where, skip=("identity",))
        if not isinstance(values.get("identity"), dict):
            raise _bad(f"{where}.identity", repr(values.get("identity"))[:80], "an object")
        return _built(cls, values, where)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What is said about the samples of a stage."""

    captions: int = 0
    """Samples with a caption."""
    classes: int = 0
    """Samples with a class id."""
    most_class: int = -1
    """The largest class id; -1 if there is none."""
    vectors: int = 0
    """Samples with a vector."""
    vector_width: int = 0
    """Numbers in a vector; 0 if there is none."""

    def __add__(self, other: LabelCounts) -> LabelCounts:
        return LabelCounts(
            captions=self.captions + other.captions,
            classes=self.classes + other.classes,
            most_class=max(self.most_class, other.most_class),
            vectors=self.vectors + other.vectors,
            vector_width=max(self.vector_width, other.vector_width),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageEntry:
    """The samples of one stage."""

    frames: int
    """Frames of a whole clip; clips may be shorter, but not than `min_frames`."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: float
    """Frames per second."""
    channels: int
    """Colours of a pixel."""
    min_frames: int
    """Frames of the shortest clip."""
    encoding: str
    """Of the pictures: webp (exact) or jpeg."""
    clips: int
    """Samples that move."""
    images: int
    """Samples that are still pictures."""
    labels: LabelCounts
    """What is said about them."""
    left_out: Mapping[str, int]
    """How many clips were left out, by reason."""
    index: FileEntry | None
    """Where the samples are; None if there are none."""
    shards: tuple[ShardEntry, ...]
    """The tars."""

    def __post_init__(self) -> None:
        """Refuse an index that lists nothing, or nothing that lists."""
        if sum(shard.samples for shard in self.shards) != self.clips + self.images:
            raise _bad("a stage", f"{self.clips} clips and {self.images} images", "as in its tars")
        if (self.index is None) != (not self.shards):
            raise _bad("a stage", "tars or an index alone", "both or neither")
        if self.encoding not in ("webp", "jpeg"):
            raise _bad("the encoding of a stage", repr(self.encoding)[:80], "webp or jpeg")

    @property
    def files(self) -> list[FileEntry]:
        """All its files."""
        return [*([self.index] if self.index else []), *self.shards]

    @classmethod
    def from_json(cls, data: Any, where: str) -> StageEntry:
        """Rebuild from JSON values.

        Raises:
            InputError: on anything unknown, missing or mistyped.
        """
        values = checked_fields(cls, data, where, skip=("labels", "left_out", "index", "shards"))
        shards, left_out = values.get("shards"), values.get("left_out")
        if not isinstance(shards, list | tuple) or len(shards) > MAX_SHARDS:
            raise _bad(f"{where}.shards", repr(shards)[:80], f"a list of at most {MAX_SHARDS}")
        if not isinstance(left_out, dict) or not all(type(n) is int for n in left_out.values()):
            raise _bad(f"{where}.left_out", repr(left_out)[:80], "numbers of clips by reason")
        values["shards"] = tuple(ShardEntry.from_json(s, f"{where}.shards") for s in shards)
        if values.get("index") is not None:
            values["index"] = FileEntry.from_json(values["index"], f"{where}.index")
        labels = checked_fields(LabelCounts, values.get("labels"), f"{where}.labels")
        values["labels"] = _built(LabelCounts, labels, f"{where}.labels")
        return _built(cls, values, where)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole folder."""

    format: str = FORMAT
    """Version of the layout."""
    version: str
    """Of this package when it was written."""
    cascade: str
    """Name of the cascade it was prepared for."""
    plan: str
    """SHA-256 of what was to be prepared, and how (`preparing.plan`)."""
    options: Mapping[str, Any]
    """Of `data prepare`, for people."""
    stages: Mapping[str, StageEntry]
    """By name."""
    text: TextEntry | None
    """The captions; None if there are none, or the cascade takes none."""
    dropped: FileEntry
    """The list of what was left out."""
    num_dropped: int
    """Its lines."""

    def write(self, folder: Path) -> None:
        """Write `manifest.json`.

        Raises:
            InputError: the folder cannot be written to.
            ResourceError: the disk is full.
        """
        text = json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"
        with replacing(folder / MANIFEST) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check `manifest.json`; the files that it names are not looked at.

        Raises:
            DataError: missing, damaged, or of another version.
        """
        path = folder / MANIFEST
        try:
            with path.open("rb") as stream:
                content = stream.read(MAX_MANIFEST_BYTES + 1)
            if len(content) > MAX_MANIFEST_BYTES:
                raise _bad(str(path), "a huge file", f"at most {MAX_MANIFEST_BYTES} bytes")
            return cls.from_json(json.loads(content), str(path))
        except OSError as error:
            raise DataError(
                str(path),
                error.strerror or "an error",
                "a folder that `imagen-video data prepare` has finished",
                "give the folder named by --out, or run data prepare to the end",
            ) from error
        except (InputError, ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise _bad(str(path), str(error)[:300], "a manifest as it was written") from error

    @classmethod
    def from_json(cls, data: Any, where: str) -> Manifest:
        """Rebuild from JSON values.

        Raises:
            InputError: on anything unknown, missing or mistyped.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise _bad(where, f"the format {found!r:.80}", repr(FORMAT))
        values = checked_fields(cls, data, where, skip=("options", "stages", "text", "dropped"))
        stages, text = values.get("stages"), values.get("text")
        if not isinstance(stages, dict) or not isinstance(values.get("options"), dict):
            raise _bad(where, "no stages or no options", "both")
        values["stages"] = {
            name: StageEntry.from_json(stage, f"{where}, stage {name!r:.40}")
            for name, stage in stages.items()
        }
        values["text"] = None if text is None else TextEntry.from_json(text, f"{where}, text")
        values["dropped"] = FileEntry.from_json(values.get("dropped"), f"{where}, dropped")
        return _built(cls, values, where)


_Built = TypeVar("_Built")


def _built(cls: type[_Built], values: Mapping[str, Any], where: str) -> _Built:
    try:
        return cls(**values)
    except TypeError as error:  # a required key is missing
        raise _bad(where, str(error), "every required key") from error


def _bad(where: str, got: str, expected: str) -> DataError:
    return DataError(where, got, expected, _FIX)
