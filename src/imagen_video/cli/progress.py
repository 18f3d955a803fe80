"""What a person sees while a generation runs: a bar a stage on a terminal, else a few lines.

All of it goes to stderr, so that stdout stays machine-readable.
"""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from imagen_video.cli.main import say

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from imagen_video.cascade.request import Progress, StageReport

SECONDS_BETWEEN_LINES = 10.0


class ProgressDisplay:
    """Shows the stages of one video."""

    def __init__(self, *, terminal: bool | None = None) -> None:
        """Choose bars or lines.

        Args:
            terminal: whether stderr is one; asked if None.
        """
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> ProgressDisplay:
        """Start the bars."""
        if self._terminal:
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bars as they are."""
        if self._bars is not None:
            self._bars.stop()

    def on_progress(self, progress: Progress) -> None:
        """Take the state of the running stage."""
        if self._bars is not None:
            task = self._task(progress.stage, progress.total)
            self._bars.update(task, completed=progress.done, total=progress.total)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            say(
                f"{progress.stage} (stage {progress.index + 1} of {progress.num_stages}): "
                f"{progress.done}/{progress.total}, {duration(progress.seconds_left)} left"
            )

    def on_stage(self, report: StageReport) -> None:
        """Take a finished stage."""
        if self._bars is not None:
            task = self._task(report.name, 1)
            total = self._bars.tasks[task].total or 1
            self._bars.update(task, completed=total)
            return
        self._last_line = time.monotonic()
        how = "taken from the earlier run" if report.resumed else f"in {duration(report.seconds)}"
        say(f"{report.name}: {report.clip} {how}")

    def _task(self, name: str, total: int) -> TaskID:
        assert self._bars is not None
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        return self._tasks[name]


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show warnings (a prompt that was cut) as lines for a person, without file and line."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_args, **_more: say(f"warning: {message}")
        yield


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description:<8}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def duration(seconds: float) -> str:
    """Say how long, as `1.7 s`, `2 min 05 s` or `1 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
