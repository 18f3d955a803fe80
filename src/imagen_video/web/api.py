"""The HTTP API. Errors are `{"error": "what, and what to do"}`; OpenAPI is at /api/openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from imagen_video import __version__
from imagen_video.errors import InputError, ResourceError
from imagen_video.web.gallery import Result
from imagen_video.web.jobs import QueueFullError
from imagen_video.web.messages import public_message
from imagen_video.web.service import Service, with_details
from imagen_video.web.settings import JobSettings
from imagen_video.web.uploads import TooLargeError

_MAX_COMPLAINTS = 5
_RETRY_SECONDS = "5"


class StageDetails(BaseModel):
    """A finished stage of a job."""

    name: str
    seconds: float
    clip: str = Field(description="Frames x height x width.")
    preview: str = Field(description="Where its MP4 is.")


class JobDetails(BaseModel):
    """A job."""

    id: str = Field(description="Also the name of its result.")
    state: str = Field(description="queued, running, done, failed or stopped.")
    position: int = Field(description="Jobs that wait before it.")
    created: float = Field(description="Seconds since 1970.")
    seconds: float = Field(description="Since it began to run, until it ended.")
    seconds_left: float | None = Field(description="An estimate, once one can be made.")
    progress: dict[str, Any] | None = Field(description="Of the stage that runs.")
    stages: list[StageDetails] = Field(description="What is finished.")
    result: str | None = Field(description="Where the MP4 is, once it is done.")
    error: str | None = Field(description="Why it failed.")
    settings: JobSettings


class Results(BaseModel):
    """A page of the gallery, the newest first."""

    total: int
    results: list[Result]


class UploadDetails(BaseModel):
    """An uploaded clip."""

    id: str = Field(description="For `upload` of a job.")
    width: int
    height: int
    fps: float
    frames: int | None
    seconds: float | None


class Health(BaseModel):
    """That the server answers."""

    status: str
    version: str


def api_router(service: Service) -> APIRouter:
    """Build the routes of a service."""
    router = APIRouter()
    _add_jobs(router, service)
    _add_results(router, service)
    _add_server(router, service)
    return router


def _add_jobs(router: APIRouter, service: Service) -> None:
    @router.post("/api/jobs", status_code=202, response_model=JobDetails)
    def submit(settings: JobSettings) -> Any:
        """Put a job into the queue."""
        return with_details(service.submit(settings), service)

    @router.get("/api/jobs/{identity}", response_model=JobDetails)
    def look(identity: str) -> Any:
        """Ask how far a job is."""
        view = service.view(identity)
        if view is None:
            raise HTTPException(404, "no such job")
        return with_details(view, service)

    @router.delete("/api/jobs/{identity}", response_model=JobDetails)
    def stop(identity: str) -> Any:
        """Stop a job at its next step. Stopping one that has ended changes nothing."""
        view = service.stop(identity)
        if view is None:
            raise HTTPException(404, "no such job")
        return with_details(view, service)

    @router.post("/api/uploads", status_code=201, response_model=UploadDetails)
    async def upload(request: Request) -> Any:
        """Upload a clip: its bytes are the body, as they are (no form)."""
        identity = await service.uploads.receive(request.stream())
        return await run_in_threadpool(service.uploads.inspect, identity)


def _add_results(router: APIRouter, service: Service) -> None:
    @router.get("/api/results", response_model=Results)
    def results(
        offset: Annotated[int, Query(ge=0)] = 0, count: Annotated[int, Query(ge=1, le=100)] = 50
    ) -> Any:
        """List the gallery, the newest result first."""
        return Results(total=len(service.gallery), results=service.gallery.newest(offset, count))

    @router.get("/api/results/{identity}/{name}", response_class=FileResponse)
    def file(identity: str, name: str) -> Any:
        """Get video.mp4, sheet.png, poster.png, settings.json or preview-STAGE.mp4."""
        path = service.gallery.file(identity, name)
        if path is None:
            raise HTTPException(404, "no such file")
        return FileResponse(path)

    @router.delete("/api/results/{identity}", status_code=204)
    def delete(identity: str) -> None:
        """Delete a result."""
        if not service.gallery.delete(identity):
            raise HTTPException(404, "no such result")


def _add_server(router: APIRouter, service: Service) -> None:
    @router.get("/healthz", response_model=Health)
    def health() -> Any:
        """Tell that the server answers."""
        return Health(status="ok", version=__version__)

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Any:
        """Count jobs and times, for Prometheus."""
        return PlainTextResponse(service.metrics.text())


def handle_errors(app: FastAPI) -> None:
    """Answer every error in one form, without what the client sent and without server paths."""
    app.add_exception_handler(InputError, _input_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(AnyHTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _too_long)
    app.add_exception_handler(Exception, _unexpected)


def status_of(error: Exception) -> int:
    """Return the HTTP status that says whose fault an error is."""
    if isinstance(error, QueueFullError):
        return 429
    if isinstance(error, TooLargeError):
        return 413
    return 507 if isinstance(error, ResourceError) else 422


def _input_error(request: Request, error: Exception) -> JSONResponse:
    status = status_of(error)
    headers = {"Retry-After": _RETRY_SECONDS} if status == 429 else None
    return JSONResponse({"error": public_message(error)}, status_code=status, headers=headers)


def _bad_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    complaints = [
        ".".join(str(part)[:80] for part in complaint["loc"][1:4]) + ": " + complaint["msg"][:200]
        for complaint in error.errors()[:_MAX_COMPLAINTS]
    ]
    return JSONResponse({"error": "; ".join(complaints)}, status_code=422)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return JSONResponse(
        {"error": str(error.detail)}, status_code=error.status_code, headers=error.headers
    )


def _too_long(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "the body ended early or is too large"}, status_code=413)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": public_message(error)}, status_code=500)
