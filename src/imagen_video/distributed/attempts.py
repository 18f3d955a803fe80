"""How often a process died over one step of a sample.

Ray starts a dead actor again and gives it the same row. If it is the row that kills the process
(memory, a crash in a library), that would go on for ever. So a step leaves a mark in the folder
while it works, `.attempts/ID.STEP` with a line "host process" an attempt, and takes it away when it
has an answer of any kind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from imagen_video.errors import ResourceError
from imagen_video.media.atomic import writing_error

FOLDER = ".attempts"


class ProcessDiedError(ResourceError):
    """Processes have died over this sample too often."""


class Attempts:
    """The marks of one folder."""

    def __init__(self, folder: Path, deaths: int | None) -> None:
        """Remember where the marks are.

        Args:
            folder: of the videos.
            deaths: how many are forgiven; None leaves no marks.
        """
        self._folder = folder / FOLDER
        self._deaths = deaths

    @contextlib.contextmanager
    def counted(self, sample: str, step: str) -> Iterator[int]:
        """Mark that a step of a sample is being worked on.

        Yields:
            Which attempt this is, from 1.

        Raises:
            ProcessDiedError: if its process died too often.
        """
        if self._deaths is None:
            yield 1
            return
        mark = self._folder / f"{sample}.{step}"
        died = _num_lines(mark)
        try:
            if died > self._deaths:
                raise ProcessDiedError(
                    f"sample {sample!r}, {step}",
                    f"a process that died {died} times over it",
                    "a process that lives",
                    "look for the reason (memory?), then give the same command again",
                )
            _lengthen(mark)
            yield died + 1
        finally:
            with contextlib.suppress(OSError):
                mark.unlink()

    @staticmethod
    def clear(folder: Path) -> None:
        """Forget earlier runs."""
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _num_lines(mark: Path) -> int:
    try:
        return mark.read_bytes().count(b"\n")
    except OSError:
        return 0


def _lengthen(mark: Path) -> None:
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        with mark.open("a", encoding="utf-8") as stream:
            stream.write(f"{socket.gethostname()} {os.getpid()}\n")
    except OSError as error:
        raise writing_error(mark, error) from error
