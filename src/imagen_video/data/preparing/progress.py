"""Which units are done, which come next, and how far all of them are.

A unit whose process died is tried again without the clip that it died of. Nothing else of a unit
survives its process: what a unit writes appears when it is complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from imagen_video.data.preparing.plan import Plan
from imagen_video.data.preparing.unit import UnitJob, done_path, note_path
from imagen_video.data.shards.manifest import ShardEntry
from imagen_video.data.shards.verify import check_sizes
from imagen_video.data.workers import Failed, num_cores, run_jobs
from imagen_video.errors import InputError, ResourceError
from imagen_video.media.atomic import replacing

_POLL_SECONDS = 0.5
_UNIT_SECONDS = 600.0
"""What writing a unit may take besides its clips."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareProgress:
    """How far `prepare` has come."""

    phase: Literal["captions", "clips"]
    """What is being done: first captions are encoded, then clips are cut."""
    done: int
    """Captions or clips, those of an earlier run included."""
    total: int
    """In all."""
    seconds_left: float | None
    """Of this phase; None before anything is done in this run."""


OnProgress = Callable[[PrepareProgress], None]


def read_unit(plan: Plan, unit: int) -> dict[str, Any] | None:
    """Return what a unit holds, if it is done and its tars are there."""
    out = plan.options.out
    try:
        outcome = json.loads(done_path(out, unit).read_text(encoding="utf-8"))
        entries = [stage["shard"] for stage in outcome["stages"].values()]
        check_sizes(out, [ShardEntry(**entry) for entry in entries if entry is not None])
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None
    return outcome


def run_units(plan: Plan, todo: list[int], on_progress: OnProgress | None) -> None:
    """Prepare some units.

    Args:
        plan: the whole.
        todo: numbers of the units that are not done.
        on_progress: called now and then, from a thread.

    Raises:
        InputError: the folder cannot be written to.
        ResourceError: the disk is full, or processes cannot be started or die without a clip.
    """
    options = plan.options
    processes = num_cores() if options.workers is None else options.workers
    processes = min(processes, len(todo))
    seconds = options.clip_seconds * plan.unit_clips + _UNIT_SECONDS
    with _Watch(plan, todo, on_progress) as watch:
        queue = _Queue(plan, todo, watch, protected=processes > 0)
        for number, result in run_jobs(
            "imagen_video.data.preparing.unit:prepare_unit",
            queue,
            processes=processes,
            seconds=seconds,
        ):
            unit = queue.taken[number]
            if isinstance(result, Failed):
                queue.again(unit, result)
            elif "error" in result:
                kind, *parts = result["error"]
                raise (ResourceError if kind == "resource" else InputError)(*parts)
            else:
                with contextlib.suppress(OSError):
                    note_path(options.out, unit).unlink()
                watch.finished(unit)


class _Queue(Iterator[dict[str, Any]]):
    """Jobs for the workers. It may be empty and then have another: iterating goes on."""

    def __init__(self, plan: Plan, todo: list[int], watch: _Watch, *, protected: bool) -> None:
        self._plan = plan
        self._watch = watch
        self._waiting = deque(todo)
        self._protected = protected
        self.taken: list[int] = []
        """Units in the order in which they were handed out."""

    def __next__(self) -> dict[str, Any]:
        if not self._waiting:
            raise StopIteration
        unit = self._waiting.popleft()
        self.taken.append(unit)
        self._watch.taken(unit)
        return self._job(unit).to_json()

    def again(self, unit: int, failure: Failed) -> None:
        """Put a unit back without the clip that ended its process.

        Raises:
            ResourceError: no clip, or one that was left out already.
        """
        out = self._plan.options.out
        given_up, place = self._given_up(unit), noted_place(self._plan.options.out, unit)
        if place in given_up:
            raise ResourceError(
                "a worker process",
                f"{failure.reason} ({failure.detail}), and not because of a clip",
                "a process that ends well",
                "look for what ends it (memory?), or try --workers 1",
            )
        given_up[place] = self._fault(failure)
        with replacing(self._given_up_path(unit)) as temporary:
            temporary.write_text(json.dumps(list(given_up.items())), encoding="utf-8")
        sweep(out, f".{unit:05d}.*.tmp")
        self._waiting.appendleft(unit)

    def _fault(self, failure: Failed) -> tuple[str, str]:
        if "SIGALRM" in failure.detail:
            return "took too long", f"not done after {self._plan.options.clip_seconds:g} seconds"
        return failure.reason, failure.detail

    def _job(self, unit: int) -> UnitJob:
        plan, numbers = self._plan, self._plan.unit(unit)
        return UnitJob(
            out=str(plan.options.out),
            unit=unit,
            first=numbers.start,
            records=[plan.records[number] for number in numbers],
            given_up=self._given_up(unit),
            tasks=plan.tasks,
            grid_fps=plan.grid_fps,
            options={**plan.options.lasting, "window_stride": plan.window_stride},
            limits=plan.limits,
            clip_seconds=plan.options.clip_seconds if self._protected else None,
        )

    def _given_up_path(self, unit: int) -> Path:
        return done_path(self._plan.options.out, unit).with_suffix(".given-up")

    def _given_up(self, unit: int) -> dict[int, tuple[str, str]]:
        try:
            found = json.loads(self._given_up_path(unit).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {place: (reason, detail) for place, (reason, detail) in found}


def sweep(out: Path, pattern: str = ".*.tmp") -> None:
    """Delete what killed processes have left behind."""
    for path in itertools.chain(out.glob(pattern), out.glob(f"*/{pattern}")):
        with contextlib.suppress(OSError):
            path.unlink()


class _Watch:
    """Tells how far the units are, from a thread, by what the workers note."""

    def __init__(self, plan: Plan, todo: list[int], on_progress: OnProgress | None) -> None:
        self._plan = plan
        self._on_progress = on_progress
        self._active: set[int] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        # Time goes with bytes; one more for the opening, which small files are mostly.
        weights = (record.media.size + 1 for record in plan.records)
        self._weights = list(itertools.accumulate(weights, initial=0))
        self._started = time.monotonic()
        self._left = sum(len(plan.unit(unit)) for unit in todo)
        self._weight_left = sum(self._weight(plan.unit(unit)) for unit in todo)
        self._weight_todo = self._weight_left

    def __enter__(self) -> _Watch:
        if self._on_progress is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._on_progress is not None:
            self._thread.join()
            self._tell(self._on_progress)

    def taken(self, unit: int) -> None:
        """Look at a unit's notes from now on."""
        self._active.add(unit)

    def finished(self, unit: int) -> None:
        """Count a unit as done."""
        self._active.discard(unit)
        self._left -= len(self._plan.unit(unit))
        self._weight_left -= self._weight(self._plan.unit(unit))

    def _run(self) -> None:
        while not self._end.wait(_POLL_SECONDS):
            assert self._on_progress is not None
            self._tell(self._on_progress)

    def _tell(self, on_progress: OnProgress) -> None:
        left, weight_left = self._left, self._weight_left
        for unit in list(self._active):
            numbers = self._plan.unit(unit)
            begun = range(numbers.start, numbers.start + self._place(unit))
            left -= len(begun)
            weight_left -= self._weight(begun)
        done = self._weight_todo - weight_left
        elapsed = time.monotonic() - self._started
        total = len(self._plan.records)
        seconds_left = elapsed * weight_left / done if done else None
        on_progress(
            PrepareProgress(
                phase="clips", done=total - left, total=total, seconds_left=seconds_left
            )
        )

    def _weight(self, numbers: range) -> int:
        return self._weights[numbers.stop] - self._weights[numbers.start]

    def _place(self, unit: int) -> int:
        return min(noted_place(self._plan.options.out, unit), len(self._plan.unit(unit)))


def noted_place(out: Path, unit: int) -> int:
    """Return which clip of a unit is being worked on; 0 if nothing is noted."""
    try:
        return max(0, int(note_path(out, unit).read_text(encoding="ascii")))
    except (OSError, ValueError):
        return 0
