"""A data set of a few clips that say who they are, and shards of it for `small_cascade`."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.data.finding.discover import DiscoverOptions
from imagen_video.data.preparing.prepare import PrepareOptions, PrepareReport, prepare
from imagen_video.data.shards.manifest import Manifest
from imagen_video.data.shards.reader import ShardReader
from imagen_video.media.pictures import write_png
from unit.cascade.small_cascades import WordEncoder, small_cascade

FPS = 12.0
HEIGHT, WIDTH = 12, 18


def clip_pixels(number: int, frames: int = 10) -> np.ndarray:
    """Red says which clip, green which frame, blue which column; of the size of HEIGHT x WIDTH."""
    pixels = np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0] = 10 * number + 5
    pixels[..., 1] = (10 * np.arange(frames) + 5)[:, None, None]
    pixels[..., 2] = 10 * np.arange(WIDTH)
    return pixels


def make_clips(folder: Path, clips: int = 5, images: int = 3, frames: int = 10) -> Path:
    """Write `c0.npy` ... and `i0.png` ... with captions `clip 0` ... and `image 0` ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(clips):
        np.save(folder / f"c{number}.npy", clip_pixels(number, frames))
        (folder / f"c{number}.txt").write_text(f"clip {number}", encoding="utf-8")
    for number in range(images):
        write_png(folder / f"i{number}.png", clip_pixels(15 + number, 1)[0])
        (folder / f"i{number}.txt").write_text(f"image {number}", encoding="utf-8")
    return folder


def prepared(
    clips: Path,
    out: Path,
    cascade: CascadeSpec | None = None,
    encoder: Any = None,
    sources: dict[str, Any] | None = None,
    **options: Any,
) -> PrepareReport:
    """Prepare in this process, two clips a shard."""
    return prepare(
        clips,
        cascade or small_cascade(),
        PrepareOptions(
            **{"out": out, "clips_per_shard": 2, "workers": 0, "upscale": True, **options}
        ),
        sources=DiscoverOptions(fps=FPS, **(sources or {})),
        encoder=encoder or WordEncoder(),
    )


def who(pixels: np.ndarray) -> tuple[int, int]:
    """Which clip and which frame is `(h, w, c)`?"""
    return (round((pixels[..., 0].mean() - 5) / 10), round((pixels[..., 1].mean() - 5) / 10))


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files, but for the note of what was verified."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".verified.json"
    }


def with_stage(cascade: CascadeSpec, name: str, **changes: Any) -> CascadeSpec:
    """Return a cascade with another version of a stage."""
    stages = [
        dataclasses.replace(stage, **changes) if stage.name == name else stage
        for stage in cascade.stages
    ]
    return dataclasses.replace(cascade, stages=tuple(stages))


def reader(folder: Path, stage: str) -> ShardReader:
    """Open the samples of a stage."""
    return ShardReader(folder, Manifest.read(folder).stages[stage])
