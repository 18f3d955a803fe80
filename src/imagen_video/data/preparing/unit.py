"""What a worker process does with a unit of clips: decode, cut, resize, and write a tar a stage.

Every clip is decoded once for all stages. Nothing that a clip does stops the unit: what cannot be
used is noted with a reason. Which clip is being worked on is noted too, so that the parent knows
which one to leave out if this process dies of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagen_video.data.clips.faults import ClipError, Dropped
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.probe import Probe, probe
from imagen_video.data.decoding.read import frame_times, read_at_times
from imagen_video.data.preparing.plan import StageTask
from imagen_video.data.shards.framing import (
    Box,
    Timing,
    largest_box,
    place_of,
    resize_frames,
    window_starts,
)
from imagen_video.data.shards.pieces import PieceLayout
from imagen_video.data.shards.samples import Facts, ShardWriter
from imagen_video.errors import InputError, ResourceError
from imagen_video.media.atomic import replacing, writing_error

DECODED_BYTES = 1 << 28
"""Pixels of a clip that are decoded at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitJob:
    """A unit, as the worker gets it."""

    out: str
    """Folder of the data set."""
    unit: int
    """Its number."""
    first: int
    """Number of its first clip."""
    records: Sequence[Record]
    """Its clips."""
    given_up: dict[int, tuple[str, str]]
    """Clips that ended a process, by place in the unit: reason and detail."""
    tasks: tuple[StageTask, ...]
    """What the stages want."""
    grid_fps: float
    """Frames per second of the grid that the tasks count in."""
    options: dict[str, Any]
    """`PrepareOptions.lasting`, with `window_stride` filled in."""
    limits: DataLimits
    """What to refuse."""
    clip_seconds: float | None
    """The process ends itself if a clip takes longer; None if it must not."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = {name: getattr(self, name) for name in ("out", "unit", "first", "grid_fps")}
        return plain | {
            "records": [record.to_json() for record in self.records],
            "given_up": [[place, *fault] for place, fault in self.given_up.items()],
            "tasks": [task.to_json() for task in self.tasks],
            "options": self.options,
            "limits": dataclasses.asdict(self.limits),
            "clip_seconds": self.clip_seconds,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> UnitJob:
        """Rebuild what `to_json` wrote."""
        parts = {
            "records": [Record.from_json(record) for record in values["records"]],
            "given_up": {place: (reason, detail) for place, reason, detail in values["given_up"]},
            "tasks": tuple(StageTask.from_json(task) for task in values["tasks"]),
            "limits": DataLimits(**values["limits"]),
        }
        return cls(**{**values, **parts})


def note_path(out: Path, unit: int) -> Path:
    """Return where a worker notes how far it is."""
    return out / "work" / f"{unit:05d}.now"


def done_path(out: Path, unit: int) -> Path:
    """Return where a worker notes what a finished unit holds."""
    return out / "work" / f"{unit:05d}.json"


def prepare_unit(values: dict[str, Any]) -> dict[str, Any]:
    """Prepare a unit. Runs in a worker process.

    Args:
        values: `UnitJob.to_json`.

    Returns:
        `{}`, and the unit's outcome is in `done_path`; or `{"error": [kind, ...]}` with the four
        parts of an error that concerns the whole run: a full disk, a folder that is not writable.
    """
    import torch

    job = UnitJob.from_json(values)
    if job.clip_seconds is not None:
        torch.set_num_threads(1)
    try:
        outcome = _Unit(job).run()
        with replacing(done_path(Path(job.out), job.unit)) as temporary:
            temporary.write_text(json.dumps(outcome), encoding="utf-8")
    except InputError as error:
        kind = "resource" if isinstance(error, ResourceError) else "input"
        return {"error": [kind, error.where, error.got, error.expected, error.fix]}
    return {}


class _Unit:
    """A unit at work."""

    def __init__(self, job: UnitJob) -> None:
        self._job = job
        self._dropped: list[dict[str, Any]] = []
        self._writers: dict[str, ShardWriter] = {}

    def run(self) -> dict[str, Any]:
        """Work through the clips and return what was written."""
        job, out = self._job, Path(self._job.out)
        with contextlib.ExitStack() as stack:
            for task in job.tasks:
                layout = layout_of(task, job.options)
                writer = ShardWriter(out, f"{task.name}/{job.unit:05d}.tar", layout)
                self._writers[task.name] = stack.enter_context(writer)
            for place, record in enumerate(job.records):
                with self._watched(place):
                    self._prepare(place, record)
        stages = {
            name: {
                "shard": None if writer.entry is None else dataclasses.asdict(writer.entry),
                "rows": writer.rows,
                "labels": dataclasses.asdict(writer.labels),
            }
            for name, writer in self._writers.items()
        }
        return {"stages": stages, "dropped": self._dropped}

    def _prepare(self, place: int, record: Record) -> None:
        if place in self._job.given_up:
            self._drop(record, self._job.tasks, *self._job.given_up[place])
            return
        try:
            shape = exact_probe(record, self._job.limits)
            tasks = self._willing(record, shape)
            if tasks:
                self._windows(place, record, shape, tasks)
        except ClipError as error:
            self._note_dropped(error.dropped(record.id), self._job.tasks)

    def _willing(self, record: Record, shape: Probe) -> list[StageTask]:
        """Return the stages that can use a clip, and note why the others cannot."""
        faults = [(task, task.fault(record.id, record.label, shape)) for task in self._job.tasks]
        by_reason: dict[str, list[tuple[StageTask, str]]] = {}
        for task, fault in faults:
            if fault is not None:
                by_reason.setdefault(fault.reason, []).append((task, fault.detail))
        for reason, cases in by_reason.items():
            self._drop(record, [task for task, _ in cases], reason, cases[0][1])
        return [task for task, fault in faults if fault is None]

    def _windows(
        self, place: int, record: Record, shape: Probe, tasks: Sequence[StageTask]
    ) -> None:
        options, timing = self._job.options, self._timing(shape)
        box = largest_box(
            (shape.height, shape.width),
            (tasks[-1].height, tasks[-1].width),
            place_of(options["crop"], options["seed"], record.id),
        )
        starts = [0.0]
        if not shape.is_image:
            shortest = min((task.least_frames - 1) / task.fps for task in tasks)
            stride, most = options["window_stride"], options["windows"]
            starts = window_starts(timing.seconds, shortest, stride, most)
        for window, start in enumerate(starts):
            frames = {task: _frames_of(task, shape, timing, start) for task in tasks}
            wanted = {task: count for task, count in frames.items() if count}
            try:
                pixels = self._pixels(record, shape, (timing, start, box), wanted)
            except ClipError as error:
                fault = error.dropped(f"{record.id} window {window}" if window else record.id)
                self._note_dropped(fault, list(wanted))
                return
            for task, count in wanted.items():
                facts = Facts(
                    id=record.id,
                    window=window,
                    start=start,
                    frames=count,
                    image=shape.is_image,
                    label=record.label,
                )
                self._writers[task.name].add(self._job.first + place, facts, pixels[task.name])

    def _timing(self, shape: Probe) -> Timing:
        if shape.is_image:
            return Timing(seconds=1.0, period=1.0, short="hold")
        assert shape.seconds is not None
        period = 1.0 / shape.fps
        return Timing(seconds=shape.seconds, period=period, short=self._job.options["short"])

    def _pixels(
        self,
        record: Record,
        shape: Probe,
        part: tuple[Timing, float, Box],
        wanted: dict[StageTask, int],
    ) -> dict[str, np.ndarray]:
        """Decode a window and return it at the size and rate of every stage.

        Raises:
            ClipError: it cannot be decoded, or is shorter than its header says.
        """
        timing, start, box = part
        grids = {task: range(0, count * task.every, task.every) for task, count in wanted.items()}
        numbers = sorted(set[int]().union(*grids.values()))
        at_once = max(1, DECODED_BYTES // (shape.height * shape.width * shape.channels))
        try:
            made = {
                task.name: np.empty((count, task.height, task.width, task.channels), np.uint8)
                for task, count in wanted.items()
            }
            for begin in range(0, len(numbers), at_once):
                some = numbers[begin : begin + at_once]
                moments = timing.moments(start, some, self._job.grid_fps)
                frames = read_at_times(
                    record, moments, channels=self._channels, limits=self._job.limits
                )
                _fill(made, grids, some, box.cut(frames))
        except MemoryError as error:
            raise ClipError(
                "too much memory",
                record.id,
                f"frames of {shape.width}x{shape.height} that do not fit into memory",
                "enough memory",
                "scale the clip down, or use fewer --workers",
            ) from error
        return made

    @property
    def _channels(self) -> int:
        return self._job.tasks[0].channels  # the same for all stages of a cascade

    def _drop(self, record: Record, tasks: Sequence[StageTask], reason: str, detail: str) -> None:
        self._note_dropped(Dropped(id=record.id, reason=reason, detail=detail), tasks)

    def _note_dropped(self, fault: Dropped, tasks: Sequence[StageTask]) -> None:
        stages = [task.name for task in tasks]
        self._dropped.append({**dataclasses.asdict(fault), "stages": stages})

    @contextlib.contextmanager
    def _watched(self, place: int) -> Iterator[None]:
        """Note which clip is being worked on, and end this process if it takes too long."""
        path, seconds = note_path(Path(self._job.out), self._job.unit), self._job.clip_seconds
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(str(place), encoding="ascii")
        except OSError as error:
            raise writing_error(path, error) from error
        if seconds is None:
            yield
            return
        # The default action, which no decoder can put off: the process ends, the parent sees why.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def layout_of(task: StageTask, options: Mapping[str, Any]) -> PieceLayout:
    """Return how the samples of a stage are cut into pictures."""
    return PieceLayout(
        height=task.height,
        width=task.width,
        channels=task.channels,
        encoding=options["encoding"],
    )


def exact_probe(record: Record, limits: DataLimits) -> Probe:
    """Return a clip's shape; where its format does not say how long it is, all of it is decoded.

    Raises:
        ClipError: unreadable or over a limit.
    """
    shape = probe(record, limits)
    if shape.seconds is not None:
        return shape
    timeline = frame_times(record, limits)
    count = len(timeline.times)
    return dataclasses.replace(shape, frames=count, seconds=timeline.end, fps=count / timeline.end)


def _frames_of(task: StageTask, shape: Probe, timing: Timing, start: float) -> int:
    if shape.is_image:
        return 1
    return task.whole(timing.frames_from(start, task.fps, task.frames))


def _fill(
    made: Mapping[str, np.ndarray],
    grids: Mapping[StageTask, range],
    numbers: Sequence[int],
    frames: np.ndarray,
) -> None:
    """Resize frames with some numbers of the grid to every stage that wants them."""
    for task, grid in grids.items():
        chosen = [place for place, number in enumerate(numbers) if number in grid]
        if chosen:  # in the order of the grid, without gaps
            first = grid.index(numbers[chosen[0]])
            resized = resize_frames(frames[chosen], task.height, task.width)
            made[task.name][first : first + len(chosen)] = resized
