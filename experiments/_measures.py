"""What the experiments measure on clips, beside what `imagen_video.evaluation` has.

Videos are `(b, f, 3, h, w)` in [-1, 1]. Every measure of made clips stands beside real renders of
the same scenes, so an error of 0 or a ratio of 1 is right.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from imagen_video.corpus.scenes import Scene
from imagen_video.evaluation.features.frechet import lite0_frechet_distance
from imagen_video.evaluation.features.lite0 import Lite0
from imagen_video.evaluation.measures import temporal
from imagen_video.evaluation.measures.backgrounds import nearest_ground
from imagen_video.evaluation.measures.baselines import gradient_energy, step_energy
from imagen_video.evaluation.measures.retrieval import share
from imagen_video.media.frames import to_uint8

SATURATED = 0.98
"""Magnitude from which on a channel's value counts as saturated."""


@lru_cache(maxsize=1)
def lite0() -> Lite0:
    """Load the feature network once."""
    return Lite0()


def frame_features(video: Tensor) -> Tensor:
    """Return the Lite0 features of every frame, `(b f, 1280)`."""
    return torch.cat([lite0().frames(clip) for clip in to_uint8(video)])


def frame_distance(real: Tensor, made: Tensor, dimensions: int = 16) -> float:
    """Lite0 Frechet distance of frame features `(n, 1280)`; 0 is best."""
    return lite0_frechet_distance(real, made, min(dimensions, len(real) // 2))


def colour_shift(made: Tensor, real: Tensor) -> float:
    """How far the mean colour of a frame is off: the mean over frames and channels."""
    return float((_colours(made) - _colours(real)).abs().mean())


def colour_drift(made: Tensor, real: Tensor) -> float:
    """How much the error of the mean colour varies from frame to frame, a standard deviation."""
    return float((_colours(made) - _colours(real)).std(dim=1, correction=0).mean())


def flicker(made: Tensor, real: Tensor) -> float:
    """Mean squared change, from frame to frame, of the error: 0 where all frames err alike."""
    return float((made - real).diff(dim=1).square().mean())


def border_flicker(video: Tensor) -> float:
    """Mean flicker of the clips' borders by `evaluation.measures.temporal`, in levels of 0..255.

    NaN for clips of fewer than three frames.
    """
    seen = [temporal.flicker(clip) for clip in to_uint8(video)]
    return sum(math.nan if one is None else one for one in seen) / len(seen)


def sharpness(made: Tensor, real: Tensor) -> float:
    """Gradient energy over that of real renders: below 1 is blurred, above is noisy."""
    return gradient_energy(made) / gradient_energy(real)


def error(made: Tensor, real: Tensor) -> float:
    """Mean squared error."""
    return float((made - real).square().mean())


def saturation(video: Tensor) -> float:
    """Share of values at the ends of the range."""
    return float((video.abs() >= SATURATED).float().mean())


def ground_right(video: Tensor, scenes: list[Scene]) -> float:
    """Share of clips on the ground that their scene names."""
    clips = to_uint8(video)
    return share(nearest_ground(c) == s.ground for c, s in zip(clips, scenes, strict=True))


def _colours(video: Tensor) -> Tensor:
    return video.mean(dim=(3, 4))


def change(made: Tensor, real: Tensor) -> float:
    """Mean squared change from frame to frame over that of real renders; 0 is a frozen clip."""
    return step_energy(made) / step_energy(real)
