"""The web server as clients see it: over sockets, many at once, started from the command line."""

from __future__ import annotations

import dataclasses
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagen_video.cascade.memory import resident_bytes
from imagen_video.media.video_io import read_video
from imagen_video.web.jobs import State
from imagen_video.web.server import build_api, guarded
from imagen_video.web.service import Service
from integration.command_line import command
from integration.web_server import ask, listening
from unit.web.web_services import LIMITS, HeldPipeline, running_service, service_at

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 50


@pytest.fixture
def held() -> HeldPipeline:
    return HeldPipeline()


@pytest.fixture
def crowd_service(tmp_path: Path, held: HeldPipeline) -> Iterator[Service]:
    yield from running_service(tmp_path, held, dataclasses.replace(LIMITS, queued=40))


def test_of_fifty_clients_at_once_each_gets_a_result_or_a_clear_no(
    held: HeldPipeline, crowd_service: Service
) -> None:
    before = resident_bytes()
    with listening(guarded(build_api(crowd_service), crowd_service)) as port:

        def client(number: int) -> tuple[int, str, float]:
            wanted = {"prompt": f"cat {number}", "until": "base", "seed": number}
            started = time.monotonic()
            status, answer = ask(port, "POST", "/api/jobs", wanted)
            return status, answer.get("id", ""), time.monotonic() - started

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(client, range(CLIENTS)))
        taken = [identity for status, identity, _ in answers if status == 202]
        refused = [status for status, _, _ in answers if status != 202]
        assert set(refused) == {429}
        assert 40 <= len(taken) <= 41  # those that wait, and one that runs
        assert len(set(taken)) == len(taken)
        held.go.set()
        deadline = time.monotonic() + 90
        while any(crowd_service.queue.count()[s] for s in (State.QUEUED, State.RUNNING)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        states = [ask(port, "GET", f"/api/jobs/{name}")[1]["state"] for name in taken]
        assert states == ["done"] * len(taken)
        results = ask(port, "GET", "/api/results?count=100")[1]["results"]
        assert {result["id"] for result in results} == set(taken)
    assert resident_bytes() - before < 200 << 20


def test_a_client_that_vanishes_finds_its_result_in_the_gallery(tmp_path: Path) -> None:
    with (
        service_at(tmp_path) as service,
        listening(guarded(build_api(service), service)) as port,
    ):
        _, job = ask(port, "POST", "/api/jobs", {"prompt": "a cat", "until": "base"})
        while not ask(port, "GET", "/api/results")[1]["total"]:
            time.sleep(0.02)
        assert ask(port, "GET", "/api/results")[1]["results"][0]["id"] == job["id"]


def started(words: list[str], folder: Path) -> tuple[subprocess.Popen, str]:
    """Start `serve` in a process of its own; return it and its address."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-m", "imagen_video", "serve", "--port", "0", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # what starts the tests may ignore Ctrl-C, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("serving at http://127.0.0.1:"):
        _, errors = process.communicate(timeout=60)
        raise AssertionError(line + errors)
    return process, line.split()[-1]


def test_the_command_serves_the_example_client_and_ends_at_ctrl_c(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery\n", encoding="utf-8")
    words = ["--bundle", str(bundle), "--precision", "fp32", "--token-file", str(token)]
    process, address = started(words, tmp_path)
    try:
        out = tmp_path / "cat.mp4"
        example = ["http_client.py", "a cat", "--url", address, "--until", "ssr1"]
        monkeypatch.setattr(sys, "argv", [*example, "--out", str(out), "--token", "wrong-token"])
        with pytest.raises(SystemExit, match="token"):
            runpy.run_path(str(ROOT / "examples" / "http_client.py"), run_name="__main__")
        right = [*example, "--out", str(out), "--token", "correct-horse-battery", "--seed", "3"]
        monkeypatch.setattr(sys, "argv", right)
        runpy.run_path(str(ROOT / "examples" / "http_client.py"), run_name="__main__")
        assert "ssr1: 8x12x20" in capsys.readouterr().out
        assert read_video(out)[0].shape == (8, 12, 20, 3)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert len(list((tmp_path / "gallery").glob("[0-9a-f]*"))) == 1


MISTAKES = {
    "a short token": (["--token-file", "FILE"], "16 to 512"),
    "a missing token": (["--token-file", "missing"], "readable file"),
    "a port out of range": (["--port", "99999"], "--port"),
    "a foreign address": (["--host", "192.0.2.1", "--port", "0"], "a free address"),
    "an empty queue": (["--max-queued", "0"], "--max-queued"),
    "a device twice": (["--device", "cpu,cpu", "--port", "0"], "each device once"),
    "an unknown bundle": (["--bundle", "nope", "--port", "0"], "nope"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_command_line_is_told_at_once(mistake: str, tmp_path: Path) -> None:
    words, message = MISTAKES[mistake]
    (tmp_path / "short").write_text("abc", encoding="utf-8")
    words = [str(tmp_path / "short") if word == "FILE" else word for word in words]
    done = command("serve", "--gallery", tmp_path / "gallery", *words)
    assert done.code == 2
    assert message in done.err


def test_a_taken_port_is_told_at_once(tmp_path: Path) -> None:
    from imagen_video.web.server import listen

    with listen("127.0.0.1", 0) as sock:
        port = str(sock.getsockname()[1])
        done = command("serve", "--port", port, "--gallery", tmp_path / "gallery")
    assert done.code == 2
    assert "choose another port" in done.err


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = command("serve", "--port", "0", "--gallery", tmp_path / "gallery")
    assert done.code == 2
    assert "imagen-video[web]" in done.err
