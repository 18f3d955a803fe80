"""The space-time separable block (paper, Fig. 7): convolutions, attention, temporal mixing.

Spatial operations see frames as a batch; temporal ones see positions as a batch. Every residual
branch starts at zero, so a new network is a chain of shortcuts and a network whose temporal
branches are untrained treats a clip as independent images. Sums are taken in the memory of the
branch's result, which nothing else holds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imagen_video.models.attention import SpatialAttention, TemporalAttention
from imagen_video.models.layers import FiLM, make_norm, swish, zero_init
from imagen_video.models.spec import LevelSpec, UNetSpec


class ResidualBlock(nn.Module):
    """norm, swish, 3x3 convolution, norm, FiLM, swish, 3x3 convolution, and a shortcut (Imagen)."""

    def __init__(self, channels_in: int, level: LevelSpec, embedding_width: int) -> None:
        """Build the block from `channels_in` to `level.channels`."""
        super().__init__()
        channels = level.channels
        self.norm1 = make_norm(level.norm, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2 = make_norm(level.norm, channels)
        self.film = FiLM(embedding_width, channels)
        self.conv2 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))
        self.shortcut = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )

    def forward(self, x: Tensor, embedding: Tensor, num_frames: int) -> Tensor:
        """Map `(b f, c_in, h, w)` to `(b f, c, h, w)`."""
        h = self.conv1(swish(self.norm1(x)))
        h = swish(self.film(self.norm2(h), embedding, num_frames))
        return self.conv2(h).add_(self.shortcut(x))


class TemporalConvolution(nn.Module):
    """x + convolution over three frames of swish(norm(x)); bypassed exactly for images.

    Assumption: kernel 3, not causal, zero-initialised: the paper names temporal convolutions only.
    """

    def __init__(self, level: LevelSpec) -> None:
        """Build the norm and the convolution."""
        super().__init__()
        self.norm = make_norm(level.norm, level.channels)
        self.conv = zero_init(nn.Conv2d(level.channels, level.channels, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor, num_frames: int, is_image: Tensor | None) -> Tensor:
        """Mix neighbouring frames of x `(b f, c, h, w)`."""
        if num_frames == 1:
            return x
        n, channels, height, width = x.shape
        h = swish(self.norm(x))
        # a view: channels-last features are (b, f, h w, c) in memory, so frames are the rows of a
        # 2-D convolution
        rows = h.permute(0, 2, 3, 1).reshape(n // num_frames, num_frames, height * width, channels)
        mixed = self.conv(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        mixed = mixed.reshape(n, height, width, channels).permute(0, 3, 1, 2)
        if is_image is not None:
            bypass = is_image.repeat_interleave(num_frames)[:, None, None, None]
            mixed = torch.where(
                bypass, torch.zeros((), dtype=mixed.dtype, device=mixed.device), mixed
            )
        return mixed.add_(x)


class SpaceTimeBlock(nn.Module):
    """A residual block, then the attention and the temporal mixing that the level asks for."""

    def __init__(self, channels_in: int, level: LevelSpec, spec: UNetSpec) -> None:
        """Build the parts named by `level`."""
        super().__init__()
        self.residual = ResidualBlock(channels_in, level, spec.embedding_width)
        attends = level.spatial_attention or level.text_attention
        self.spatial = (
            SpatialAttention(level, spec.head_width, spec.text_width) if attends else None
        )
        self.temporal: TemporalAttention | TemporalConvolution | None = None
        if level.temporal == "attention":
            self.temporal = TemporalAttention(level, spec.head_width)
        elif level.temporal == "convolution":
            self.temporal = TemporalConvolution(level)

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        text: tuple[Tensor, Tensor] | None,
        num_frames: int,
        is_image: Tensor | None,
    ) -> Tensor:
        """Map `(b f, c_in, h, w)` to `(b f, c, h, w)`."""
        x = self.residual(x, embedding, num_frames)
        if self.spatial is not None:
            x = self.spatial(x, text, num_frames)
        if self.temporal is not None:
            x = self.temporal(x, num_frames, is_image)
        return x
