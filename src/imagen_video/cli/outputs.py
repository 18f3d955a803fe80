"""The files of one video: the MP4 as frames finish, its contact sheet, its JSON, kept stages."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from imagen_video.media.atomic import replacing
from imagen_video.media.frames import to_uint8
from imagen_video.media.sheets import contact_sheet, spread, write_png
from imagen_video.media.video_writer import VideoWriter

if TYPE_CHECKING:
    from torch import Tensor

    from imagen_video.cascade.request import StageReport
    from imagen_video.cascade.spec import Clip

SHEET_COLUMNS = 4
SHEET_FRAMES = 16
SHEET_CELL = 320
"""Widest cell in pixels; smaller frames keep their size."""
KEPT_FRAMES_AT_ONCE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputPaths:
    """Where the files of one video go: `<folder>/<name>.*`, name being `<slug>-<seed>`."""

    folder: Path
    """The `--out` folder."""
    name: str
    """File name without suffix."""

    @property
    def video(self) -> Path:
        """The video."""
        return self.folder / f"{self.name}.mp4"

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.folder / f"{self.name}.png"

    @property
    def report(self) -> Path:
        """Every setting and what came of it."""
        return self.folder / f"{self.name}.json"

    @property
    def work(self) -> Path:
        """Finished stages."""
        return self.folder / ".work" / self.name

    def stage(self, name: str) -> Path:
        """The video of one stage."""
        return self.folder / f"{self.name}-{name}.mp4"


class VideoFiles:
    """Takes frames as they finish; the video appears when it is whole, the sheet after it.

    If the block raises, neither of them is there.
    """

    def __init__(self, paths: OutputPaths, clip: Clip, metadata: Mapping[str, Any]) -> None:
        """Prepare the files; nothing is opened yet.

        Args:
            paths: where they go.
            clip: the last stage's output.
            metadata: provenance, written into video and sheet.
        """
        self._paths = paths
        self._metadata = dict(metadata)
        self._writer = VideoWriter(paths.video, clip.fps, metadata)
        self._shown = set(spread(clip.frames, SHEET_FRAMES))
        self._cells: list[np.ndarray] = []

    def __enter__(self) -> VideoFiles:
        """Open the video."""
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the video in its place and write the sheet, or throw both away."""
        self._writer.__exit__(kind, error, trace)
        if error is None:
            self._write_sheet()

    def write(self, first: int, frames: np.ndarray) -> None:
        """Append frames.

        Args:
            first: index of the first of them.
            frames: uint8 `(1, n, h, w, 3)`.
        """
        self._writer.write(frames[0])
        for index, frame in enumerate(frames[0], start=first):
            if index in self._shown:
                self._cells.append(frame.copy())

    def _write_sheet(self) -> None:
        cells = np.stack(self._cells)
        columns = min(SHEET_COLUMNS, len(cells))
        sheet = contact_sheet(
            cells,
            columns=columns,
            rows=-(-len(cells) // columns),
            labels=[str(self._metadata.get("title", ""))],
            cell_width=min(SHEET_CELL, cells.shape[2]),
        )
        write_png(self._paths.sheet, sheet, self._metadata)


def keep_stage(
    paths: OutputPaths, report: StageReport, video: Tensor, metadata: Mapping[str, Any]
) -> None:
    """Write one stage's output `(1, f, c, h, w)` as a video of its own, a few frames at a time."""
    stage = {**metadata, "stage": report.name}
    with VideoWriter(paths.stage(report.name), report.clip.fps, stage) as writer:
        for first in range(0, video.shape[1], KEPT_FRAMES_AT_ONCE):
            writer.write(to_uint8(video[0, first : first + KEPT_FRAMES_AT_ONCE].float()))


def keep_last_stage(paths: OutputPaths, name: str) -> None:
    """Give the finished video a second name among the kept stages."""
    with replacing(paths.stage(name)) as temporary:
        shutil.copyfile(paths.video, temporary)


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write the JSON with every setting."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
