"""Real renders to judge by: the same scenes, sizes and frames as what a cascade makes.

Frames up to `SMALL_HEIGHT` are drawn twice as large and shrunk by the cascade's own resize, exactly
as the training clips of `data.batches.scene_clips` are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from imagen_video.cascade.resample import resize
from imagen_video.corpus.render import render
from imagen_video.corpus.scenes import Scene, SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.data.batches.scene_clips import SMALL_HEIGHT
from imagen_video.errors import DataError
from imagen_video.evaluation.material.clips import (
    FRAMES_AT_ONCE,
    Clip,
    rate_of,
    reduced,
    through_codec,
)
from imagen_video.media.frames import to_float, to_uint8

PROBE_SEED = 7
"""Seed of the scenes that the probe is fitted on: none of them is a held-out combination."""


def real_clip(
    scene: Scene, store: SpriteStore, times: Sequence[float], height: int, width: int
) -> np.ndarray:
    """Render a scene as the cascade should make it.

    Args:
        scene: what to draw.
        store: its sprites.
        times: source frames (24 fps).
        height: pixels.
        width: pixels.

    Returns:
        uint8 `(f, h, w, 3)`.
    """
    if height > SMALL_HEIGHT:
        return render(scene, store, times, height, width)
    video = to_float(render(scene, store, times, 2 * height, 2 * width))[None]
    return to_uint8(resize(video, height, width))[0]


def judged_render(
    scene: Scene,
    store: SpriteStore,
    times: Sequence[float],
    size: tuple[int, int],
    *,
    coded: bool,
) -> Clip:
    """Render a scene and do to it what was done to the clips that it stands beside.

    Args:
        scene: what to draw.
        store: its sprites.
        times: source frames (24 fps).
        size: height and width at which the clips were made.
        coded: whether they went through a codec, at that size; they were shrunk after it.

    Returns:
        The clip as it is judged.
    """
    parts = (
        real_clip(scene, store, times[start : start + FRAMES_AT_ONCE], *size)
        for start in range(0, len(times), FRAMES_AT_ONCE)
    )
    if coded:
        frames = through_codec(parts, rate_of(times))
    else:
        frames = np.concatenate([reduced(part) for part in parts])
    source = None if frames.shape[1:3] == size else size
    return Clip(frames=frames, times=tuple(times), source=source)


def real_video(
    scene: Scene, store: SpriteStore, times: Sequence[float], height: int, width: int
) -> torch.Tensor:
    """Render a scene as `real_clip` does, as float video `(1, f, 3, h, w)` in [-1, 1]."""
    return to_float(real_clip(scene, store, times, height, width))[None]


def candidates(store: SpriteStore, scenes: Sequence[Scene], count: int) -> tuple[str, ...]:
    """Choose the subjects to tell apart: those of the scenes, then others in the store's order.

    Args:
        store: the sprites.
        scenes: what is judged, of kind `subject`.
        count: names in all; near-identical subjects count as different.

    Returns:
        Code points. More than `count` if the scenes alone show more.
    """
    animated = [s.codepoint for s in store.subjects if f"animation/{s.codepoint}" in store.sprites]
    shown = dict.fromkeys(scene.subjects[0] for scene in scenes)
    for name in animated:
        if len(shown) >= count:
            break
        shown.setdefault(name)
    return tuple(shown)


def probe_scenes(
    store: SpriteStore, names: Sequence[str], each: int, seed: int = PROBE_SEED
) -> Mapping[str, list[Scene]]:
    """Draw training scenes until every name has `each` of them.

    Raises:
        DataError: if some name does not come up.
    """
    source = SceneSource(store, seed=seed, split="train", kinds={"subject": 1.0})
    found: dict[str, list[Scene]] = {name: [] for name in names}
    missing = len(found) * each
    for index in range(1000 + 40 * each * max(1, len(store.subjects))):
        if not missing:
            return found
        scene = source.scene(index)
        mine = found.get(scene.subjects[0])
        if mine is not None and len(mine) < each:
            mine.append(scene)
            missing -= 1
    raise DataError(
        "probe scenes", f"{missing} missing", f"{each} a subject", "lower the number or rebuild"
    )
