"""The one spatial resize and the one frame skip / repeat, for training, sampling and data tools.

    down in space   antialiased bilinear      up in space   bilinear
    down in time    skip frames               up in time    repeat frames, or blank frames

Source: Imagen Video, sections on spatial and temporal super-resolution. Given frames
sit at the indices 0, r, 2r, ... of the output.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from imagen_video.errors import InputError
from imagen_video.tensor_types import Video

TemporalFill = Literal["repeat", "blank"]

ResampledVideo: TypeAlias = Float[Tensor, "b f2 c h2 w2"]
"""A video batch with another number of frames or pixels than the one it was made from."""

Pixels: TypeAlias = Video | UInt8[Tensor, "b f c h w"]
ResampledPixels: TypeAlias = ResampledVideo | UInt8[Tensor, "b f2 c h2 w2"]
"""Floats, or the bytes of a file: data tools shrink those with the same filter, ten times faster.

Each value is rounded to a byte and within one level of what floats would give."""


def resize(video: Pixels, height: int, width: int) -> ResampledPixels:
    """Resize `(b, f, c, h, w)` in space: bilinear, antialiased where it shrinks."""
    batch, frames, channels, old_height, old_width = video.shape
    if (old_height, old_width) == (height, width):
        return video
    shrinks = height < old_height or width < old_width
    resized = functional.interpolate(
        video.reshape(batch * frames, channels, old_height, old_width),
        size=(height, width),
        mode="bilinear",
        align_corners=False,
        antialias=shrinks,
    )
    return resized.reshape(batch, frames, channels, height, width)


def skip_frames(video: Video, factor: int) -> ResampledVideo:
    """Keep frames 0, factor, 2 factor, ...; the number of frames must be a multiple of factor.

    Raises:
        InputError: if factor does not divide the number of frames.
    """
    if factor < 1 or video.shape[1] % factor:
        raise InputError(
            "frame skip",
            f"{video.shape[1]} frames and factor {factor}",
            "a factor that divides the frames",
            "cut the clip",
        )
    return video[:, ::factor]


def fill_frames(
    video: Video, factor: int, fill: TemporalFill = "repeat", frames: range | None = None
) -> ResampledVideo:
    """Stretch a video to `f * factor` frames: [f0 f0 f1 f1 ...] or, blank, [f0 0 f1 0 ...].

    Args:
        video: given frames, `(b, f, c, h, w)`.
        factor: output frames per given frame.
        fill: repeat the given frame, or leave the new frames at zero.
        frames: which output frames to return; all of them if None.
    """
    index = torch.arange(video.shape[1] * factor, device=video.device)
    if frames is not None:
        index = index[frames.start : frames.stop]
    filled = video[:, index // factor]
    if fill == "repeat" or factor == 1:
        return filled
    given = (index % factor == 0)[:, None, None, None]
    return torch.where(given, filled, torch.zeros((), dtype=video.dtype, device=video.device))


def reduce_to(video: Video, frames: int, height: int, width: int) -> ResampledVideo:
    """Make the low-resolution version of a training clip: skip frames, then shrink.

    Raises:
        InputError: if `frames` does not divide the number of frames.
    """
    if frames < 1 or video.shape[1] % frames:
        raise InputError(
            "frame skip", f"{video.shape[1]} frames to {frames}", "a divisor", "cut the clip"
        )
    return resize(skip_frames(video, video.shape[1] // frames), height, width)


def enlarge_to(
    video: Video,
    clip_frames: int,
    height: int,
    width: int,
    fill: TemporalFill = "repeat",
    frames: range | None = None,
) -> ResampledVideo:
    """Bring a stage's input to its output shape: fill frames, then resize.

    Args:
        video: the stage's whole input, `(b, f', c, h', w')`.
        clip_frames: frames of the stage's whole output.
        height: pixels of the output.
        width: pixels of the output.
        fill: how new frames are filled.
        frames: which output frames to return; all of them if None.

    Raises:
        InputError: if the number of frames is not a multiple of the input's.
    """
    if clip_frames % video.shape[1]:
        raise InputError(
            "frame fill", f"{video.shape[1]} frames", f"a divisor of {clip_frames}", "cut the clip"
        )
    return resize(fill_frames(video, clip_frames // video.shape[1], fill, frames), height, width)
