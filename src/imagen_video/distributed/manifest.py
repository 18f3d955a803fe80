"""`manifest.jsonl`: which samples are finished, with what settings, and what failed.

One JSON object a line, appended as samples finish; the last line of a sample counts. A crash leaves
at most one torn line, which is ignored. A sample is finished if its line says so and the video has
the digest that is written there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from imagen_video import __version__
from imagen_video.distributed.sample import Made, Outcome, Sample
from imagen_video.errors import InputError
from imagen_video.media.atomic import writing_error
from imagen_video.media.digest import file_sha256

NAME = "manifest.jsonl"
UNIMPORTANT = frozenset({"bundle"})
"""Settings that may differ: the bundle's digest says which it is, not where it lies."""


class Manifest:
    """The manifest of a folder, open to be appended to by one batch at a time."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or made yet."""
        self.folder = folder
        self._descriptor: int | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Manifest]:
        """Open the file, and keep other batches from it.

        Raises:
            InputError: if another batch has it, or the folder cannot be written to.
        """
        path = self.folder / NAME
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise writing_error(path, error) from error
        try:
            self._lock(self._descriptor)
            self._end_torn_line(self._descriptor)
            self._remove_temporary_files()
            try:
                yield self
            finally:
                self._remove_temporary_files()  # of processes that were killed on the way
        finally:
            os.close(self._descriptor)
            self._descriptor = None

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return the last line of every sample.

        Raises:
            InputError: if the file is there and cannot be read.
        """
        return {entry["id"]: entry for entry in read_entries(self.folder / NAME)}

    def finished(self, samples: Iterable[Sample]) -> set[str]:
        """Return the ids of the samples that need not be made again.

        Raises:
            InputError: if one was made with other settings; both values are shown.
        """
        entries = self.entries()
        found = set()
        for sample in samples:
            entry = entries.get(sample.id)
            if entry is None or entry.get("status") != "made" or not self._is_intact(entry):
                continue
            settings = entry.get("settings")
            self._compare(sample, settings if isinstance(settings, dict) else {})
            found.add(sample.id)
        return found

    def add(self, sample: Sample, outcome: Outcome) -> None:
        """Append a line; it is on disk when this returns.

        Raises:
            ResourceError: the disk is full.
        """
        assert self._descriptor is not None, "add() belongs inside opened()"
        status = "made" if isinstance(outcome, Made) else "failed"
        entry = {"id": outcome.id, "status": status, **dataclasses.asdict(outcome)}
        entry |= {"settings": dict(sample.settings), "version": __version__}
        entry["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps(entry).encode() + b"\n"
        try:
            # One call: the line is there as a whole, or torn at its end if the disk is full.
            if os.write(self._descriptor, line) < len(line):
                os.write(self._descriptor, b"\n")
                raise OSError(28, "No space left on device")
            os.fsync(self._descriptor)
        except OSError as error:
            raise writing_error(self.folder / NAME, error) from error

    def _is_intact(self, entry: Mapping[str, Any]) -> bool:
        # The name is made from the id, not taken from the file: it cannot lead out of the folder.
        path = self.folder / f"{entry['id']}.mp4"
        try:
            return file_sha256(path) == entry.get("sha256")
        except OSError:
            return False

    def _compare(self, sample: Sample, before: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(dict(sample.settings)))
        for name in sorted(now.keys() - UNIMPORTANT):
            if now[name] != before.get(name):
                raise InputError(
                    f"sample {sample.id!r}, {name}",
                    f"{now[name]!r}"[:200],
                    f"{before.get(name)!r}, with which it was made"[:250],
                    "give the old value, another id, or another --out",
                )

    def _lock(self, descriptor: int) -> None:
        try:
            import fcntl
        except ImportError:  # not on this system
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"--out {self.folder}",
                "a folder that another batch is writing to",
                "one batch at a time",
                "wait for it, or choose another folder",
            ) from error
        except OSError:  # a file system without locks
            return

    def _end_torn_line(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")

    def _remove_temporary_files(self) -> None:
        """Delete what killed processes have left half written."""
        for path in self.folder.glob(".*.mp4.*.tmp"):
            path.unlink(missing_ok=True)


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a manifest that are whole; nothing if there is no file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(ValueError, RecursionError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                        yield entry
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            str(path), error.strerror or "an error", "a readable file", "check its permissions"
        ) from error
