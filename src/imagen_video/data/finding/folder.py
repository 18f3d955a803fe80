"""The clips of a folder and all folders below it, with their sidecar files.

A link is followed only if it leads to a regular file below the root: a data set from a stranger
could otherwise read /etc/passwd into a caption, or walk in circles.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from imagen_video.data.clips.faults import Dropped, printable
from imagen_video.data.clips.formats import KINDS, UNSUPPORTED, moves
from imagen_video.data.clips.labels import MAX_SIDECAR_BYTES
from imagen_video.data.clips.records import DataLimits, Kind, MediaFile, Record
from imagen_video.data.finding.labelling import SIDECAR_SUFFIXES, Labeller
from imagen_video.data.finding.tar_clips import tar_clips
from imagen_video.errors import DataError


def is_visible(name: str) -> bool:
    """Return whether a file or folder counts: not hidden, not what macOS leaves in archives."""
    return not name.startswith(".") and name != "__MACOSX"


class Folder:
    """A root folder and how to turn what is in it into records."""

    def __init__(
        self,
        root: Path,
        labeller: Labeller,
        limits: DataLimits,
        seen: Counter[str],
        frame_folders: bool,
    ) -> None:
        """Remember the settings.

        Args:
            root: resolved: no link in it.
            labeller: puts labels together.
            limits: what to refuse.
            seen: counts the suffixes of all files.
            frame_folders: whether a folder of pictures is one clip.
        """
        self._root = root
        self._labeller = labeller
        self._limits = limits
        self._seen = seen
        self._frame_folders = frame_folders

    def walk(self) -> Iterator[Record | Dropped]:
        """Yield what is in the root: a folder's files first, then the folders in it, sorted."""
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                detail = error.strerror or "an error"
                yield Dropped(id=self._ident(folder), reason="unreadable folder", detail=detail)
                continue
            entries = [entry for entry in entries if is_visible(entry.name)]
            waiting += [
                Path(entry.path)
                for entry in reversed(entries)
                if entry.is_dir(follow_symlinks=False)
            ]
            files = [
                Path(entry.path) for entry in entries if not entry.is_dir(follow_symlinks=False)
            ]
            yield from self._folder(folder, files)

    def named(self, name: str) -> Iterator[Record | Dropped]:
        """Yield the clip that a table names: a path below the root, relative or absolute."""
        path = self._root / name
        # A folder on the way may be a link, so the whole path is resolved.
        inside = path.resolve().is_relative_to(self._root) and ".." not in path.parts
        if not inside or not path.is_relative_to(self._root) or path == self._root:
            detail = f"it lies outside {self._root.name}"
            yield Dropped(id=printable(name), reason="unsafe path", detail=detail)
        elif self._frame_folders and path.is_dir() and not path.is_symlink():
            yield from self._folder(path, sorted(path.iterdir()))
        elif path.suffix.lower() not in KINDS and path.suffix.lower() not in UNSUPPORTED:
            detail = f"the suffix {path.suffix!r}"
            yield Dropped(id=printable(name), reason="unsupported format", detail=detail)
        elif os.path.lexists(path):
            yield from self._file(path)
        else:
            yield Dropped(id=printable(name), reason="no such file", detail="named in the table")

    def _folder(self, folder: Path, files: list[Path]) -> Iterator[Record | Dropped]:
        media = [path for path in files if path.suffix.lower() in KINDS]
        pictures = [path for path in media if KINDS[path.suffix.lower()] == "image"]
        if self._frame_folders and len(pictures) > 1 and len(pictures) == len(media):
            self._seen.update(path.suffix.lower() or "(none)" for path in files)
            yield self._frames(folder, sorted(pictures, key=lambda path: _natural(path.name)))
            return
        for path in files:
            yield from self._file(path)

    def _file(self, path: Path) -> Iterator[Record | Dropped]:
        suffix = path.suffix.lower()
        self._seen[suffix or "(none)"] += 1
        if path.is_symlink() and path.is_dir():
            detail = "a link to a folder; it is not followed"
            yield Dropped(id=self._ident(path), reason="unsafe link", detail=detail)
            return
        if suffix not in KINDS and suffix not in UNSUPPORTED and suffix != ".tar":
            return
        ident = self._ident(path)
        fault = self._fault(path, ident)
        if fault is not None:
            yield fault
        elif suffix in UNSUPPORTED:
            yield Dropped(id=ident, reason="unsupported format", detail=UNSUPPORTED[suffix])
        elif suffix == ".tar":
            try:
                yield from tar_clips(
                    path.resolve(), ident, self._labeller, self._limits, self._seen
                )
            except DataError as error:
                yield Dropped(id=ident, reason="unreadable", detail=error.got)
        else:
            yield self._record(path, ident)

    def _record(self, path: Path, ident: str) -> Record | Dropped:
        try:
            state = path.stat()
            kind = _kind(path)
            label = self._labeller.label(ident, self._sidecars(path.with_suffix("")))
        except OSError as error:
            return Dropped(id=ident, reason="unreadable", detail=error.strerror or "an error")
        if isinstance(label, Dropped):
            return label
        # Resolved now, so that a link which is turned later leads nowhere new.
        media = MediaFile(path=path.resolve(), size=state.st_size, modified_ns=state.st_mtime_ns)
        return Record(id=ident, media=media, kind=kind, label=label)

    def _frames(self, folder: Path, pictures: list[Path]) -> Record | Dropped:
        ident = self._ident(folder)
        if len(pictures) > self._limits.max_frames:
            return Dropped(id=ident, reason="too many frames", detail=f"{len(pictures)} pictures")
        size = modified = 0
        for path in pictures:
            if path.is_symlink():
                detail = f"{path.name}: frames may not be links"
                return Dropped(id=ident, reason="unsafe link", detail=detail)
            fault = self._fault(path, ident)
            if fault is not None:
                return fault
            state = path.stat()
            size, modified = size + state.st_size, max(modified, state.st_mtime_ns)
        stem = folder if folder != self._root else folder / folder.name
        label = self._labeller.label(ident, self._sidecars(stem))
        if isinstance(label, Dropped):
            return label
        media = MediaFile(
            path=folder,
            size=size,
            modified_ns=modified,
            frames=tuple(path.name for path in pictures),
        )
        return Record(id=ident, media=media, kind="video", label=label)

    def _sidecars(self, stem: Path) -> dict[str, bytes]:
        """Read the small files beside a clip that have its name, to one byte over the limit."""
        found: dict[str, bytes] = {}
        for suffix in SIDECAR_SUFFIXES:
            path = stem.with_name(stem.name + suffix)
            if path.is_file() and self._fault(path, "") is None:
                with path.open("rb") as stream:
                    found[suffix] = stream.read(MAX_SIDECAR_BYTES + 1)
        return found

    def _fault(self, path: Path, ident: str) -> Dropped | None:
        """Say why a file must not be opened, or return None."""
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in path.name):
            detail = "control characters, or bytes that are not UTF-8"
            return Dropped(id=ident, reason="unusable file name", detail=detail)
        try:
            if path.is_symlink():
                target = path.resolve(strict=True)
                if not target.is_relative_to(self._root):
                    detail = "a link that leaves the folder; it is not followed"
                    return Dropped(id=ident, reason="unsafe link", detail=detail)
            # A pipe or a device could block for ever.
            mode = path.stat().st_mode
        except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
            return Dropped(
                id=ident, reason="unsafe link", detail=f"it leads nowhere ({error!s:.80})"
            )
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            return Dropped(id=ident, reason="not a regular file", detail=kind)
        return None

    def _ident(self, path: Path) -> str:
        relative = path.relative_to(self._root).as_posix()
        return printable(relative if relative != "." else self._root.name)


def _kind(path: Path) -> Kind:
    kind = KINDS[path.suffix.lower()]
    if kind == "image" and PurePosixPath(path.name).suffix.lower() not in (".jpg", ".jpeg"):
        with path.open("rb") as stream:
            if moves(stream):
                return "animation"
    return kind


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort `2.png` before `10.png`."""
    parts = re.split(r"(\d+)", name)
    return [(int(part[:18]), "") if part.isdecimal() else (-1, part) for part in parts]
