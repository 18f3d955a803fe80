"""Services for the tests of the web page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from imagen_video.web import server
from imagen_video.web.service import Service
from unit.web.web_services import HeldPipeline, client_of, running_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    yield from running_service(tmp_path)


@pytest.fixture(scope="session")
def page_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from running_service(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def app(page_service: Service) -> FastAPI:
    """API and page, without the guard; built once."""
    server.check_extra()
    return asyncio.run(server._with_page(page_service))


@pytest.fixture
def held() -> HeldPipeline:
    return HeldPipeline()


@pytest.fixture
def held_service(tmp_path: Path, held: HeldPipeline) -> Iterator[Service]:
    yield from running_service(tmp_path, held)


@pytest.fixture
def client(service: Service) -> TestClient:
    return client_of(service)
