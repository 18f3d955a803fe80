"""What a check has found out so far, so that an interrupted one goes on where it stopped.

Append-only JSON lines. A heading states the limits under which the following lines hold; another
heading voids what comes before it. A line torn by a crash is skipped. A line counts for a clip only
while the clip's size, times and settings are what they were.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.media.atomic import writing_error

VERSION = 1


class Journal:
    """Known results by clip, and the file that new ones are appended to."""

    def __init__(self, path: Path | None, limits: DataLimits, clip_seconds: float) -> None:
        """Read what is there; nothing is written yet.

        Args:
            path: the file; None keeps nothing.
            limits: results under other limits do not count.
            clip_seconds: likewise.
        """
        self._path = path
        self._heading = {
            "journal": VERSION,
            "limits": dataclasses.asdict(limits),
            "clip_seconds": clip_seconds,
        }
        self._known: dict[str, tuple[str, Any]] = {}
        self._holds = False
        self._stream: IO[str] | None = None
        if path is not None and path.is_file():
            with path.open(encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    self._read(line)

    def __enter__(self) -> Journal:
        """Open the file to append to.

        Raises:
            InputError: it cannot be written to.
        """
        if self._path is None:
            return self
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            torn = self._path.is_file() and not _ends_with_newline(self._path)
            self._stream = self._path.open("a", encoding="utf-8")
            if torn:
                self._append("\n")
            if not self._holds:
                self._append(json.dumps(self._heading) + "\n")
        except OSError as error:
            raise writing_error(self._path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def find(self, record: Record) -> Any | None:
        """Return the result of a clip that has not changed since, or None."""
        state, result = self._known.get(record.id, ("", None))
        return result if state == _state(record) else None

    def add(self, record: Record, result: Any) -> None:
        """Note a result, at once in the file.

        Raises:
            ResourceError: the disk is full.
        """
        if self._stream is None:
            return
        entry = {"id": record.id, "state": _state(record), "result": result}
        try:
            self._append(json.dumps(entry) + "\n")
        except OSError as error:
            assert self._path is not None
            raise writing_error(self._path, error) from error

    def _append(self, text: str) -> None:
        assert self._stream is not None
        self._stream.write(text)
        self._stream.flush()  # A killed process loses nothing that it has flushed.

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict):
            return
        if "journal" in entry:
            self._holds = entry == self._heading
            self._known.clear()
        elif self._holds and {"id", "state", "result"} <= entry.keys():
            self._known[str(entry["id"])] = (str(entry["state"]), entry["result"])


def _state(record: Record) -> str:
    media = record.media
    parts = (media.size, media.modified_ns, media.offset, len(media.frames), record.kind)
    settings = (record.fps, *record.value_range)
    return ":".join(str(part) for part in (*parts, *settings))


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 1))
        return stream.read(1) in (b"\n", b"")
