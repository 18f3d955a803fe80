"""Any part of any sample of a stage, straight out of its tar (`samples` describes the files)."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagen_video.data.shards.framing import Box
from imagen_video.data.shards.manifest import ShardEntry, StageEntry
from imagen_video.data.shards.pieces import Piece, PieceLayout, overlap, place
from imagen_video.data.shards.samples import (
    BLOCK,
    INDEX_DTYPE,
    MAX_FACTS_BYTES,
    Facts,
    member_header,
    padded,
    sample_key,
)
from imagen_video.errors import DataError, MediaError

_FIX = "copy the folder again, or prepare the data again"


class ShardReader:
    """The samples of a stage by number. Threads share it."""

    def __init__(self, folder: Path, entry: StageEntry) -> None:
        """Read the index.

        Args:
            folder: of the data set.
            entry: of the stage.

        Raises:
            DataError: damaged, or not what the manifest says.
        """
        self._folder = folder
        self._entry = entry
        self.index = _read_index(folder, entry)
        """As `samples.INDEX_DTYPE`, one row a sample."""
        self.layout = PieceLayout(
            height=entry.height,
            width=entry.width,
            channels=entry.channels,
            encoding="jpeg" if entry.encoding == "jpeg" else "webp",
        )
        """How samples are cut into pictures."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.index)

    def read(
        self, number: int, frames: range | None = None, box: Box | None = None
    ) -> tuple[np.ndarray, Facts]:
        """Read a sample, or a part of it: no picture is decoded that is not needed.

        Args:
            number: from 0.
            frames: consecutive frames; None for all.
            box: a rectangle of them; None for whole frames.

        Returns:
            uint8 pixels `(f, h, w, c)`, and the facts.

        Raises:
            DataError: the tar is gone, damaged, or not what index and manifest say.
        """
        row, layout = self.index[number], self.layout
        shard = self._entry.shards[int(row["shard"])]
        frames = range(int(row["frames"])) if frames is None else frames
        box = box or Box(top=0, left=0, height=layout.height, width=layout.width)
        assert 0 <= frames.start < frames.stop <= row["frames"]
        pixels = np.empty((len(frames), box.height, box.width, layout.channels), np.uint8)
        try:
            with _Tar.opened(self._folder / shard.file, shard) as tar:
                key = sample_key(int(row["record"]), int(row["window"]))
                facts, members = self._members(tar, row, key)
                for piece, offset, size in members:
                    if overlap(piece, frames, box):
                        name = f"{key}.{piece.suffix}.{layout.encoding}"
                        picture = layout.decode(piece, tar.member(name, offset, size))
                        place(piece, picture, pixels, frames, box)
        except (_Damaged, MediaError, OSError) as error:
            raise DataError(
                f"sample {number} in {self._folder / shard.file}",
                str(error)[:300],
                "what its manifest says",
                _FIX,
            ) from error
        return pixels, facts

    def _members(
        self, tar: _Tar, row: np.void, key: str
    ) -> tuple[Facts, Iterator[tuple[Piece, int, int]]]:
        """Return the facts, and each piece with where its member starts and how long it is."""
        offset, size = int(row["offset"]), int(row["facts"])
        try:
            facts, sizes = Facts.from_json(tar.member(f"{key}.json", offset, size))
        except ValueError as error:
            raise _Damaged(str(error)) from error
        pieces = list(self.layout.pieces(int(row["frames"])))
        found = (facts.frames, facts.image, facts.window, len(sizes))
        if found != (row["frames"], row["image"], row["window"], len(pieces)):
            raise _Damaged("facts that do not fit the index")
        return facts, _placed(pieces, sizes, offset + BLOCK + padded(size))


def _placed(pieces: list[Piece], sizes: list[int], offset: int) -> Iterator[tuple[Piece, int, int]]:
    for piece, size in zip(pieces, sizes, strict=True):
        yield piece, offset, size
        offset += BLOCK + padded(size)


class _Damaged(Exception):
    """A tar is not what it should be."""


class _Tar:
    """An open tar."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, entry: ShardEntry) -> Iterator[_Tar]:
        """Open without following a link."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != entry.bytes:
                raise _Damaged(f"{found.st_size} bytes instead of {entry.bytes}")
            yield cls(descriptor, entry.bytes)
        finally:
            os.close(descriptor)

    def member(self, name: str, offset: int, size: int) -> bytes:
        """Return the content of a member that must be there, with exactly our header."""
        if offset % BLOCK or size > self._size or offset + BLOCK + size > self._size:
            raise _Damaged(f"{name} would lie outside the tar")
        data = os.pread(self._descriptor, BLOCK + size, offset)
        if data[:BLOCK] != member_header(name, size):
            raise _Damaged(f"another member than {name} of {size} bytes at {offset}")
        if len(data) != BLOCK + size:
            raise _Damaged(f"{name} is cut off")
        return data[BLOCK:]


def _read_index(folder: Path, entry: StageEntry) -> np.ndarray:
    """Read `index.npy` of a stage and check every row.

    Raises:
        DataError: if it is not an index, or leads out of the tars.
    """
    if entry.index is None:
        return np.zeros(0, INDEX_DTYPE)
    path = folder / entry.index.file
    try:
        # Mapped, so that a header cannot claim more than there is; then copied, because a mapped
        # file that shrinks would end the process with a signal.
        index = np.array(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(str(path), str(error)[:200], "an index", _FIX) from error
    if index.dtype != INDEX_DTYPE or index.ndim != 1:
        raise DataError(str(path), "another array", "an index of samples", _FIX)
    sizes = np.array([shard.bytes for shard in entry.shards], np.uint64)
    counts = [shard.samples for shard in entry.shards]
    sound = (
        len(index) == entry.clips + entry.images
        and (index["shard"] < len(sizes)).all()
        and np.array_equal(np.bincount(index["shard"], minlength=len(sizes)), counts)
        and (index["offset"] < sizes[index["shard"]]).all()
        and (index["facts"] <= MAX_FACTS_BYTES).all()
        and (index["image"] <= 1).all()
        and int(index["image"].sum()) == entry.images
        and ((index["frames"] == 1) | (index["image"] == 0)).all()
        and (index["frames"] >= np.where(index["image"] == 1, 1, entry.min_frames)).all()
        and (index["frames"] <= entry.frames).all()
    )
    if not sound:
        raise DataError(str(path), "rows that do not fit the manifest", "one a sample", _FIX)
    return index
