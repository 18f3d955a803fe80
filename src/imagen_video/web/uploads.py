"""Clips from clients: bounded in size and number, kept under names of ours, decoded elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import numpy as np

from imagen_video.cascade.spec import Clip
from imagen_video.data.workers import Failed, run_jobs
from imagen_video.errors import InputError, MediaError
from imagen_video.media.atomic import replacing
from imagen_video.web.gallery import linked
from imagen_video.web.limits import Limits
from imagen_video.web.settings import new_id

MAX_KEPT = 32
"""Uploads on disk at once; the oldest goes. A job keeps its own."""
MAX_SECONDS_KEPT = 3600.0
_DECODING_SECONDS = 120.0
_DECODING_BYTES = 4 << 30
_MAX_DECODING = 2
"""Decoding processes at once."""


class TooLargeError(InputError):
    """More bytes than allowed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upload:
    """What a clip's file says; nothing of its name is kept."""

    id: str
    width: int
    height: int
    fps: float
    frames: int | None
    seconds: float | None


class Uploads:
    """The clips that wait for a job."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Use a folder of ours; what is in it is deleted.

        Args:
            folder: for the files.
            limits: what to refuse.
        """
        self._folder = folder
        self._limits = limits
        self._lock = threading.Lock()
        self._decoding = threading.BoundedSemaphore(_MAX_DECODING)
        self._kept: OrderedDict[str, float] = OrderedDict()
        for left in folder.glob("*"):
            left.unlink(missing_ok=True)

    async def receive(self, chunks: AsyncIterable[bytes]) -> str:
        """Write a body to disk as it comes.

        Returns:
            The upload's name. It is not known to be a clip yet.

        Raises:
            TooLargeError: more bytes than allowed.
            ResourceError: the disk is full.
        """
        identity = new_id()
        size = 0
        with replacing(self._path(identity)) as temporary, temporary.open("wb") as stream:
            async for chunk in chunks:
                size += len(chunk)
                if size > self._limits.upload_bytes:
                    raise TooLargeError(
                        "upload",
                        f"more than {self._limits.upload_bytes // 10**6} MB",
                        f"at most {self._limits.upload_bytes // 10**6} MB",
                        "cut or scale the clip",
                    )
                stream.write(chunk)
        return identity

    def inspect(self, identity: str) -> Upload:
        """Find out what was received; what is no clip, or too large a one, is deleted.

        Raises:
            MediaError: not a clip, damaged, or over a limit.
        """
        path = self._path(identity)
        try:
            facts = self._ask("probe", self._job(path))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._kept[identity] = time.monotonic()
            self._drop_old()
        return Upload(id=identity, **facts)

    def claim(self, identity: str, target: Path) -> None:
        """Give a clip to a job, so that it stays even if it is dropped here.

        Raises:
            InputError: if it is not there (any more).
        """
        with self._lock:
            if identity in self._kept:
                linked(self._path(identity), target)
                return
        raise InputError(
            "upload", "an unknown name", "a clip uploaded within the hour", "upload it again"
        )

    def read(self, path: Path, clip: Clip, channels: int) -> np.ndarray:
        """Decode a claimed clip and bring it to the input of a stage.

        Args:
            path: where `claim` put it.
            clip: the stage's input: longer clips are cut off, shorter ones stay short.
            channels: of the stage.

        Returns:
            uint8 `(f, h, w, 3)`.

        Raises:
            MediaError: damaged, or over a limit.
        """
        out = path.with_suffix(".npy")
        job = self._job(path) | dataclasses.asdict(clip) | {"channels": channels, "out": str(out)}
        try:
            self._ask("read", job)
            return np.load(out, allow_pickle=False)
        finally:
            with contextlib.suppress(OSError):
                out.unlink()

    def _job(self, path: Path) -> dict[str, Any]:
        limits = self._limits
        return {
            "path": str(path),
            "max_pixels": limits.upload_pixels,
            "max_seconds": limits.upload_seconds,
        }

    def _ask(self, function: str, job: dict[str, Any]) -> dict[str, Any]:
        with self._decoding:
            ((_, answer),) = run_jobs(
                f"imagen_video.web.clip_reader:{function}",
                [job],
                processes=1,
                seconds=_DECODING_SECONDS,
                memory_bytes=_DECODING_BYTES,
            )
        if isinstance(answer, Failed):
            raise MediaError("upload", answer.reason, "a common video file", "convert it to MP4")
        if "error" in answer:
            raise MediaError(*answer["error"])
        return answer

    def _drop_old(self) -> None:
        for identity, since in list(self._kept.items()):
            too_old = time.monotonic() - since > MAX_SECONDS_KEPT
            if too_old or len(self._kept) > MAX_KEPT:
                del self._kept[identity]
                self._path(identity).unlink(missing_ok=True)

    def _path(self, identity: str) -> Path:
        return self._folder / identity
