"""How long a job will still take, learned from the stages that have run on this server."""

from __future__ import annotations

import threading

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.web.gallery import Result
from imagen_video.web.jobs import JobView
from imagen_video.web.settings import JobSettings

_MEMORY = 0.5
"""Weight of the newest run: machines get busier and freer."""


class Pace:
    """Seconds of a stage per step and default-sized clip, as last seen."""

    def __init__(self, spec: CascadeSpec) -> None:
        """Know nothing yet."""
        self._spec = spec
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}

    def learn(self, result: Result) -> None:
        """Take the times of a finished job."""
        for stage in result.stages:
            if not stage.steps:
                continue  # taken from elsewhere
            whole = self._spec.stage(stage.name).output
            part = stage.frames * stage.height * stage.width
            part /= whole.frames * whole.height * whole.width
            seconds = stage.seconds / (stage.steps * part)
            with self._lock:
                old = self._seconds.get(stage.name, seconds)
                self._seconds[stage.name] = old + _MEMORY * (seconds - old)

    def left(self, view: JobView) -> float | None:
        """Estimate the seconds until a running job ends; None where a stage to come is new."""
        if view.progress is None:
            return None
        seconds = view.progress.seconds_left
        names = self.stages_of(view.settings)
        for name in names[names.index(view.progress.stage) + 1 :]:
            with self._lock:
                known = self._seconds.get(name)
            if known is None:
                return None
            stage = self._spec.stage(name)
            seconds += known * view.settings.steps.get(name, stage.sampling.steps)
        return seconds

    def stages_of(self, settings: JobSettings) -> list[str]:
        """Return the stages that a job runs, in order."""
        names = [stage.name for stage in self._spec.stages]
        # A gallery may hold results of other cascades.
        first = names.index(settings.start_stage) if settings.start_stage in names else 0
        last = names.index(settings.until) if settings.until in names else len(names) - 1
        return names[first : last + 1]
