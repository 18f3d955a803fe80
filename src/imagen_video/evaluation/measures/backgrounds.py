"""Which of the named grounds a clip shows, and where something else is in front of it.

A ground is recognised on the border: the drawn ground whose pixels are nearest to the clip's, by
the median over border pixels and frames, so that a subject may cover almost half of the border.
Gradients need no rule of their own: their drawing differs from place to place.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from imagen_video.corpus.grounds import GROUNDS, MAX_TONE_SHIFT, draw_ground

TONES = (1 - MAX_TONE_SHIFT, 1.0, 1 + MAX_TONE_SHIFT)
"""Brightness factors that a ground of a name may have."""

MOST_PIXELS = 1000
"""About how many pixels of a border are compared in every frame."""

FOREGROUND_DISTANCE = 56.0
"""RGB distance from the ground from which on a pixel belongs to the subject."""


def border(height: int, width: int) -> np.ndarray:
    """Return a mask `(h, w)` of the outer sixteenth on every side, at least one pixel."""
    edge = max(1, min(height, width) // 16)
    mask = np.ones((height, width), dtype=bool)
    mask[edge : height - edge, edge : width - edge] = False
    return mask


@lru_cache(maxsize=256)
def _drawn(name: str, tone: float, height: int, width: int) -> np.ndarray:
    drawn = draw_ground(name, tone, (height, width), (0, 0, height, width)).astype(np.float32)
    drawn.flags.writeable = False
    return drawn


def ground_distances(frames: np.ndarray) -> dict[str, float]:
    """Return how far the border is from every named ground.

    Args:
        frames: uint8 `(f, h, w, 3)`.

    Returns:
        Name of the ground -> median RGB distance over border pixels, of its best tone.
    """
    _, height, width, _ = frames.shape
    mask = border(height, width)
    step = max(1, int(mask.sum()) // MOST_PIXELS)  # every so many: a median needs no more
    pixels = frames[:, mask][:, ::step].astype(np.float32)
    return {
        name: min(
            _distance(pixels, _drawn(name, tone, height, width)[mask][::step]) for tone in TONES
        )
        for name in GROUNDS
    }


def _distance(pixels: np.ndarray, drawn: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(pixels - drawn, axis=-1)))


def nearest_ground(frames: np.ndarray) -> str:
    """Return the name of the ground that a clip `(f, h, w, 3)` shows."""
    distances = ground_distances(frames)
    return min(distances, key=distances.__getitem__)


def foreground(frames: np.ndarray) -> np.ndarray:
    """Return how much each pixel differs from the clip's own ground.

    The nearest named ground is shifted by the median residual of the border, so a ground that the
    model made a little too dark or too light is still a ground.

    Args:
        frames: uint8 `(f, h, w, 3)`.

    Returns:
        float32 `(f, h, w)`: RGB distance from the ground, 0 where it is below
        `FOREGROUND_DISTANCE`.
    """
    _, height, width, _ = frames.shape
    mask = border(height, width)
    drawn = _drawn(nearest_ground(frames), 1.0, height, width)
    residual = frames.astype(np.float32) - drawn
    residual -= np.median(residual[:, mask].reshape(-1, 3), axis=0)
    distance = np.linalg.norm(residual, axis=-1)
    return np.where(distance >= FOREGROUND_DISTANCE, distance, 0).astype(np.float32)
