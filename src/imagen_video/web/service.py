"""The server without its pages: jobs go in, results lie in the gallery."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.errors import InputError
from imagen_video.web.gallery import Gallery
from imagen_video.web.jobs import JobQueue, JobView, QueueFullError, State
from imagen_video.web.limits import Limits
from imagen_video.web.making import CLAIMED, Maker
from imagen_video.web.metrics import Metrics
from imagen_video.web.pace import Pace
from imagen_video.web.settings import JobSettings, is_id, new_id, settled
from imagen_video.web.uploads import Uploads

_LEARNED_FROM = 10
"""Newest results of the gallery whose times are taken, at the start."""


class Service:
    """What the HTTP API and the page share."""

    def __init__(
        self,
        pipelines: Sequence[ImagenVideoPipeline],
        gallery: Path,
        limits: Limits | None = None,
        bundle: str = "",
    ) -> None:
        """Open the gallery and start a thread a pipeline.

        Args:
            pipelines: the same cascade, once on each device.
            gallery: folder of the results.
            limits: what is refused; those of the cascade if None.
            bundle: what people call the weights.

        Raises:
            InputError: a cascade without text, or a gallery that cannot be used.
        """
        self.spec = pipelines[0].spec
        if not any(stage.unet.text_width for stage in self.spec.stages):
            raise InputError(
                f"cascade {self.spec.name!r}",
                "no text among its conditions",
                "a cascade that is told what to show",
                "use `imagen-video generate` for it",
            )
        self.bundle = bundle or self.spec.name
        self.limits = limits or Limits.of(self.spec)
        self.gallery = Gallery(gallery)
        self.uploads = Uploads(self.gallery.root / ".uploads", self.limits)
        self.pace = Pace(self.spec)
        for result in reversed(self.gallery.newest(0, _LEARNED_FROM)):
            if result.bundle_sha256 == pipelines[0].digest:
                self.pace.learn(result)
        self.metrics = Metrics()
        makers = [
            Maker(pipeline, self.gallery, self.uploads, self.limits, self.bundle)
            for pipeline in pipelines
        ]
        self._check = makers[0].check
        self.queue = JobQueue(
            [maker.make for maker in makers],
            most=self.limits.queued,
            on_end=self._on_end,
            on_forget=self.gallery.forget_draft,
        )
        self.metrics.watch(self.queue)

    def submit(self, settings: JobSettings) -> JobView:
        """Check a job and put it into the queue.

        Raises:
            QueueFullError: if too many wait.
            InputError: for anything that cannot be used.
            ResourceError: if the memory does not suffice, or the disk is nearly full.
        """
        identity = new_id()
        try:
            self.queue.check_room()
            whole = settled(settings, self.spec, self.limits)
            self._check(whole)
            self.gallery.check_room()
            if whole.upload is not None:
                self.uploads.claim(whole.upload, self.gallery.draft(identity) / CLAIMED)
            view = self.queue.submit(identity, whole)
        except InputError as error:
            self.gallery.forget_draft(identity)
            if isinstance(error, QueueFullError):
                self.metrics.refused.inc()
            raise
        self.metrics.submitted.inc()
        return view

    def view(self, identity: str) -> JobView | None:
        """Return a job, or what the gallery knows of one that ended long ago."""
        if not is_id(identity):
            return None
        view = self.queue.view(identity)
        if view is not None:
            return view
        result = self.gallery.get(identity)
        if result is None:
            return None
        return JobView(
            id=result.id,
            settings=result.settings,
            state=State.DONE,
            created=result.created,
            seconds=result.seconds,
        )

    def stop(self, identity: str) -> JobView | None:
        """Stop a job; None for an unknown one. Stopping what has ended changes nothing."""
        return self.queue.stop(identity) or self.view(identity)

    def again(self, identity: str, start_stage: str | None = None) -> JobSettings:
        """Return the settings of a result, to run it again from the base or from a later stage.

        A later stage takes what this result kept, so that it does not matter what became of the
        result or upload that this one was made from.

        Raises:
            InputError: if there is no such result, or no such stage.
        """
        result = self.gallery.get(identity)
        if result is None:
            raise InputError("result", "an unknown name", "one of the gallery", "choose one")
        later = start_stage is not None and self.spec.index(start_stage) > 0
        return result.settings.model_copy(
            update={
                "start_stage": start_stage if later else None,
                "result": identity if later else None,
                "upload": None,
            }
        )

    def close(self) -> int:
        """Stop all jobs; return how many had not ended."""
        count = self.queue.close()
        self.gallery.close()
        return count

    def _on_end(self, view: JobView) -> None:
        self.metrics.on_end(view)
        if view.state is State.DONE:
            result = self.gallery.get(view.id)
            if result is not None:
                self.pace.learn(result)
        else:
            # What was seen stays to be seen; what was kept for going on is given up.
            self.gallery.keep_previews(view.id)


def with_details(view: JobView, service: Service) -> dict[str, object]:
    """Return a job as the HTTP API shows it."""
    progress = view.progress if view.state is State.RUNNING else None
    left = service.pace.left(view) if progress is not None else None
    ended = view.state is State.DONE
    return {
        "id": view.id,
        "state": view.state.value,
        "position": view.position,
        "created": view.created,
        "seconds": round(view.seconds, 3),
        "seconds_left": None if left is None else round(left, 1),
        "progress": None if progress is None else dataclasses.asdict(progress),
        "stages": [
            dataclasses.asdict(stage) | {"preview": _preview(view, stage.name, service)}
            for stage in view.finished
        ],
        "result": f"/api/results/{view.id}/video.mp4" if ended else None,
        "error": view.error,
        "settings": view.settings.model_dump(),
    }


def _preview(view: JobView, stage: str, service: Service) -> str:
    last = stage == service.pace.stages_of(view.settings)[-1]
    return f"/api/results/{view.id}/" + ("video.mp4" if last else f"preview-{stage}.mp4")
