"""Videos between two conventions.

             this package                           diffusers
arrays       uint8 (f, h, w, 3), one a clip         float (b, f, h, w, c) in [0, 1]
tensors      (b, f, c, h, w) in [-1, 1]             (b, f, c, h, w) in [0, 1]
pictures     a list of PIL images a clip            the same
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagen_video.errors import InputError
from imagen_video.media.clips import ROUNDING, Clips, take_clips
from imagen_video.media.frames import to_images, to_uint8

FORMS = (
    "floats in [0, 1], (b, f, h, w, c) in an array or (b, f, c, h, w) in a tensor, or PIL images"
)


def from_diffusers(frames: Any, where: str = "frames") -> Clips:
    """Read the `.frames` of a diffusers pipeline, whichever its `output_type` was.

    Args:
        frames: floats in [0, 1], `(b, f, h, w, c)` in an array or `(b, f, c, h, w)` in a tensor;
            the same of one clip; a list of such clips; PIL images, one list a clip; uint8 arrays.
        where: its name in messages.

    Returns:
        Floats in [-1, 1], `(b, f, c, h, w)`, or uint8 `(b, f, h, w, 3)` for pictures and bytes.

    Raises:
        InputError: for another form or range, latents among them, or values that are not finite.
    """
    if isinstance(frames, Sequence) and len(frames) > 0:
        first = frames[0]
        if isinstance(first, Tensor | np.ndarray) and first.dtype != np.uint8:
            return _stacked([from_diffusers(clip, where) for clip in frames], where)
    if isinstance(frames, np.ndarray) and frames.dtype.kind == "f":
        frames = torch.from_numpy(frames)
        frames = frames.movedim(-1, -3) if frames.ndim >= 3 else frames
    if not isinstance(frames, Tensor):
        return take_clips(frames, where)
    described = f"a tensor of {frames.dtype}, shape {tuple(frames.shape)}"
    if (
        not frames.is_floating_point()
        or frames.ndim not in (4, 5)
        or frames.shape[-3] not in (1, 3)
    ):
        raise InputError(where, described, FORMS, 'ask for output_type="np", not for latents')
    low, high = (end.item() for end in torch.aminmax(frames)) if frames.numel() else (0.0, 0.0)
    if not (-ROUNDING <= low <= high <= 1 + ROUNDING):  # NaN fails as well
        raise InputError(
            where,
            f"values from {low:g} to {high:g}",
            "floats in [0, 1], as diffusers returns them",
            "scale them: (video + 1) / 2 from -1 to 1; NaN: run the pipeline in float32",
        )
    return take_clips(frames.detach().cpu().float().clamp(0, 1) * 2 - 1, where)


def _stacked(clips: list[Clips], where: str) -> Clips:
    """Join clips of one shape to a batch.

    Raises:
        InputError: if their shapes differ.
    """
    parts = [torch.as_tensor(clip.pixels) for clip in clips]
    shapes = {tuple(part.shape) for part in parts}
    if len(shapes) > 1:
        raise InputError(
            where, f"shapes {sorted(shapes)}"[:120], "clips of one shape", "call once for each"
        )
    return Clips(torch.cat(parts))


def to_diffusers(video: Tensor, output_type: str) -> Any:
    """Return videos in the form of a diffusers pipeline.

    Args:
        video: `(b, f, c, h, w)` in [-1, 1], on the CPU.
        output_type: `np`, `pt` or `pil`.
    """
    if output_type == "pil":
        return [to_images(clip) for clip in to_uint8(video)]
    scaled = video.add(1).mul_(0.5).clamp_(0, 1)
    return scaled if output_type == "pt" else scaled.movedim(-3, -1).contiguous().numpy()
