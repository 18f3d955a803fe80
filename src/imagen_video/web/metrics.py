"""What the server counts, in the format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from imagen_video.web.jobs import JobQueue, JobView, State

_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        """Begin at zero; each server has a registry of its own."""
        self.registry = CollectorRegistry()
        self._queue: JobQueue | None = None
        self.submitted = Counter(
            "imagen_video_jobs_submitted", "Jobs taken into the queue", registry=self.registry
        )
        self.refused = Counter(
            "imagen_video_jobs_refused", "Jobs refused: queue full", registry=self.registry
        )
        self._ended = Counter(
            "imagen_video_jobs_ended", "Jobs that ended", ["state"], registry=self.registry
        )
        self._stage = Histogram(
            "imagen_video_stage_seconds",
            "Time of a stage",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        jobs = Gauge("imagen_video_jobs", "Jobs by state", ["state"], registry=self.registry)
        for state in State:
            jobs.labels(state.value).set_function(lambda state=state: self._count(state))
        for name, about, state in (
            ("imagen_video_queue_length", "Jobs that wait", State.QUEUED),
            ("imagen_video_jobs_in_flight", "Jobs that run", State.RUNNING),
        ):
            gauge = Gauge(name, about, registry=self.registry)
            gauge.set_function(lambda state=state: self._count(state))
        for state in (State.DONE, State.FAILED, State.STOPPED):
            self._ended.labels(state.value)  # shown from the start, as 0

    def watch(self, queue: JobQueue) -> None:
        """Count the jobs of a queue."""
        self._queue = queue

    def on_end(self, view: JobView) -> None:
        """Take a job that ended."""
        self._ended.labels(view.state.value).inc()
        for stage in view.finished:
            if stage.seconds:
                self._stage.labels(stage.name).observe(stage.seconds)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self.registry)

    def _count(self, state: State) -> float:
        return 0 if self._queue is None else self._queue.count()[state]
