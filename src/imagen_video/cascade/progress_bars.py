"""A bar for each stage, on a terminal or in a notebook (tqdm, as elsewhere in this ecosystem)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagen_video.cascade.request import Progress


class StageBars:
    """Shows how far the running stage is, and the time that is left."""

    def __init__(self, wanted: bool | None, then: Callable[[Progress], None] | None = None) -> None:
        """Choose whether to show anything.

        Args:
            wanted: None = where a person looks on: stderr is a terminal, or this is a notebook.
            then: is called with each `Progress` after it was shown.
        """
        self._shows = _is_watched() if wanted is None else wanted
        self._then = then
        self._bar: Any = None
        self._stage = ""

    def __enter__(self) -> StageBars:
        """Wait for the first step."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bars as they are."""
        if self._bar is not None:
            self._bar.close()

    def on_progress(self, progress: Progress) -> None:
        """Take the state of the running stage."""
        if self._shows:
            self._show(progress)
        if self._then is not None:
            self._then(progress)

    def _show(self, progress: Progress) -> None:
        if progress.stage != self._stage:
            from tqdm.auto import tqdm

            if self._bar is not None:
                self._bar.close()
            self._stage = progress.stage
            name = f"{progress.stage} ({progress.index + 1}/{progress.num_stages})"
            self._bar = tqdm(total=progress.total, desc=name, unit="step")
        self._bar.update(progress.done - self._bar.n)


def _is_watched() -> bool:
    """Tell whether stderr reaches a person."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
