"""The sprite store: every picture of the corpus at four sizes, mapped into memory.

A store is a folder: `index.json` and one raw file of premultiplied RGBA bytes per size, all frames
of all sprites one after another (n, size, size, 4). Raw bytes and JSON only: nothing in a store can
run code. Sizes are checked before anything is mapped, so a truncated or hostile folder is an error
message, not a crash.

Replacing a store is safe while it is read: data files have fresh names, the index is replaced last,
and readers keep the files that they mapped.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from imagen_video.errors import DataError
from imagen_video.media.atomic import writing_error

FORMAT = "imagen-video-sprites"
VERSION = 1
INDEX_NAME = "index.json"
LEVELS = (256, 128, 64, 32)
"""Sides of the stored sizes in pixels, largest first."""

MAX_INDEX_BYTES = 16 * 2**20
MAX_FRAMES = 200_000
"""Limits against hostile stores; the shipped corpus needs 2 MB and about 13,000 frames."""


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """One picture or animation of the store."""

    key: str
    """`style/name`, for instance `animation/1f40e`, `solid/cube`, `glyph/A`."""
    first: int
    """Number of its first frame in the data files."""
    count: int
    """Number of frames; 1 for a still."""
    box: tuple[float, float, float, float]
    """Where the content lies in the cell: left, top, right, bottom in 0..1."""
    tinted: bool
    """True when red, green and blue hold shares of the tint, its accent and white (solids,
    letters)."""
    source: str
    """Package and file that it was made from, or `code`."""
    licence: str
    """Licence of the source, as an SPDX expression."""
    sha256: str
    """Digest of the source file, empty when made in code."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A thing that scenes are about."""

    codepoint: str
    """Unicode code points in hex joined by `-`; names its sprites."""
    name: str
    """Short unique name."""
    noun: str
    """Noun phrase with its article: `a horse`."""
    verb: str
    """What its own animation does, as a participle: `galloping`."""
    family: str
    """Near-identical subjects share one; the held-out pairs are drawn by family."""
    facing: str = ""
    """`left` or `right` where its pictures show a side view, so that it does not move backwards."""


class SpriteStore:
    """An open store, read through memory maps; safe to share between forked workers."""

    def __init__(
        self,
        *,
        folder: Path,
        sprites: dict[str, Sprite],
        subjects: tuple[Subject, ...],
        frames: dict[int, np.ndarray],
    ) -> None:
        """Use `SpriteStore.open`.

        Args:
            folder: where it lies.
            sprites: by key.
            subjects: in the order of the index.
            frames: size -> uint8 array (n, size, size, 4).
        """
        self.folder = folder
        self.sprites = sprites
        self.subjects = subjects
        self.levels = tuple(sorted(frames, reverse=True))
        self._frames = frames

    @classmethod
    def open(cls, folder: str | Path) -> SpriteStore:
        """Open and check a store.

        Args:
            folder: the store's folder.

        Raises:
            DataError: if something is missing, or sizes do not agree with the index.
        """
        folder = Path(folder)
        index = _read_index(folder / INDEX_NAME)
        total = index["frames"]
        frames: dict[int, np.ndarray] = {}
        for level in index["levels"]:
            size, path = level["size"], folder / level["file"]
            wanted = total * size * size * 4
            found = path.stat().st_size if path.is_file() else -1
            if found != wanted:
                raise _damaged(
                    path, "no file" if found < 0 else f"{found} bytes", f"{wanted} bytes"
                )
            mapped = np.memmap(path, dtype=np.uint8, mode="r", shape=(total, size, size, 4))
            frames[size] = np.asarray(mapped)
        return cls(
            folder=folder, sprites=index["sprites"], subjects=index["subjects"], frames=frames
        )

    def frame(self, sprite: Sprite, number: int, level: int) -> np.ndarray:
        """One frame, a view of the file.

        Args:
            sprite: one of `sprites`.
            number: any integer; the animation loops.
            level: one of `levels`, pixels.

        Returns:
            uint8 (level, level, 4), premultiplied RGBA, read-only.
        """
        return self._frames[level][sprite.first + number % sprite.count]

    def level_for(self, pixels: float) -> int:
        """The smallest size that is not visibly blurred when drawn `pixels` wide.

        Bilinear sampling then shrinks by at most 1.6, which hides no pixel, or enlarges by at most
        1.25.
        """
        fitting = [level for level in self.levels if level >= 0.8 * pixels]
        return min(fitting) if fitting else max(self.levels)


class SpriteWriter:
    """Writes a store; nothing of an older store in the same folder changes before `finish`."""

    def __init__(self, folder: str | Path, levels: tuple[int, ...] = LEVELS) -> None:
        """Start a store.

        Args:
            folder: where it shall lie; made if missing.
            levels: sizes to keep, each half of the one before.

        Raises:
            InputError: if the folder cannot be written.
            ResourceError: if the disk is full.
        """
        self.folder = Path(folder)
        self.levels = levels
        self.sprites: list[Sprite] = []
        self._count = 0
        self._files: dict[int, BinaryIO] = {}
        self._names = {size: f"frames-{size}-{uuid.uuid4().hex[:8]}.raw" for size in levels}
        with self._disk():
            self.folder.mkdir(parents=True, exist_ok=True)
            for size in levels:
                self._files[size] = self._part(size).open("wb")

    def add(self, frames: np.ndarray, **about: Any) -> None:
        """Append one sprite.

        Args:
            frames: uint8 (n, levels[0], levels[0], 4), premultiplied RGBA.
            **about: the fields of `Sprite` other than `first` and `count`; `box` may be left out
                and is then measured.
        """
        side = self.levels[0]
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (side, side, 4), frames.shape
        about.setdefault("box", content_box(frames))
        self.sprites.append(Sprite(first=self._count, count=len(frames), **about))
        self._count += len(frames)
        with self._disk():
            for size in self.levels:
                self._files[size].write(shrink(frames, size).tobytes())

    def finish(self, subjects: tuple[Subject, ...]) -> Path:
        """Put the store in its place and remove the data files of the store that was there before.

        Args:
            subjects: the things that scenes are about.

        Returns:
            The folder.
        """
        index = {
            "format": FORMAT,
            "version": VERSION,
            "frames": self._count,
            "levels": [{"size": size, "file": self._names[size]} for size in self.levels],
            "sprites": [asdict(sprite) for sprite in self.sprites],
            "subjects": [asdict(subject) for subject in subjects],
        }
        with self._disk():
            for size in self.levels:
                self._files[size].close()
                self._part(size).replace(self.folder / self._names[size])
            part = self.folder / f"{INDEX_NAME}.{uuid.uuid4().hex[:8]}.part"
            part.write_text(json.dumps(index), encoding="utf-8")
            part.replace(self.folder / INDEX_NAME)
            for old in self.folder.glob("frames-*.raw"):
                if old.name not in self._names.values():
                    old.unlink()
        return self.folder

    def abandon(self) -> None:
        """Remove what was written so far; an older store stays as it was."""
        for size, file in self._files.items():
            file.close()
            self._part(size).unlink(missing_ok=True)

    def _part(self, size: int) -> Path:
        return self.folder / f"{self._names[size]}.part"

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Turn a full disk, or a folder that cannot be written, into a message of four parts."""
        try:
            yield
        except OSError as error:
            raise writing_error(self.folder, error) from error

    def __enter__(self) -> SpriteWriter:
        """Write inside a `with`: an error abandons the store."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Abandon the store if an error passes through."""
        if kind is not None:
            self.abandon()


def shrink(frames: np.ndarray, size: int) -> np.ndarray:
    """Average premultiplied pixels over equal areas.

    Args:
        frames: uint8 (n, side, side, 4) with `side` a multiple of `size`.
        size: the new side.

    Returns:
        uint8 (n, size, size, 4).
    """
    count, side = frames.shape[:2]
    if side == size:
        return frames
    step = side // size
    blocks = frames.reshape(count, size, step, size, step, 4)
    total = blocks.sum(axis=(2, 4), dtype=np.uint32)
    return ((total + step * step // 2) // (step * step)).astype(np.uint8)


def premultiply(frames: np.ndarray) -> np.ndarray:
    """Straight RGBA to premultiplied RGBA, rounded to the nearest level.

    Args:
        frames: uint8 (..., 4).
    """
    alpha = frames[..., 3:].astype(np.uint16)
    colour = (frames[..., :3] * alpha + 127) // 255
    return np.concatenate([colour.astype(np.uint8), frames[..., 3:]], axis=-1)


def content_box(frames: np.ndarray) -> tuple[float, float, float, float]:
    """Where the content of a sprite usually lies: pixels covered in at least 15 % on average.

    Sparks that fly far for a few frames do not count, so they do not make the subject small.

    Args:
        frames: uint8 (n, side, side, 4).

    Returns:
        left, top, right, bottom in 0..1; the whole cell if nothing is covered.
    """
    side = frames.shape[1]
    covered = frames[..., 3].mean(axis=0) > 0.15 * 255
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not len(rows):
        return (0.0, 0.0, 1.0, 1.0)
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    left, top, right, bottom = (round(float(edge) / side, 4) for edge in edges)
    return (left, top, right, bottom)


def _damaged(path: Path, got: str, expected: str) -> DataError:
    return DataError(str(path), got, expected, "build the corpus again")


def _read_index(path: Path) -> dict[str, Any]:
    """Read and check `index.json`; every number is in range and every frame lies in the files."""
    if not path.is_file():
        raise DataError(
            str(path), "no file", "a sprite store", "build the corpus first, or name its folder"
        )
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise _damaged(path, f"{path.stat().st_size} bytes", f"at most {MAX_INDEX_BYTES} bytes")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != FORMAT or index["version"] != VERSION:
            raise _damaged(
                path, f"{index['format']!s:.40} version {index['version']!s:.10}", f"{FORMAT} 1"
            )
        total = _whole(index["frames"], 1, MAX_FRAMES)
        levels = [_read_level(level) for level in index["levels"]]
        sprites = [_read_sprite(fields, total) for fields in index["sprites"]]
        subjects = tuple(Subject(**fields) for fields in index["subjects"])
        for subject in subjects:
            _texts(*asdict(subject).values())
        if not levels or not sprites:
            raise ValueError("no levels or no sprites")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(path, f"{type(error).__name__}: {error!s:.80}", "a valid index") from error
    return {
        "frames": total,
        "levels": levels,
        "sprites": {sprite.key: sprite for sprite in sprites},
        "subjects": subjects,
    }


def _read_level(fields: dict[str, Any]) -> dict[str, Any]:
    name = fields["file"]
    _texts(name)
    if Path(name).name != name or name in {"", ".", ".."}:
        raise ValueError(f"file name {name!r:.60} leaves the folder")
    return {"size": _whole(fields["size"], 4, 1024), "file": name}


def _read_sprite(fields: dict[str, Any], total: int) -> Sprite:
    left, top, right, bottom = (float(edge) for edge in fields["box"])
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"box of {fields['key']!r:.40} is outside its cell")
    sprite = Sprite(**{**fields, "box": (left, top, right, bottom)})
    _texts(sprite.key, sprite.source, sprite.licence, sprite.sha256)
    _whole(sprite.first, 0, total - 1)
    _whole(sprite.count, 1, total - sprite.first)
    if not isinstance(sprite.tinted, bool):
        raise TypeError("tinted is not true or false")
    return sprite


def _whole(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{value!r:.40} is not a whole number in {low}..{high}")
    return value


def _texts(*values: object) -> None:
    for value in values:
        if not isinstance(value, str) or len(value) > 400:
            raise TypeError(f"{value!r:.40} is not a short text")
