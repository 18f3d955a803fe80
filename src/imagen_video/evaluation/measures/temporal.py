"""Measures of time and of pixels that need no prompt.

flicker        mean |x(t+1) - 2 x(t) + x(t-1)| of the border's luma: a ground at rest has none
warping error  mean difference between a frame and the next, after every 5x5 patch of it was moved
               to where it fits best within 3 pixels, on frames of at most 48 rows
colour drift   distance in RGB between the border's median colour in the first and the last quarter
movement       mean |x(t+1) - x(t)|, what a frozen clip has none of
detail         mean squared difference of neighbouring pixels: blur lowers it, grain raises it

All in levels of 0..255 (detail in squared levels). Less flicker, warping error and drift is better;
movement and detail should be those of real clips. What a clip has too few frames for is None: a 0
would be a perfect score of nothing.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from imagen_video.evaluation.material.clips import FRAMES_AT_ONCE, pixels
from imagen_video.evaluation.measures.backgrounds import border
from imagen_video.evaluation.measures.baselines import LUMA

ROWS = 48
"""Frames are shrunk to at most so many rows for the warping error."""
REACH = 3
"""Pixels that a patch may move by."""
PATCH = 5
"""Side of a patch in pixels."""


def flicker(frames: np.ndarray) -> float | None:
    """Return the mean second difference in time of the border's luma; None below three frames."""
    if len(frames) < 3:
        return None
    ring = frames[:, border(*frames.shape[1:3])].astype(np.float32) @ np.asarray(LUMA, np.float32)
    return float(np.abs(np.diff(ring, n=2, axis=0)).mean())


def colour_drift(frames: np.ndarray) -> float | None:
    """Return how far the border's median colour moves from the first to the last quarter.

    None for one frame.
    """
    if len(frames) < 2:
        return None
    ring = np.median(frames[:, border(*frames.shape[1:3])].astype(np.float32), axis=1)
    quarter = max(1, len(ring) // 4)
    return float(np.linalg.norm(ring[-quarter:].mean(0) - ring[:quarter].mean(0)))


def movement(frames: np.ndarray) -> float | None:
    """Return the mean absolute difference of neighbouring frames; None for one frame."""
    steps = [np.abs(b.astype(np.int16) - a).mean() for a, b in itertools.pairwise(frames)]
    return float(np.mean(steps)) if steps else None


def detail(frames: np.ndarray) -> float:
    """Return the mean squared luma difference of neighbouring pixels, across plus down."""
    total = 0.0
    for frame in frames:
        luma = frame.astype(np.float32) @ np.asarray(LUMA, np.float32)
        total += float(np.square(np.diff(luma, axis=1)).mean())
        total += float(np.square(np.diff(luma, axis=0)).mean())
    return total / len(frames)


def warping_error(frames: np.ndarray) -> float | None:
    """Return the difference that block matching leaves between neighbours; None for one frame."""
    if len(frames) < 2:
        return None
    height, width = frames.shape[1:3]
    small = pixels(frames)
    if height > ROWS:
        size = (ROWS, max(1, round(width * ROWS / height)))
        small = functional.interpolate(small, size, mode="bilinear", antialias=True)
    errors = []
    for start in range(0, len(small) - 1, FRAMES_AT_ONCE):
        part = small[start : start + FRAMES_AT_ONCE + 1]
        errors.append(_best_match(part[:-1], part[1:]).mean((1, 2)))
    return float(torch.cat(errors).mean())


def _best_match(now: Tensor, then: Tensor) -> Tensor:
    """Return the least patch difference over all moves, `(f, h, w)`.

    A move that leaves the frame sees its edge repeated, so what comes in counts little.
    """
    height, width = now.shape[-2:]
    padded = functional.pad(then, (REACH,) * 4, mode="replicate")
    best = torch.full((len(now), height, width), torch.inf)
    for down, across in itertools.product(range(2 * REACH + 1), repeat=2):
        moved = padded[..., down : down + height, across : across + width]
        apart = (now - moved).abs().mean(1, keepdim=True)
        patches = functional.avg_pool2d(
            apart, PATCH, stride=1, padding=PATCH // 2, count_include_pad=False
        )
        best = torch.minimum(best, patches[:, 0])
    return best
