"""Run a function over many inputs in processes that may die.

A hostile file can crash a decoder or keep it busy for ever. Each input is given to one process at a
time; if that process dies or takes too long, the input gets an entry that says so, a new process
takes its place, and the others notice nothing. (`concurrent.futures` gives up the whole pool.)
Inputs and results are JSON, so that a process which a file has taken over can send text, no code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from imagen_video.errors import ResourceError

JOBS_PER_PROCESS = 2000
"""Then a fresh process takes over: decoders leak."""
MEMORY_BYTES = 8 << 30
"""Most private memory of a process; an input that needs more fails alone."""
_START_SECONDS = 120.0
_READY = b"ready"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failed:
    """What became of an input whose process did not answer."""

    reason: str
    """A few words."""
    detail: str
    """What happened."""


def num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    function: str,
    jobs: Iterable[Any],
    *,
    processes: int,
    seconds: float,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[tuple[int, Any | Failed]]:
    """Yield `(number of the job, result)` as results come in.

    Args:
        function: `package.module:name` of a function from a JSON value to a JSON value.
        jobs: its inputs, taken as processes become free.
        processes: how many; 0 runs everything here, without any protection.
        seconds: a job that takes longer is ended.
        memory_bytes: most private memory of a process, where the system can limit it.

    Raises:
        ResourceError: processes cannot be started.
    """
    numbered = enumerate(jobs)
    if processes == 0:
        call = _loaded(function)
        yield from ((number, call(job)) for number, job in numbered)
        return
    pool: list[_Worker] = []
    try:
        yield from _run(numbered, pool, function, processes, seconds, memory_bytes)
    finally:
        for worker in pool:
            worker.stop()


def _run(
    numbered: Iterator[tuple[int, Any]],
    pool: list[_Worker],
    function: str,
    processes: int,
    seconds: float,
    memory_bytes: int,
) -> Iterator[tuple[int, Any | Failed]]:
    while True:
        _clear(pool)
        for worker in pool:
            if worker.is_idle and (job := next(numbered, None)) is not None:
                worker.give(*job, seconds)
        # Processes start side by side: each gets its first job before it can take it.
        while len(pool) < processes and (job := next(numbered, None)) is not None:
            pool.append(_Worker(function, memory_bytes))
            pool[-1].give(*job, seconds)
        busy = {worker.connection: worker for worker in pool if not worker.is_idle}
        if not busy:
            return
        yield from _answers(busy, seconds)


def _clear(pool: list[_Worker]) -> None:
    for worker in list(pool):
        if worker.is_idle and (not worker.is_alive or worker.done >= JOBS_PER_PROCESS):
            worker.stop()
            pool.remove(worker)


def _answers(busy: dict[Connection, _Worker], seconds: float) -> Iterator[tuple[int, Any | Failed]]:
    """Wait for an answer, a death or a deadline, and yield what there is."""
    first = min(worker.deadline for worker in busy.values())
    ready = wait(list(busy), timeout=max(0.0, first - time.monotonic()))
    for connection, worker in busy.items():
        if connection in ready:
            answer = worker.take(seconds)
            if answer is not None:
                yield answer
        elif time.monotonic() >= worker.deadline:
            yield worker.give_up(seconds)


class _Worker:
    """One process and the job that it has."""

    def __init__(self, function: str, memory_bytes: int) -> None:
        import multiprocessing

        # Spawned, not forked: the parent has threads (progress bars, torch).
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=serve, args=(theirs, function, memory_bytes), daemon=True
        )
        self.number: int | None = None
        self.deadline = 0.0
        self.done = 0
        self._has_started = False
        self._is_dead = False
        try:
            # Ctrl-C is for the parent, which then ends the others.
            with _interrupts_blocked():
                self._process.start()
        except OSError as error:
            raise _no_processes(error.strerror or "an error") from error
        theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it can take another job."""
        return not self._is_dead and self._process.is_alive()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a job."""
        return self.number is None

    def give(self, number: int, job: Any, seconds: float) -> None:
        """Send a job."""
        patience = seconds if self._has_started else _START_SECONDS
        self.number, self.deadline = number, time.monotonic() + patience
        with contextlib.suppress(OSError):  # It died while idle: take() will find out.
            self.connection.send_bytes(json.dumps(job).encode())

    def take(self, seconds: float) -> tuple[int, Any | Failed] | None:
        """Receive the result that is ready, or find that the process has died.

        None means that it has only just started; its job has `seconds` from now.
        """
        assert self.number is not None
        try:
            message = self.connection.recv_bytes()
            if not self._has_started:
                self._has_started = message == _READY
                self.deadline = time.monotonic() + seconds
                return None
            result = json.loads(message)
            number, self.number = self.number, None
            self.done += 1
            return number, result
        except (EOFError, OSError, ValueError):
            self._is_dead = True
            number = self._ended_job()
            self._process.join(5)
            detail = f"the process that read it ended with {_exit_text(self._process.exitcode)}"
            return number, Failed(reason="decoder crashed", detail=detail)

    def give_up(self, seconds: float) -> tuple[int, Failed]:
        """Count a process that takes too long as dead."""
        self._is_dead = True
        number = self._ended_job()
        detail = f"not done after {seconds:g} seconds"
        return number, Failed(reason="took too long", detail=detail)

    def stop(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.kill()
        self._process.join()

    def _ended_job(self) -> int:
        if not self._has_started:
            raise _no_processes("a worker that ended or hung as it started")
        assert self.number is not None
        number, self.number = self.number, None
        return number


def serve(connection: Connection, function: str, memory_bytes: int) -> None:
    """Answer jobs until the other end closes. Runs in the worker process."""
    call = _loaded(function)
    _limit_memory(memory_bytes)
    # Codecs complain about damaged files on stderr; the report says it better.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    connection.send_bytes(_READY)
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return  # the parent has gone
        answer = json.dumps(call(job)).encode()
        with contextlib.suppress(OSError):
            connection.send_bytes(answer)


def _loaded(function: str) -> Callable[[Any], Any]:
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def _limit_memory(memory_bytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let a process started in this block inherit that SIGINT is blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _no_processes(found: str) -> ResourceError:
    return ResourceError(
        "worker processes", found, "processes that start", "try --workers 0, which needs none"
    )
