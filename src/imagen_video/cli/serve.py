"""`imagen-video serve`: the web page and the HTTP API."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from imagen_video.cli.main import say
from imagen_video.cli.settings import parse_memory
from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.web.service import Service

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_MIN_TOKEN = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Serve a web page and an HTTP API that make videos.

    Results lie in the gallery folder with all their settings. Ctrl-C stops the server.
    """

    bundle: str = "emoji"
    """Trained cascade: a built-in name, a folder, or a hub id."""
    gallery: Path = Path("gallery")
    """Folder for the results; one server at a time."""
    host: str = "127.0.0.1"
    """Address to listen at. Any but this machine's own needs a token, which is made and printed."""
    port: int = 7860
    """Port to listen at; 0 takes a free one."""
    token_file: Path | None = None
    """File with the token that clients must send (16 characters or more); also on loopback."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; several with commas work at the same time, a job each."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 where the processor multiplies it in hardware, else fp32."""
    memory: str = "4GB"
    """Memory that the whole process may use, such as 900MB or 4GB, or none for no bound."""
    max_queued: int = 64
    """Jobs that may wait; further ones are refused."""
    max_frames: int | None = None
    """Most frames of a result; the cascade's own by default."""
    max_pixels: int | None = None
    """Most pixels (height times width) of a result; the cascade's own by default."""
    max_steps: int = 256
    """Most steps of a stage."""
    max_upload: str = "64MB"
    """Largest uploaded file."""
    max_upload_seconds: float = 60.0
    """Longest uploaded clip."""


def run(argv: list[str]) -> int:
    """Parse the words after `serve` and serve until Ctrl-C.

    Raises:
        InputError: for anything that cannot be used.
        MissingExtraError: if the extra `web` is not installed.
    """
    options = tyro.cli(
        ServeOptions,
        args=argv,
        prog="imagen-video serve",
        description=cleandoc(ServeOptions.__doc__ or ""),
    )
    _check_numbers(options)
    token = token_for(options)
    from imagen_video.web.server import build_app, check_extra, listen, server

    check_extra()
    sock = listen(options.host, options.port)  # before the weights: mistakes answer at once
    with sock:
        service = _service(options)
        try:
            app = build_app(service, token)
            _greet(options.host, sock.getsockname()[1], token, options.token_file)
            server(app).run(sockets=[sock])
        finally:
            given_up = service.close()
            if given_up:
                say(f"{given_up} unfinished jobs were given up; finished results are kept")
    return 0


def token_for(options: ServeOptions) -> str | None:
    """Return the token that clients need; None where only this machine can connect.

    Raises:
        InputError: if the file cannot be read or holds no good token.
    """
    if options.token_file is None:
        return None if options.host in _LOOPBACK else secrets.token_hex(16)
    try:
        token = options.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--token-file {options.token_file}", f"{error}", "a readable file", "check the path"
        ) from error
    if not re.fullmatch(rf"[!-~]{{{_MIN_TOKEN},512}}", token):
        raise InputError(
            f"--token-file {options.token_file}",
            f"{len(token)} characters" if " " not in token else "text with spaces",
            f"one word of {_MIN_TOKEN} to 512 ASCII characters",
            "write one: python -c 'import secrets; print(secrets.token_hex(16))' > FILE",
        )
    return token


def _check_numbers(options: ServeOptions) -> None:
    """Refuse numbers that would refuse every job."""
    if not 0 <= options.port <= 65535:
        raise InputError("--port", f"{options.port}", "0 to 65535", "choose another")
    for name in ("max_queued", "max_frames", "max_pixels", "max_steps", "max_upload_seconds"):
        value = getattr(options, name)
        if value is not None and not 1 <= value < float("inf"):
            raise InputError(
                f"--{name.replace('_', '-')}", f"{value}", "a number of 1 or more", "raise it"
            )


def _service(options: ServeOptions) -> Service:
    """Load the cascade once a device."""
    import torch

    from imagen_video.cascade.pipeline import ImagenVideoPipeline
    from imagen_video.cli.generation import choose_device, choose_precision
    from imagen_video.web.limits import Limits
    from imagen_video.web.service import Service

    pipelines = []
    for name in _devices(options.device):
        device = choose_device(name)
        precision = choose_precision(options.precision, device)
        pipeline = ImagenVideoPipeline.from_pretrained(options.bundle)
        pipeline.to(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        for stage in pipeline.spec.stages:
            pipeline.network(stage.name)  # once, now: damaged weights are told before any client
        # Loads the text encoder as well, which would make the first clients wait.
        first = pipeline.spec.stages[0]
        steps = None if first.distilled is not None else 2  # a student has its own
        pipeline("warming up", until=first.name, num_inference_steps=steps, progress=False)
        pipelines.append(pipeline)
    own = Limits.of(pipelines[0].spec)
    limits = dataclasses.replace(
        own,
        frames=options.max_frames or own.frames,
        pixels=options.max_pixels or own.pixels,
        steps=options.max_steps,
        queued=options.max_queued,
        upload_bytes=parse_memory(options.max_upload, "--max-upload") or own.upload_bytes,
        upload_seconds=options.max_upload_seconds,
        memory=parse_memory(options.memory),
    )
    return Service(pipelines, options.gallery, limits, _bundle_name(options.bundle))


def _devices(text: str) -> Sequence[str]:
    """Split `--device`.

    Raises:
        InputError: for a device twice.
    """
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names):
        raise InputError("--device", repr(text), "each device once", "leave one out")
    return names


def _bundle_name(bundle: str) -> str:
    """Return what clients may know of `--bundle`: no folders of this machine."""
    folder = Path(bundle)
    return folder.resolve().name if folder.is_dir() else bundle


def _greet(host: str, port: int, token: str | None, token_file: Path | None) -> None:
    name = f"[{host}]" if ":" in host else host
    print(f"serving at http://{name}:{port}", flush=True)
    if token is None:
        return
    if token_file is None:
        print(f"token: {json.dumps(token)}", flush=True)
    if host not in _LOOPBACK:
        say(
            f"warning: {host} can be reached from other machines. Whoever has the token can use "
            "this one. Nothing is encrypted: put a proxy with TLS in front of it."
        )
