"""From a service to a listening server: the API, the page and the guard in front of them."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from imagen_video import __version__
from imagen_video.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from imagen_video.web.service import Service

MAX_CONNECTIONS = 512
_SHUTDOWN_SECONDS = 2


def check_extra() -> None:
    """Find out whether what the page needs is installed.

    Raises:
        MissingExtraError: if it is not.
    """
    # Before the import: nothing is ever reported to anybody.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "web page",
            f"no module {error.name}",
            "the web extra",
            "run: pip install 'imagen-video[web]'",
        ) from error


def build_api(service: Service) -> FastAPI:
    """Build the HTTP API alone, without page and guard."""
    from fastapi import FastAPI

    from imagen_video.web.api import api_router, handle_errors

    api = FastAPI(
        title="imagen-video",
        version=__version__,
        summary="Text to video with a cascade of diffusion models.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
    )
    api.include_router(api_router(service))
    handle_errors(api)
    return api


def guarded(app: ASGIApp, service: Service, token: str | None = None) -> ASGIApp:
    """Put the guard in front of an application.

    Args:
        app: what is guarded.
        service: whose limits hold.
        token: what clients must know; None for loopback only.
    """
    from imagen_video.web.access import Guard

    return Guard(app, token=token, upload_bytes=service.limits.upload_bytes)


def build_app(service: Service, token: str | None = None) -> ASGIApp:
    """Put API, page and guard together. Not to be called where an event loop runs.

    Args:
        service: what does the work.
        token: what clients must know; None for loopback only.
    """
    check_extra()
    # gradio asks for an event loop as it builds, and would leave new ones unclosed.
    return guarded(asyncio.run(_with_page(service)), service, token)


async def _with_page(service: Service) -> FastAPI:
    import gradio as gr

    from imagen_video.web.page import build_page
    from imagen_video.web.page_style import CSS, theme

    return gr.mount_gradio_app(
        build_api(service),
        build_page(service),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=CSS,
    )


def listen(host: str, port: int) -> socket.socket:
    """Take an address; port 0 takes a free one.

    Raises:
        InputError: if it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--host {host} --port {port}",
            getattr(error, "strerror", None) or str(error),
            "a free address of this machine",
            "choose another port, or 0 for any free one",
        ) from error


def server(app: ASGIApp) -> uvicorn.Server:
    """Return a server that is not running yet: `.run(sockets=[listen(...)])`."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            app,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )
