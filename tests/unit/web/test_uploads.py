from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from imagen_video.data import workers
from imagen_video.media.pictures import write_animation
from imagen_video.media.video_io import write_video
from imagen_video.web import clip_reader, uploads
from imagen_video.web.jobs import State
from imagen_video.web.service import Service
from unit.web.web_services import ended, settings


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode here: starting a process takes a second, and one test does it for real."""

    def here(function: str, jobs: list, **options: object) -> list:
        call: Callable = getattr(clip_reader, function.partition(":")[2])
        return [(0, call(job)) for job in jobs]

    monkeypatch.setattr(uploads, "run_jobs", here)


def clip(frames: int = 6, height: int = 20, width: int = 30, fps: float = 12.0) -> np.ndarray:
    ramp = np.linspace(0, 255, frames * height * width * 3)
    return ramp.reshape(frames, height, width, 3).astype(np.uint8)


def video_bytes(folder: Path, fps: float = 12.0, **shape: int) -> bytes:
    write_video(folder / "x.mp4", clip(**shape), fps)
    return (folder / "x.mp4").read_bytes()


def left_behind(service: Service) -> list[Path]:
    return list((service.gallery.root / ".uploads").glob("*"))


def test_a_clip_is_taken_and_carried_through_the_later_stages(
    client: TestClient, service: Service, tmp_path: Path
) -> None:
    answer = client.post("/api/uploads", content=video_bytes(tmp_path))
    assert answer.status_code == 201, answer.text
    facts = answer.json()
    assert (facts["height"], facts["width"], facts["fps"]) == (20, 30, 12)
    wanted = settings(upload=facts["id"], start_stage="ssr1", until="ssr1")
    view = ended(service, service.submit(wanted).id)
    assert view.state is State.DONE, view.error
    assert [stage.name for stage in view.finished] == ["tsr1", "ssr1"]
    result = service.gallery.get(view.id)
    assert result is not None
    assert (result.last.frames, result.last.height, result.last.width) == (6, 8, 12)
    assert not (service.gallery.root / view.id / "upload").exists()
    again = service.again(view.id, "ssr1").model_copy(update={"seed": 5})
    assert ended(service, service.submit(again).id).state is State.DONE


def test_a_moving_gif_is_a_clip_too(client: TestClient, tmp_path: Path) -> None:
    write_animation(tmp_path / "x.gif", clip(), 10.0)
    answer = client.post("/api/uploads", content=(tmp_path / "x.gif").read_bytes())
    assert answer.status_code == 201, answer.text


def test_a_real_process_decodes_and_survives_what_is_no_clip(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "run_jobs", workers.run_jobs)
    path = service.uploads._path("0" * 32)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(video_bytes(tmp_path))
    assert service.uploads.inspect("0" * 32).width == 30


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be large and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def zip_bomb() -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../x.mp4", b"\0" * 10_000_000)
    return stream.getvalue()


HOSTILE = {
    "nothing": (lambda folder: b"", "empty"),
    "a zip bomb": (lambda folder: zip_bomb(), "unknown kind"),
    "a picture of 100k x 100k": (lambda folder: png_header(100_000, 100_000), "10000000000 pixels"),
    "an hour": (lambda folder: video_bytes(folder, fps=0.1, frames=2), "at most 5"),
    "half a file": (lambda folder: video_bytes(folder)[:-500], "got"),
    "a script": (lambda folder: b"#!/bin/sh\nrm -rf /\n" * 9, "unknown kind"),
    "a playlist": (lambda folder: b"#EXTM3U\n/etc/passwd\n", "unknown kind"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_deleted(
    name: str, client: TestClient, service: Service, tmp_path: Path
) -> None:
    make, message = HOSTILE[name]
    answer = client.post("/api/uploads", content=make(tmp_path))
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert str(tmp_path) not in answer.text
    assert not left_behind(service)


@pytest.mark.parametrize("says_length", [True, False])
def test_a_body_over_the_limit_is_cut_off(
    says_length: bool, client: TestClient, service: Service
) -> None:
    body = b"x" * 150_000
    content = body if says_length else iter([body[:50_000]] * 3)
    answer = client.post("/api/uploads", content=content)
    assert answer.status_code == 413
    assert not left_behind(service)


def test_only_so_many_uploads_are_kept_and_a_jobs_own_stays(
    client: TestClient, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_KEPT", 2)
    data = video_bytes(tmp_path)
    names = [client.post("/api/uploads", content=data).json()["id"] for _ in range(2)]
    view = service.submit(settings(upload=names[0], start_stage="ssr1"))
    client.post("/api/uploads", content=data)
    assert len(left_behind(service)) == 2
    assert ended(service, view.id).state is State.DONE
    answer = client.post(
        "/api/jobs", json={"prompt": "x", "upload": names[0], "start_stage": "ssr1"}
    )
    assert answer.status_code == 422
    assert "upload it again" in answer.json()["error"]


def test_a_decoder_that_dies_is_an_answer(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = workers.Failed(reason="decoder crashed", detail="SIGSEGV")
    monkeypatch.setattr(uploads, "run_jobs", lambda *a, **k: [(0, dead)])
    answer = client.post("/api/uploads", content=video_bytes(tmp_path))
    assert answer.status_code == 422
    assert "decoder crashed" in answer.json()["error"]
