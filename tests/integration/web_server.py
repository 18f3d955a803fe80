"""A server that listens on a free port of this machine, in a thread of the test."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from starlette.types import ASGIApp

from imagen_video.web.server import listen, server


@contextlib.contextmanager
def listening(app: ASGIApp) -> Iterator[int]:
    """Yield the port."""
    running = server(app)
    with listen("127.0.0.1", 0) as sock:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not running.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield sock.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join(30)


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send one request over a connection of its own; return status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()
