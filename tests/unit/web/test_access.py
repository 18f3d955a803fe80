from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from imagen_video.web.access import COOKIE
from imagen_video.web.server import guarded
from imagen_video.web.service import Service
from unit.web.web_services import talk_to

TOKEN = "0123456789abcdef"
ROUTES = ["/", "/config", "/metrics", "/api/results", "/api/openapi.json", "/theme.css"]


@pytest.fixture
def local(app: FastAPI, page_service: Service) -> TestClient:
    return talk_to(guarded(app, page_service))


@pytest.fixture
def remote(app: FastAPI, page_service: Service) -> TestClient:
    return talk_to(guarded(app, page_service, TOKEN), "http://example.org:7860")


@pytest.mark.parametrize("path", ROUTES)
def test_nothing_is_shown_without_the_token(path: str, remote: TestClient) -> None:
    for headers in (
        {},
        {"authorization": "Bearer wrong-token-000000"},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": f"{COOKIE}={TOKEN}"},
    ):
        answer = remote.get(path, headers=headers)
        assert answer.status_code == 401
        assert "token" in answer.json()["error"]
    assert remote.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_health_needs_no_token(remote: TestClient) -> None:
    assert remote.get("/healthz").json()["status"] == "ok"


def test_a_browser_is_led_to_the_login_and_keeps_a_cookie(remote: TestClient) -> None:
    page = remote.get("/", headers={"accept": "text/html"})
    assert page.url.path == "/login"
    wrong = remote.post("/login", data={"token": "nonsense"})
    assert wrong.status_code == 401
    assert COOKIE not in remote.cookies
    right = remote.post("/login", data={"token": TOKEN}, follow_redirects=False)
    assert right.headers["location"] == "/"
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert remote.get("/api/results").status_code == 200


def test_a_huge_login_is_refused(remote: TestClient) -> None:
    assert remote.post("/login", content=b"token=" + b"x" * 300_000).status_code == 413
    assert remote.post("/login", content=b"token=" + b"x" * 200_000).status_code == 401


def test_without_a_token_only_this_machines_names_are_answered(
    app: FastAPI, page_service: Service
) -> None:
    guard = guarded(app, page_service)
    for host in ("evil.example", "127.0.0.1.evil.example", "192.0.2.7:7860"):
        assert talk_to(guard, f"http://{host}").get("/healthz").status_code == 400
    for host in ("localhost:7860", "127.0.0.1", "[::1]:80"):
        assert talk_to(guard, f"http://{host}").get("/healthz").status_code == 200


def test_a_foreign_page_cannot_send_on_behalf_of_the_browser(local: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        answer = local.post("/api/jobs", json={"prompt": "a cat"}, headers={"origin": origin})
        assert answer.status_code == 403
    own = local.get("/api/results", headers={"origin": "http://127.0.0.1"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/upload",
        "/gradio_api/proxy=http://127.0.0.1",
        "/gradio_api/queue/join",
        "/gradio_api/vibe-edit",
        "/gradio_api/info",
        "/gradio_api/runs",
        "/monitoring",
        "/docs",
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "//etc/passwd",
    ],
)
def test_gradios_other_routes_are_closed(path: str, local: TestClient) -> None:
    for method in ("GET", "POST"):
        assert local.request(method, path).status_code == 404


def test_a_large_body_is_refused_everywhere(local: TestClient) -> None:
    body = b'{"prompt": "' + b"a" * 1_000_000 + b'"}'
    json = {"content-type": "application/json"}
    assert local.post("/api/jobs", content=body, headers=json).status_code == 413
    chunks = iter([body[i : i + 100_000] for i in range(0, len(body), 100_000)])
    assert local.post("/api/jobs", content=chunks, headers=json).status_code in (400, 413)
    assert local.get("/api/results", headers={"content-length": "-1"}).status_code == 413


def test_answers_carry_the_headers_that_keep_browsers_careful(local: TestClient) -> None:
    headers = local.get("/healthz").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
