"""Tiny clips whose frames say which they are: frame i is flat, of grey level `level(i)`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from imagen_video.data.clips.faults import Dropped
from imagen_video.data.clips.records import Record
from imagen_video.data.finding.discover import DiscoverOptions, discover
from imagen_video.media.video_io import write_video

STEP = 6


def level(index: int) -> int:
    return 16 + STEP * (index % 40)


def numbered(count: int, height: int = 16, width: int = 24) -> np.ndarray:
    """Frames `(f, h, w, 3)` that survive lossy coding well enough to be told apart."""
    levels = np.array([level(index) for index in range(count)], np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames are these?"""
    means = frames.reshape(len(frames), -1).mean(axis=1)
    return [round((mean - level(0)) / STEP) for mean in means]


def mp4(path: Path, count: int = 12, fps: float = 24.0, **size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, numbered(count, **size), fps=fps)
    return path


def timed_video(path: Path, milliseconds: Sequence[int], key_frame_every: int = 250) -> Path:
    """A video whose frame i is shown from milliseconds[i] on."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = key_frame_every
        for index, start in enumerate(milliseconds):
            frame = av.VideoFrame.from_ndarray(numbered(index + 1)[-1], format="rgb24")
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes | Path, **header: Any) -> None:
    content = data.read_bytes() if isinstance(data, Path) else data
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in header.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


def found(path: Path, **options: Any) -> tuple[dict[str, Record], dict[str, Dropped]]:
    """What `discover` yields, by id."""
    records, dropped = {}, {}
    for item in discover(path, DiscoverOptions(**options)):
        kind = records if isinstance(item, Record) else dropped
        assert item.id not in kind
        kind[item.id] = item
    return records, dropped


def only(path: Path, **options: Any) -> Record:
    """The one record there."""
    records, dropped = found(path, **options)
    assert not dropped
    (record,) = records.values()
    return record
