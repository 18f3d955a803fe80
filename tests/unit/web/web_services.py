"""A service around the small cascade, and ways to hold it at a step and to wait for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient
from starlette.types import ASGIApp

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Progress
from imagen_video.web.jobs import JobView, State
from imagen_video.web.limits import Limits
from imagen_video.web.server import build_api, guarded
from imagen_video.web.service import Service
from imagen_video.web.settings import JobSettings
from unit.cascade.small_cascades import small_cascade, small_networks, small_pipeline

HOST = "http://127.0.0.1"
LIMITS = Limits(frames=8, pixels=8 * 12, queued=3, upload_bytes=100_000, upload_seconds=5.0)


class HeldPipeline(ImagenVideoPipeline):
    """The small pipeline, which waits at every step until it is let go."""

    def __init__(self) -> None:
        other = small_pipeline()
        networks = small_networks(small_cascade())
        super().__init__(other.spec, networks.__getitem__, other._encoder)
        self.go = threading.Event()
        self.is_held = threading.Event()

    def run(self, request: Any, **options: Any) -> Any:
        inner: Callable[[Progress], None] = options.pop("on_progress")

        def on_progress(progress: Progress) -> None:
            self.is_held.set()
            assert self.go.wait(30)
            inner(progress)

        return super().run(request, on_progress=on_progress, **options)


def settings(prompt: str = "a cat", **changes: Any) -> JobSettings:
    return JobSettings.model_validate({"prompt": prompt, "seed": 1} | changes)


def ended(service: Service, identity: str, seconds: float = 30.0) -> JobView:
    """Wait until a job has ended."""
    deadline = time.monotonic() + seconds
    view = None
    while time.monotonic() < deadline:
        view = service.view(identity)
        assert view is not None
        if view.state.has_ended:
            return view
        time.sleep(0.01)
    raise AssertionError(f"still not ended: {view}")


def made(service: Service, **changes: Any) -> JobView:
    """Run a job to its good end."""
    view = ended(service, service.submit(settings(**changes)).id)
    assert view.state is State.DONE, view.error
    return view


def running_service(
    folder: Path, pipeline: ImagenVideoPipeline | None = None, limits: Limits = LIMITS
) -> Iterator[Service]:
    service = Service([pipeline or small_pipeline()], folder / "gallery", limits)
    yield service
    if isinstance(pipeline, HeldPipeline):
        pipeline.go.set()
    service.close()


service_at = contextlib.contextmanager(running_service)
"""For tests that start a service more than once."""


def talk_to(app: ASGIApp, host: str = HOST) -> TestClient:
    """Talk to an application without a socket."""
    return TestClient(app, base_url=host, raise_server_exceptions=False)


def client_of(service: Service) -> TestClient:
    """Talk to the guarded HTTP API; building the page takes a second, so it is left out."""
    return talk_to(guarded(build_api(service), service))
