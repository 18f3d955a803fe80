"""Clients at once against a real server process: their answers, its speed and its memory.

    python benchmarks/web.py [--clients 50] [--bundle emoji] [--until base]

The server queues 40 jobs, so that some clients are refused. Every client asks for its job until it
has ended. Traffic stays on the loopback interface.
"""

from __future__ import annotations

import http.client
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from _report import headline, machine, parser, table, write

ROOT = Path(__file__).resolve().parents[1]
QUEUED = 40
MAX_SECONDS = 1800.0


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any, float]:
    """Send a request; return status, JSON and seconds."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = json.loads(answer.read() or b"null")
    connection.close()
    return answer.status, data, time.perf_counter() - started


def client(port: int, number: int, until: str, seen: list[dict[str, Any]]) -> None:
    """Submit a job and follow it to its end."""
    wanted = {"prompt": f"a panda, number {number}", "until": until, "seed": number}
    status, job, submitted = ask(port, "POST", "/api/jobs", wanted)
    asked: list[float] = []
    deadline = time.monotonic() + MAX_SECONDS
    while status == 202 and job["state"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(1.0)
        _, job, seconds = ask(port, "GET", f"/api/jobs/{job['id']}")
        asked.append(seconds)
    end = job["state"] if status == 202 else f"refused ({status})"
    seen.append({"end": end, "submit": submitted, "asked": asked})


def main() -> None:
    """Start a server, let the clients in, print what they saw."""
    options = parser(__doc__, "web")
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--bundle", default="emoji")
    options.add_argument("--until", default="base")
    args = options.parse_args()
    clients = 2 if args.quick else args.clients
    with tempfile.TemporaryDirectory() as gallery:
        words = ["--bundle", args.bundle, "--gallery", gallery, "--port", "0"]
        command = [sys.executable, "-m", "imagen_video", "serve", "--max-queued", str(QUEUED)]
        server = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(":")[2])
            report = crowd(port, psutil.Process(server.pid), clients, args.until)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
    print(table([{"what": name, "value": str(value)} for name, value in report.items()]))
    lines = [
        headline("slowest answer to a new job", report["slowest submit (s)"], "s"),
        headline("jobs without an answer", float(report["without an answer"]), "jobs"),
    ]
    write(args.out, {"machine": machine(), "headline": lines, **report})


def crowd(port: int, process: psutil.Process, count: int, until: str) -> dict[str, Any]:
    """Run all clients; sum up."""
    idle = process.memory_info().rss
    seen: list[dict[str, Any]] = []
    started = time.monotonic()
    clients = [
        threading.Thread(target=client, args=(port, number, until, seen)) for number in range(count)
    ]
    for thread in clients:
        thread.start()
    most = idle
    while any(thread.is_alive() for thread in clients):
        most = max(most, process.memory_info().rss)
        time.sleep(0.2)
    ends = [one["end"] for one in seen]
    submits = sorted(one["submit"] for one in seen)
    asked = sorted(seconds for one in seen for seconds in one["asked"]) or [0.0]
    kept = ask(port, "GET", "/api/results?count=100")[1]["total"]
    return {
        "clients": count,
        "ends": {end: ends.count(end) for end in sorted(set(ends))},
        "without an answer": count - len(seen),
        "results in the gallery": kept,
        "median submit (s)": round(statistics.median(submits), 3),
        "slowest submit (s)": round(submits[-1], 3),
        "median ask (s)": round(statistics.median(asked), 3),
        "slowest ask (s)": round(asked[-1], 3),
        "memory, idle / most (MiB)": f"{idle >> 20} / {most >> 20}",
        "seconds": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    main()
