"""Whether a rotating solid stays itself: the same view after a full turn, another one in between.

The subject is cut out of its ground by its extent, brought to one size, and compared with itself
72 source frames later (a full turn of the corpus: 0 is perfect) and 8 source frames later (should
be as different as in real renders: a frozen solid scores 0 in both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from imagen_video.corpus.solids import TURN_FRAMES
from imagen_video.evaluation.material.clips import JUDGED_STRIDE
from imagen_video.evaluation.measures.backgrounds import foreground

SIDE = 32
"""Side in pixels of the view that is compared."""
LEAST_SEEN = 0.004
"""Share of a frame's pixels that a subject covers at least."""
GREY = 128.0
"""What stands for the ground in a view."""
MARGIN = 0.5
"""Source frames by which two times may miss the turn."""


def view_changes(frames: np.ndarray, times: Sequence[float]) -> tuple[float, float] | None:
    """Return the difference after a full turn, and that after a ninth of one.

    Args:
        frames: uint8 `(f, h, w, 3)`.
        times: source frame (24 fps) of each frame.

    Returns:
        Mean absolute differences over the views, 0..255; None if the subject is not seen in two
        frames that are a turn apart.
    """
    views = _views(frames)
    around = _mean_difference(views, times, TURN_FRAMES)
    between = _mean_difference(views, times, JUDGED_STRIDE)
    return None if around is None or between is None else (around, between)


def _views(frames: np.ndarray) -> list[Tensor | None]:
    cover = foreground(frames) > 0
    return [_view(frame, mask) for frame, mask in zip(frames, cover, strict=True)]


def _view(frame: np.ndarray, mask: np.ndarray) -> Tensor | None:
    """Cut out the subject, the ground in grey, `(3, SIDE, SIDE)`; None if it is not seen whole."""
    if mask.mean() < LEAST_SEEN:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    picture = np.where(mask[cut][..., None], frame[cut].astype(np.float32), GREY)
    return functional.interpolate(
        torch.from_numpy(picture).movedim(-1, 0)[None],
        (SIDE, SIDE),
        mode="bilinear",
        antialias=True,
    )[0]


def _mean_difference(
    views: Sequence[Tensor | None], times: Sequence[float], apart: float
) -> float | None:
    found = []
    for i, first in enumerate(views):
        for j in range(i + 1, len(views)):
            second = views[j]
            if first is None or second is None or abs(times[j] - times[i] - apart) > MARGIN:
                continue
            found.append(float((first - second).abs().mean()))
    return sum(found) / len(found) if found else None
