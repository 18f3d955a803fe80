"""What a person sees while clips are read: a bar on a terminal, else a line now and then.

All of it goes to stderr, so that stdout stays machine-readable.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from imagen_video.cli.main import say
from imagen_video.cli.progress import SECONDS_BETWEEN_LINES, duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from imagen_video.data.checking.check import Progress
    from imagen_video.data.preparing.progress import PrepareProgress


class ClipsDisplay:
    """Shows how far the work is on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, *, terminal: bool | None = None) -> None:
        """Choose a bar or lines.

        Args:
            terminal: whether stderr is one; asked if None.
        """
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._last_line = time.monotonic()
        self.state = "nothing read yet"
        """How far it is, in words."""

    def __enter__(self) -> ClipsDisplay:
        """Start the bar."""
        if self._terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            left = TextColumn("{task.fields[left]}")
            self._bars = Bars(*columns, left, console=Console(stderr=True), transient=True)
            self._bars.start()
            self._task = self._bars.add_task("looking", total=None, left="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._bars is not None:
            self._bars.stop()

    def on_progress(self, progress: Progress | PrepareProgress) -> None:
        """Take the state of the work."""
        left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
        what = progress.phase
        self.state = f"{progress.done} of {progress.total} {what} done"
        if self._bars is not None and self._task is not None:
            done, total = progress.done, progress.total
            self._bars.update(self._task, description=what, completed=done, total=total, left=left)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            say(f"{self.state}, {left or 'time left unknown'}")
