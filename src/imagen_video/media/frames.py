"""uint8 frames <-> float video, rounding exactly.

    x = u / 127.5 - 1          u = round(clip((x + 1) * 127.5, 0, 255))

maps 0..255 onto [-1, 1] and back without loss, also through bfloat16 and float16. Frames outside
the model are `f h w 3` uint8 NumPy arrays; inside they are `f c h w`, or `b f c h w` in a batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from imagen_video.errors import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image


def to_float(
    frames: UInt8[np.ndarray, "*lead h w 3"], channels: int = 3
) -> Float[Tensor, "*lead c h w"]:
    """Turn uint8 RGB frames into float32 video in [-1, 1].

    Args:
        frames: any number of leading dimensions, then height, width and RGB.
        channels: 3, or 1 for the mean of the three (grey recordings stored as RGB).

    Returns:
        A new contiguous tensor, channels before height.

    Raises:
        ValueError: for another number of channels.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    # Copied: the result must not share memory with a decoder's buffer.
    pixels = torch.from_numpy(np.array(frames)).movedim(-1, -3)
    # in place from here on: a long clip is held once in float
    values = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    if channels == 1:
        values = values.mean(-3, keepdim=True)
    return values.div_(127.5).sub_(1.0)


def to_uint8(video: Float[Tensor, "*lead c h w"]) -> UInt8[np.ndarray, "*lead h w 3"]:
    """Turn float video in [-1, 1] into uint8 RGB frames; values outside are clipped.

    Args:
        video: 3 channels, or 1 that is repeated.

    Returns:
        A new contiguous array on the CPU.

    Raises:
        MediaError: another number of channels, or values that are not finite.
    """
    channels = video.shape[-3]
    if channels not in (1, 3):
        raise MediaError(
            "a picture of the video",
            f"{channels} channels",
            "3 (RGB) or 1 (grey)",
            "choose the channels to show, or keep the result as an array",
        )
    lead, (height, width) = video.shape[:-3], video.shape[-2:]
    # Frame by frame: a float32 copy of a whole 128-frame video would cost 1.5 GB more.
    flat = video.detach().reshape(-1, channels, height, width)
    frames = np.empty((flat.shape[0], height, width, 3), dtype=np.uint8)
    for index in range(flat.shape[0]):
        frame = flat[index].to(torch.float32, copy=True)
        # NaN passes through both, so the extremes tell; isfinite() takes four times as long.
        if not all(math.isfinite(extreme) for extreme in torch.aminmax(frame)):
            raise MediaError(
                f"frame {index} of the video",
                "NaN or infinite values",
                "finite values",
                "the network diverged: try float32 and the default guidance weight",
            )
        pixels = frame.add_(1.0).mul_(127.5).clamp_(0.0, 255.0).round_().to(torch.uint8)
        frames[index] = pixels.movedim(0, -1).expand(height, width, 3).cpu().numpy()
    return frames.reshape(*lead, height, width, 3)


def to_images(frames: UInt8[np.ndarray, "f h w 3"]) -> list[Image]:
    """Return the frames as Pillow images (`output_type="pil"`)."""
    from PIL import Image

    return [Image.fromarray(frame) for frame in frames]
