"""The queue: bounded, one job at a time on each device, every job with a state that can be asked.

    queued -> running -> done | failed | stopped

All state is guarded by one lock and handed out as copies (`JobView`). Ended jobs are remembered
for a while, so that a client which was away learns what became of its job.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from enum import StrEnum

from imagen_video.cascade.request import Progress, Stopped
from imagen_video.errors import InputError
from imagen_video.web.messages import public_message
from imagen_video.web.settings import JobSettings

MAX_REMEMBERED = 1000
"""Ended jobs that can still be asked for."""
_CLOSE_SECONDS = 30.0

log = logging.getLogger(__name__)


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.STOPPED)


class QueueFullError(InputError):
    """Too many jobs wait."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageDone:
    """A finished stage of a job."""

    name: str
    seconds: float
    clip: str
    """Frames x height x width."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobView:
    """A job as it was at one moment."""

    id: str
    settings: JobSettings
    state: State
    created: float
    """Seconds since 1970."""
    position: int = 0
    """Jobs before it in the queue, that which runs not counted; 0 once it has begun."""
    progress: Progress | None = None
    """Of the stage that runs."""
    finished: tuple[StageDone, ...] = ()
    """Stages whose preview can be seen."""
    seconds: float = 0.0
    """Since it began to run, until it ended."""
    error: str | None = None
    """Why it failed, for its owner."""


class Job:
    """A job as its worker sees it."""

    def __init__(self, identity: str, settings: JobSettings, queue: JobQueue) -> None:
        """Hold a job's state; only the queue makes jobs."""
        self.id = identity
        self.settings = settings
        self.created = time.time()
        self.wants_stop = False
        self.state = State.QUEUED
        self.progress: Progress | None = None
        self.finished: list[StageDone] = []
        self.began: float | None = None
        self.ended: float | None = None
        self.error: str | None = None
        self._queue = queue

    def on_progress(self, progress: Progress) -> None:
        """Take the state of the running stage.

        Raises:
            Stopped: if the job is to be stopped.
        """
        with self._queue.lock:
            self.progress = progress
        self.check_stop()

    def on_stage(self, done: StageDone) -> None:
        """Take a finished stage, its preview being in its place."""
        with self._queue.lock:
            self.finished.append(done)

    def check_stop(self) -> None:
        """Give up if somebody asked for it.

        Raises:
            Stopped: if so.
        """
        if self.wants_stop:
            raise Stopped


class JobQueue:
    """Jobs in the order in which they came, and the threads that work on them."""

    def __init__(
        self,
        workers: Sequence[Callable[[Job], None]],
        *,
        most: int,
        on_end: Callable[[JobView], None] | None = None,
        on_forget: Callable[[str], None] | None = None,
    ) -> None:
        """Start one thread a worker.

        Args:
            workers: one a device; each makes a job's result, or raises.
            most: jobs that may wait.
            on_end: told about every job that ended.
            on_forget: told the names of jobs that can no longer be asked for.
        """
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._most = most
        self._on_end = on_end
        self._on_forget = on_forget
        self._waiting: deque[Job] = deque()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), name=f"device-{i}", daemon=True)
            for i, worker in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, identity: str, settings: JobSettings) -> JobView:
        """Put a job at the end of the queue.

        Raises:
            QueueFullError: if too many wait already.
        """
        with self._changed:
            self._check_room()
            job = Job(identity, settings, self)
            self._jobs[identity] = job
            self._waiting.append(job)
            forgotten = self._forget()
            self._changed.notify()
            view = self._view(job)
        self._tell_forgotten(forgotten)
        return view

    def check_room(self) -> None:
        """Refuse early, before a job is looked at; there may be no room any more at `submit`.

        Raises:
            QueueFullError: if too many wait.
        """
        with self.lock:
            self._check_room()

    def _check_room(self) -> None:
        if self._is_closed or len(self._waiting) >= self._most:
            raise QueueFullError(
                "queue",
                "no more jobs" if self._is_closed else f"{len(self._waiting)} waiting jobs",
                f"at most {self._most}: the queue is full",
                "try again in a while",
            )

    def view(self, identity: str) -> JobView | None:
        """Return a job as it is now; None for one that is not known (any more)."""
        with self.lock:
            job = self._jobs.get(identity)
            return None if job is None else self._view(job)

    def stop(self, identity: str) -> JobView | None:
        """Stop a job: at once if it waits, at its next step if it runs, else nothing changes.

        May be called any number of times, at the same time too.

        Returns:
            The job as it is now; None for one that is not known.
        """
        ended = False
        with self.lock:
            job = self._jobs.get(identity)
            if job is None:
                return None
            job.wants_stop = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.state, job.ended = State.STOPPED, time.monotonic()
                ended = True
            view = self._view(job)
        if ended:
            self._tell_end(view)
        return view

    def count(self) -> dict[State, int]:
        """Return how many of the remembered jobs are in each state."""
        with self.lock:
            states = [job.state for job in self._jobs.values()]
        return {state: states.count(state) for state in State}

    def close(self) -> int:
        """Stop everything and wait for the threads; return how many jobs were given up."""
        with self._changed:
            self._is_closed = True
            open_jobs = [job.id for job in self._jobs.values() if not job.state.has_ended]
            self._changed.notify_all()
        for identity in open_jobs:
            self.stop(identity)
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)
        return len(open_jobs)

    def _work(self, worker: Callable[[Job], None]) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                job = self._waiting.popleft()
                job.state, job.began = State.RUNNING, time.monotonic()
            state, error = State.DONE, None
            try:
                job.check_stop()
                worker(job)
            except Stopped:
                state = State.STOPPED
            except Exception as raised:
                # The edge of the thread: whatever it is, the next job must run.
                state, error = State.FAILED, public_message(raised)
                log.exception("job %s failed", job.id)
            with self.lock:
                job.state, job.error, job.ended = state, error, time.monotonic()
                view = self._view(job)
            self._tell_end(view)

    def _view(self, job: Job) -> JobView:
        until = time.monotonic() if job.ended is None else job.ended
        return JobView(
            id=job.id,
            settings=job.settings,
            state=job.state,
            created=job.created,
            position=self._waiting.index(job) if job.state is State.QUEUED else 0,
            progress=job.progress,
            finished=tuple(job.finished),
            seconds=0.0 if job.began is None else until - job.began,
            error=job.error,
        )

    def _forget(self) -> list[str]:
        """Drop the oldest ended jobs over the number that is remembered."""
        ended = [name for name, job in self._jobs.items() if job.state.has_ended]
        dropped = ended[: max(0, len(ended) - MAX_REMEMBERED)]
        for name in dropped:
            del self._jobs[name]
        return dropped

    def _tell_forgotten(self, names: list[str]) -> None:
        for name in names:
            if self._on_forget is not None:
                self._on_forget(name)

    def _tell_end(self, view: JobView) -> None:
        if self._on_end is None:
            return
        try:
            self._on_end(view)
        except Exception:
            log.exception("after job %s", view.id)  # a full disk must not end the thread
