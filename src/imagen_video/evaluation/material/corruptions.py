"""Known faults put into real clips, in four strengths: what a metric of quality has to notice.

blur      Gaussian, standard deviation 1/96 to 1/12 of the height
noise     Gaussian, standard deviation 6 to 48 levels of 255, another in every frame
shuffle   a quarter of the frames to all of them change places
freeze    the last quarter to all of the clip stands still
drift     red rises and blue falls steadily, by 10 to 80 levels at the end
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from imagen_video.evaluation.material.clips import pixels

STRENGTHS = (1, 2, 3, 4)
"""0 is the clip as it is."""


def blur(frames: np.ndarray, strength: int) -> np.ndarray:
    """Blur every frame."""
    sigma = frames.shape[1] / 96 * 2 ** (strength - 1)
    reach = int(np.ceil(3 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    values = functional.pad(pixels(frames), (reach,) * 4, mode="replicate")
    values = functional.conv2d(values, weights, groups=3)
    values = functional.conv2d(values, weights.transpose(2, 3), groups=3)
    return values.round().to(torch.uint8).movedim(1, -1).numpy()


def noise(frames: np.ndarray, strength: int) -> np.ndarray:
    """Add noise to every pixel."""
    drawn = np.random.default_rng(strength).normal(0, 3.0 * 2**strength, frames.shape)
    return np.clip(np.rint(frames + drawn), 0, 255).astype(np.uint8)


def shuffle(frames: np.ndarray, strength: int) -> np.ndarray:
    """Let a share of the frames change places, each with another."""
    count = max(2, round(len(frames) * strength / 4))
    chosen = np.random.default_rng(0).permutation(len(frames))[:count]
    mixed = frames.copy()
    mixed[chosen] = frames[np.roll(chosen, 1)]
    return mixed


def freeze(frames: np.ndarray, strength: int) -> np.ndarray:
    """Hold a frame to the end."""
    held = max(0, round(len(frames) * (1 - strength / 4)))
    still = frames.copy()
    still[held:] = frames[held]
    return still


def drift(frames: np.ndarray, strength: int) -> np.ndarray:
    """Move the colour steadily towards red."""
    ramp = np.linspace(0, 5.0 * 2**strength, len(frames))[:, None, None]
    moved = frames.astype(np.float32)
    moved[..., 0] += ramp
    moved[..., 2] -= ramp
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "blur": blur,
    "noise": noise,
    "shuffle": shuffle,
    "freeze": freeze,
    "drift": drift,
}
"""Name -> function of uint8 frames `(f, h, w, 3)` and a strength of `STRENGTHS`."""
