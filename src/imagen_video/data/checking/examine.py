"""What a worker process does with one clip: decode all of it and return facts, never an error.

Imports nothing heavy: a new process is needed whenever a file has crashed the last.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from imagen_video.data.checking.duplicates import ContentHash
from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.decoder import Decoder, as_clip_error
from imagen_video.data.decoding.probe import Probe

_HASHED_AT_ONCE = 1 << 20


def examine(job: dict[str, Any]) -> dict[str, Any]:
    """Decode one clip and return the facts. Runs in a worker process; values are JSON.

    Args:
        job: `record` and `limits`.

    Returns:
        `shape` (a `Probe`), `sha256` and `pictures`; or `dropped` with reason and detail.
    """
    record = Record.from_json(job["record"])
    limits = DataLimits(**job["limits"])
    try:
        with as_clip_error(record):
            decoder = Decoder(record, limits)
            pictures = ContentHash()
            count, frame_shape = 0, (0, 0, 0)
            for _, frame in decoder:
                pictures.add(frame)
                count, frame_shape = count + 1, frame.shape
            shape = _exact_shape(decoder, count, frame_shape)
            return {
                "shape": dataclasses.asdict(shape),
                "sha256": _digest(record),
                "pictures": pictures.hexdigest(),
            }
    except ClipError as error:
        fault = error.dropped(record.id)
        return {"dropped": {"reason": fault.reason, "detail": fault.detail}}


def _exact_shape(decoder: Decoder, count: int, frame_shape: tuple[int, ...]) -> Probe:
    height, width, channels = frame_shape
    seconds = 0.0 if decoder.is_still else decoder.end
    return Probe(
        frames=count,
        fps=count / seconds if seconds else 0.0,
        height=height,
        width=width,
        channels=channels,
        seconds=seconds,
    )


def _digest(record: Record) -> str:
    """Return the SHA-256 of the stored bytes; of all frames in turn for a folder of frames."""
    media = record.media
    digest = hashlib.sha256()
    paths = [media.path / name for name in media.frames] or [media.path]
    for path in paths:
        with path.open("rb") as stream:
            stream.seek(media.offset)
            left = media.size if media.member is not None else path.stat().st_size
            while left > 0 and (data := stream.read(min(left, _HASHED_AT_ONCE))):
                digest.update(data)
                left -= len(data)
    return digest.hexdigest()
