from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from imagen_video.web.service import Service
from unit.web.web_services import HeldPipeline, client_of, ended, made


def test_a_job_is_posted_asked_for_and_fetched(client: TestClient, service: Service) -> None:
    posted = client.post("/api/jobs", json={"prompt": "a cat", "seed": 3})
    assert posted.status_code == 202
    identity = posted.json()["id"]
    ended(service, identity)
    job = client.get(f"/api/jobs/{identity}").json()
    assert job["state"] == "done"
    assert job["settings"]["seed"] == 3
    assert [stage["name"] for stage in job["stages"]] == ["base", "tsr1", "ssr1"]
    for stage in job["stages"]:
        assert client.get(stage["preview"]).headers["content-type"] == "video/mp4"
    video = client.get(job["result"], headers={"range": "bytes=0-99"})
    assert video.status_code == 206  # players seek
    listed = client.get("/api/results").json()
    assert listed["total"] == 1
    assert listed["results"][0]["id"] == identity
    settings = client.get(f"/api/results/{identity}/settings.json").json()
    assert settings["settings"] == job["settings"]


def test_a_job_is_stopped_by_delete_any_number_of_times(
    held: HeldPipeline, held_service: Service
) -> None:
    client = client_of(held_service)
    identity = client.post("/api/jobs", json={"prompt": "a cat"}).json()["id"]
    assert held.is_held.wait(30)
    assert client.delete(f"/api/jobs/{identity}").json()["state"] == "running"
    held.go.set()
    ended(held_service, identity)
    for _ in range(3):
        assert client.delete(f"/api/jobs/{identity}").json()["state"] == "stopped"


def test_a_full_queue_is_429_and_says_so(held: HeldPipeline, held_service: Service) -> None:
    client = client_of(held_service)
    answers = [client.post("/api/jobs", json={"prompt": "a cat"}) for _ in range(6)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 2 <= len(refused) <= 3  # one may have begun to run
    assert "the queue is full" in refused[0].json()["error"]
    assert refused[0].headers["retry-after"] == "5"
    assert f"imagen_video_jobs_refused_total {len(refused)}.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "JSON decode error"),
        (b"{}", "prompt: Field required"),
        (b"[]", "valid dictionary"),
        (json.dumps({"prompt": 3}).encode(), "valid string"),
        (json.dumps({"prompt": "a", "seed": "1"}).encode(), "seed"),
        (json.dumps({"prompt": "a", "colour": 1}).encode(), "colour: Extra inputs"),
        (json.dumps({"prompt": "secret \x07"}).encode(), "U+0007"),
        (b'{"prompt": "\xff"}', "error"),
    ],
)
def test_a_bad_request_is_answered_in_one_form_without_an_echo(
    body: bytes, message: str, client: TestClient
) -> None:
    answer = client.post("/api/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]
    assert message in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/" + "0" * 32,
        "/api/jobs/..%2f..",
        "/api/results/" + "0" * 32 + "/video.mp4",
        "/api/results/..%2f..%2fetc/passwd",
        "/api/results/.uploads/x",
        "/api/results/%2e%2e/video.mp4",
        "/api/nonsense",
    ],
)
def test_what_is_not_there_is_404(path: str, client: TestClient) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"] or answer.json() == {"detail": "Not Found"}


def test_an_unexpected_failure_is_500_without_details(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(service.gallery, "newest", broken)
    answer = client.get("/api/results")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_a_result_is_deleted(client: TestClient, service: Service) -> None:
    identity = made(service, until="base").id
    assert client.delete(f"/api/results/{identity}").status_code == 204
    assert client.delete(f"/api/results/{identity}").status_code == 404
    assert client.get(f"/api/results/{identity}/video.mp4").status_code == 404


def test_openapi_names_every_route_and_its_body(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    routes = {(path, verb) for path, verbs in document["paths"].items() for verb in verbs}
    assert {
        ("/api/jobs", "post"),
        ("/api/jobs/{identity}", "get"),
        ("/api/jobs/{identity}", "delete"),
        ("/api/results", "get"),
        ("/api/results/{identity}/{name}", "get"),
        ("/api/uploads", "post"),
        ("/healthz", "get"),
        ("/metrics", "get"),
    } <= routes
    job = document["components"]["schemas"]["JobSettings"]
    assert all("description" in field for field in job["properties"].values())


def test_metrics_count_jobs_and_time_stages(client: TestClient, service: Service) -> None:
    made(service)
    text = client.get("/metrics").text
    for line in (
        'imagen_video_jobs_ended_total{state="done"} 1.0',
        "imagen_video_queue_length 0.0",
        "imagen_video_jobs_in_flight 0.0",
        'imagen_video_jobs{state="done"} 1.0',
        'imagen_video_stage_seconds_count{stage="ssr1"} 1.0',
    ):
        assert line in text
