"""What every super-resolution stage must beat, and how sharp a video is.

space   bilinear enlargement
time    frame repeat: [f0 f0 f1 f1 ...]      linear blend: [f0 (f0+f1)/2 f1 ...], the last held
"""

from __future__ import annotations

import torch
from torch import Tensor

from imagen_video.cascade.resample import fill_frames, resize
from imagen_video.tensor_types import Video

LUMA = (0.299, 0.587, 0.114)


def bilinear(video: Video, height: int, width: int) -> Tensor:
    """Enlarge in space."""
    return resize(video, height, width)


def frame_repeat(video: Video, factor: int) -> Tensor:
    """Show every frame `factor` times."""
    return fill_frames(video, factor)


def linear_blend(video: Video, factor: int) -> Tensor:
    """Blend linearly from every frame to the next; the last frame is held."""
    later = torch.cat([video[:, 1:], video[:, -1:]], dim=1)
    parts = torch.arange(factor, device=video.device, dtype=video.dtype) / factor
    parts = parts.view(1, 1, factor, 1, 1, 1)
    blended = torch.lerp(video[:, :, None], later[:, :, None], parts)
    return blended.flatten(1, 2)


def baselines(low_res: Video, frames: int, height: int, width: int) -> dict[str, Tensor]:
    """Return every baseline that makes an output shape from a stage's input, by name.

    Args:
        low_res: the stage's input.
        frames: of the output, a multiple of the input's.
        height: of the output.
        width: of the output.
    """
    factor = frames // low_res.shape[1]
    if factor == 1:
        return {"bilinear": bilinear(low_res, height, width)}
    return {
        "frame repeat": bilinear(frame_repeat(low_res, factor), height, width),
        "linear blend": bilinear(linear_blend(low_res, factor), height, width),
    }


def gradient_energy(video: Video) -> float:
    """Return the mean squared difference of neighbouring pixels' luma (Rec. 601), in [-1, 1] units.

    Blur lowers it, noise raises it: the ratio to real renders should be near 1.
    """
    weights = video.new_tensor(LUMA) if video.shape[2] == 3 else video.new_ones(video.shape[2])
    luma = torch.einsum("bfchw,c->bfhw", video, weights / weights.sum())
    across, down = luma.diff(dim=-1), luma.diff(dim=-2)
    return float(across.square().mean() + down.square().mean())


def step_energy(video: Video) -> float:
    """Return the mean squared difference of neighbouring frames; 0 for a single frame."""
    if video.shape[1] < 2:
        return 0.0
    return float(video.diff(dim=1).square().mean())
