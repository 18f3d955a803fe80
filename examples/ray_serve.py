"""Videos over HTTP with Ray Serve: a sentence in the address, an MP4 in the answer.

    pip install 'imagen-video[ray]'
    python examples/ray_serve.py --until ssr1
    curl --fail -o panda.mp4 'http://127.0.0.1:8000/?prompt=a%20panda%20dancing&seed=1'

or, on a cluster, `serve deploy` with `application` of this file as the builder. A replica makes one
video at a time; more requests wait, and above the length of the queue Serve answers 503. Serve asks
nobody who they are: keep it on 127.0.0.1 or put a server that does in front.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

import torch
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from imagen_video import ImagenVideoPipeline
from imagen_video.distributed.cluster import LOCAL, connected
from imagen_video.errors import InputError
from imagen_video.media.video_io import write_video

WAITING = 16
"""Requests that may wait for each replica."""


class Videos:
    """One replica: a cascade in memory."""

    def __init__(self, bundle: str = "emoji", until: str | None = None) -> None:
        """Load the cascade.

        Args:
            bundle: a built-in name, a folder that all machines see, or a hub id.
            until: last stage to run.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipe = ImagenVideoPipeline.from_pretrained(bundle).to(device)
        self.until = until

    async def __call__(self, request: Request) -> Response:
        """Answer `/?prompt=...&seed=...`."""
        prompt, seed = request.query_params.get("prompt", ""), request.query_params.get("seed", "0")
        try:
            content = await asyncio.to_thread(self.make, prompt, seed)
        except InputError as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        return Response(content, media_type="video/mp4")

    def make(self, prompt: str, seed: str) -> bytes:
        """Return the MP4 of a sentence.

        Raises:
            InputError: for a prompt or a seed that cannot be used.
        """
        if not (seed.isascii() and seed.isdecimal() and len(seed) < 19):
            raise InputError(
                "seed", f"{seed!r}"[:80], "a number of at most 18 digits", "correct it"
            )
        result = self.pipe(prompt, seed=int(seed), until=self.until, progress=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            about = {
                "prompt": prompt,
                "seed": int(seed),
                "description": "made by a generative model",
            }
            write_video(path, result.frames[0], result.fps, about)
            return path.read_bytes()


def application(settings: dict[str, Any]) -> Any:
    """Build the application: `bundle`, `until`, `replicas` and `gpus` of each replica."""
    from ray import serve

    deployment: Any = serve.deployment(
        Videos,
        num_replicas=int(settings.get("replicas", 1)),
        max_ongoing_requests=1,
        max_queued_requests=WAITING,
        ray_actor_options={"num_gpus": float(settings.get("gpus", 0))},
    )
    return deployment.bind(settings.get("bundle", "emoji"), settings.get("until"))


def main() -> None:
    """Serve on this machine until Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", default="emoji")
    parser.add_argument("--until", help="last stage to run")
    parser.add_argument("--replicas", default=1)
    parser.add_argument("--gpus", default=0, help="of each replica")
    args = parser.parse_args()
    # Before Ray is imported: whoever reaches Ray's ports can run code, so they stay on 127.0.0.1.
    with connected(LOCAL):
        from ray import serve

        serve.run(application(vars(args)), blocking=True)


if __name__ == "__main__":
    main()
