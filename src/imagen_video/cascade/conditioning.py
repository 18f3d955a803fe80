"""How the video of one stage becomes the condition of the next.

    enlarge to the output shape, then add noise at level lambda', and tell the network lambda'

Training and sampling call the same two functions, so the network sees the same tensor in both.
Assumption: noise after upsampling; the paper does not say.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imagen_video.cascade.resample import ResampledVideo, TemporalFill, enlarge_to, reduce_to
from imagen_video.cascade.spec import Clip
from imagen_video.diffusion.augmentation import augment
from imagen_video.models.conditions import Conditions
from imagen_video.tensor_types import LogSNR, Video


def low_res_of(video: Video, source: Clip, output: Clip) -> ResampledVideo:
    """Make the training input of a stage from its training target (or a crop or cut of it).

    Args:
        video: high-resolution clip, `(b, f, c, h, w)`.
        source: the stage's input clip; only the ratios to `output` count, so that crops work.
        output: the stage's output clip.

    Raises:
        InputError: if the clip's frames are no multiple of the stage's factor in time.
    """
    _, frames, _, height, width = video.shape
    in_time = (
        output.frames // source.frames if frames > 1 else 1
    )  # an image is its own low-res frame
    in_space = output.height // source.height
    kept = -(-frames // in_time)  # rounded up, so that a ragged clip is refused and not cut
    return reduce_to(video, kept, height // in_space, width // in_space)


def condition_on(
    conditions: Conditions,
    low_res: ResampledVideo,
    noise: Video,
    logsnr: LogSNR,
    *,
    fill: TemporalFill = "repeat",
    clip_frames: int | None = None,
    frames: range | None = None,
) -> Conditions:
    """Add the noise-augmented low-resolution video to the conditions.

    Args:
        conditions: everything else.
        low_res: clean video of the stage before, `(b, f', c, h', w')`.
        noise: standard normal, in the output shape `(b, f, c, h, w)`.
        logsnr: lambda', `(b,)` or `(b, f)`.
        fill: how new frames are filled.
        clip_frames: frames of the whole output where `noise` is a window of it.
        frames: that window.
    """
    _, num_frames, _, height, width = noise.shape
    upsampled = enlarge_to(low_res, clip_frames or num_frames, height, width, fill, frames)
    return conditions.replace(low_res=augment(upsampled, noise, logsnr), low_res_logsnr=logsnr)


def draw_given_frames(num_videos: int, num_frames: int, generator: torch.Generator) -> Tensor:
    """Draw which frames of a training clip are given: none (half), the first, or some at random.

    Assumption: the shares; they give image-to-video and longer clips from the same weights.

    Returns:
        Boolean `(b, f)`, True = given. Never all frames.
    """
    choice = torch.rand(num_videos, 1, generator=generator)
    first = torch.arange(num_frames) == 0
    rate = torch.rand(num_videos, 1, generator=generator) * 0.5
    some = torch.rand(num_videos, num_frames, generator=generator) < rate
    leading = torch.arange(num_frames) < torch.randint(
        1, max(2, num_frames // 2), (num_videos, 1), generator=generator
    )
    mask = torch.where(choice < 0.7, first, torch.where(choice < 0.85, leading, some))
    mask = mask & (choice >= 0.5)
    return mask & ~mask.all(dim=1, keepdim=True)
