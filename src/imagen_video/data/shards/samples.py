"""Samples of one stage in tars, in the layout of webdataset.

A sample is a run of members with one key: `KEY.json`, what is known about it and the sizes of its
pictures, and `KEY.f00000.r00000.webp`, ..., its pixels (`pieces`). webdataset reads these tars (the
tests do); training does not use it: it streams tars from front to back, shuffling what is in a
buffer, so that a step cannot be had without all steps before it. Here `index.npy` says where each
sample starts, and two or three reads of a file give any part of any sample.

Reading trusts nothing. Every header must be, byte for byte, the one that the writer makes for the
name and size expected there, so there is no link, device, `..` or odd size that could be followed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from imagen_video.data.clips.labels import Label
from imagen_video.data.shards.manifest import LabelCounts, ShardEntry
from imagen_video.data.shards.pieces import PieceLayout
from imagen_video.media.atomic import replacing

BLOCK = 512
MAX_FACTS_BYTES = 1 << 20
INDEX_FILE = "index.npy"
INDEX_DTYPE = np.dtype(
    [
        ("shard", "<u4"),  # position in the manifest's list
        ("record", "<u4"),  # with the window, the key
        ("window", "<u4"),
        ("offset", "<u8"),  # of the header of the sample's first member
        ("facts", "<u4"),  # bytes of that member
        ("frames", "<u4"),
        ("image", "u1"),  # 1 = a still picture
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about a sample besides its pixels."""

    id: str
    """Of the clip that it was cut from."""
    window: int
    """Which window of that clip."""
    start: float
    """Where the window starts in the clip, seconds."""
    frames: int
    """Number of frames."""
    image: bool
    """Whether the clip is a still picture."""
    label: Label
    """What is said about it."""

    @property
    def counts(self) -> LabelCounts:
        """Its label as counts."""
        label = self.label
        return LabelCounts(
            captions=int(label.caption is not None),
            classes=int(label.class_id is not None),
            most_class=-1 if label.class_id is None else label.class_id,
            vectors=int(label.vector is not None),
            vector_width=len(label.vector or ()),
        )

    def to_json(self, sizes: list[int]) -> bytes:
        """Return the content of the member, with the sizes of the pictures after it."""
        values = {**dataclasses.asdict(self), "pieces": sizes}
        return json.dumps(values, sort_keys=True).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> tuple[Facts, list[int]]:
        """Read and check the content of the member.

        Raises:
            ValueError: on anything missing, unknown or mistyped.
        """
        try:
            values = json.loads(data)
            sizes = values.pop("pieces")
            label = Label(**values.pop("label"))
            if label.vector is not None:
                label = dataclasses.replace(label, vector=tuple(label.vector))
            facts = cls(**values, label=label)
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"facts that are none ({error!s:.100})") from error
        sound = (
            isinstance(facts.id, str)
            and type(facts.window) is int
            and type(facts.frames) is int
            and isinstance(facts.start, int | float)
            and type(facts.image) is bool
            and isinstance(sizes, list)
            and all(type(size) is int and size > 0 for size in sizes)
            and _is_label(label)
        )
        if not sound:
            raise ValueError("facts of a wrong type")
        return facts, sizes


def _is_label(label: Label) -> bool:
    vector = label.vector
    return (
        (label.caption is None or isinstance(label.caption, str))
        and (label.class_id is None or (type(label.class_id) is int and label.class_id >= 0))
        and (vector is None or all(type(n) in (int, float) and math.isfinite(n) for n in vector))
    )


def member_header(name: str, size: int) -> bytes:
    """Return the tar header of a regular file (POSIX ustar); the same for the same arguments."""
    encoded = name.encode("ascii")
    assert len(encoded) < 100
    assert 0 <= size < 8**11
    header = bytearray(BLOCK)
    header[: len(encoded)] = encoded
    header[100:124] = b"0000644\0" + b"0000000\0" * 2  # mode, owner, group
    header[124:148] = b"%011o\0%011o\0" % (size, 0)  # size, time
    header[148:157] = b" " * 8 + b"0"  # checksum, kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def padded(size: int) -> int:
    """Return a member's size in the tar, without its header."""
    return -(-size // BLOCK) * BLOCK


def sample_key(record: int, window: int) -> str:
    """Return the key of a sample, unique in a stage: which clip, and which window of it."""
    return f"{record:09d}-{window:04d}"


class ShardWriter:
    """Writes one tar, which appears when the block ends well; without samples none does.

    with ShardWriter(folder, "base/00000.tar", layout) as writer:
        writer.add(record, facts, pixels)
    writer.entry, writer.rows
    """

    def __init__(self, folder: Path, name: str, layout: PieceLayout) -> None:
        self._path = folder / name
        self._name = name
        self._layout = layout
        self._stack = contextlib.ExitStack()
        self._stream: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self.labels = LabelCounts()
        """Of the samples so far."""
        self.rows: list[list[int]] = []
        """The index's rows so far, without the shard."""

    def __enter__(self) -> ShardWriter:
        """Prepare; nothing is opened before the first sample."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the tar in place, or leave nothing of it.

        Raises:
            ResourceError: the disk is full.
        """
        if self._stream is None or error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._write(bytes(2 * BLOCK))

    @property
    def entry(self) -> ShardEntry | None:
        """What the manifest says about the finished tar."""
        if self._stream is None:
            return None
        return ShardEntry(
            file=self._name,
            bytes=self._size,
            sha256=self._digest.hexdigest(),
            samples=len(self.rows),
        )

    def add(self, record: int, facts: Facts, pixels: UInt8[np.ndarray, "f h w c"]) -> None:
        """Append a sample.

        Args:
            record: number of the clip among all clips.
            facts: what is known about it.
            pixels: whole frames, at the size of the stage.

        Raises:
            ResourceError: the disk is full.
        """
        layout = self._layout
        assert pixels.shape == (facts.frames, layout.height, layout.width, layout.channels)
        pieces = list(layout.pieces(facts.frames))
        pictures = [layout.encode(piece, pixels) for piece in pieces]
        content = facts.to_json([len(picture) for picture in pictures])
        if self._stream is None:
            temporary = self._stack.enter_context(replacing(self._path))
            self._stream = self._stack.enter_context(temporary.open("wb"))
        key = sample_key(record, facts.window)
        place = [record, facts.window, self._size, len(content)]
        self._member(f"{key}.json", content)
        for piece, picture in zip(pieces, pictures, strict=True):
            self._member(f"{key}.{piece.suffix}.{layout.encoding}", picture)
        self.rows.append([*place, facts.frames, int(facts.image)])
        self.labels += facts.counts

    def _member(self, name: str, content: bytes) -> None:
        self._write(member_header(name, len(content)))
        self._write(content + bytes(padded(len(content)) - len(content)))

    def _write(self, data: bytes) -> None:
        assert self._stream is not None
        self._stream.write(data)
        self._digest.update(data)
        self._size += len(data)


def index_array(rows: dict[int, list[list[int]]]) -> Any:
    """Return `index.npy` of a stage from the rows of its tars, by position of the tar."""
    flat = [(shard, *row) for shard, of_shard in sorted(rows.items()) for row in of_shard]
    return np.array(flat, dtype=INDEX_DTYPE)


def write_index(path: Path, index: np.ndarray) -> None:
    """Write an index.

    Raises:
        ResourceError: the disk is full.
    """
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, index)
