"""Make a video on a server, with the standard library only.

    imagen-video serve                                                      in one terminal
    python examples/http_client.py "a turtle swimming" --out turtle.mp4     in another

Ctrl-C stops the job on the server, too.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class Client:
    """Talks to one server."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Hold the address, and the token that a server on the network asks for."""
        self._url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def submit(self, **settings: Any) -> dict[str, Any]:
        """Queue a job; waits and tries again while the queue is full.

        Args:
            settings: the JSON of POST /api/jobs, see /api/openapi.json of the server.
        """
        while True:
            try:
                return json.loads(self._send("POST", "/api/jobs", json.dumps(settings).encode()))
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise SystemExit(json.loads(error.read())["error"]) from error
                time.sleep(float(error.headers["Retry-After"]))

    def job(self, identity: str) -> dict[str, Any]:
        """Ask how far a job is."""
        return json.loads(self._send("GET", f"/api/jobs/{identity}"))

    def stop(self, identity: str) -> None:
        """Stop a job."""
        self._send("DELETE", f"/api/jobs/{identity}")

    def upload(self, path: Path) -> str:
        """Upload a clip; return its name for `submit(upload=..., start_stage=...)`."""
        return json.loads(self._send("POST", "/api/uploads", path.read_bytes(), "video/mp4"))["id"]

    def download(self, address: str, path: Path) -> None:
        """Fetch a file that a job named."""
        path.write_bytes(self._send("GET", address))

    def _send(
        self, method: str, address: str, body: bytes | None = None, kind: str = "application/json"
    ) -> bytes:
        headers = self._headers | ({} if body is None else {"Content-Type": kind})
        request = urllib.request.Request(
            self._url + address, data=body, headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


def main() -> None:
    """Submit, follow, download."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prompt")
    parser.add_argument("--out", type=Path, default=Path("video.mp4"))
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--token")
    parser.add_argument("--until", help="last stage")
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    client = Client(args.url, args.token)
    job = client.submit(prompt=args.prompt, until=args.until, seed=args.seed)
    seen = 0
    try:
        while job["state"] in ("queued", "running"):
            time.sleep(0.5)
            job = client.job(job["id"])
            for stage in job["stages"][seen:]:
                print(f"{stage['name']}: {stage['clip']} in {stage['seconds']:.1f} s", flush=True)
            seen = len(job["stages"])
    except KeyboardInterrupt:
        client.stop(job["id"])
        raise SystemExit("stopped") from None
    if job["state"] != "done":
        raise SystemExit(job["error"] or job["state"])
    client.download(job["result"], args.out)
    print(f"wrote {args.out}, seed {job['settings']['seed']}")


if __name__ == "__main__":
    main()
