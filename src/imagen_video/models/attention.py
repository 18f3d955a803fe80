"""Attention over the positions of a frame, over text tokens, and over frames (paper, Fig. 7).

Text enters as in Imagen: its tokens are appended to the keys and values of spatial self-attention;
a level without self-attention attends to the text alone. Temporal attention sees one position
through all frames, with a learned bias per head and frame distance (VDM uses relative positions, so
no absolute time is needed).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from imagen_video.models.layers import fold_frames, make_norm, zero_init
from imagen_video.models.spec import LevelSpec

MAX_FRAME_DISTANCE = 128
"""Frame distances beyond this share one bias: longer than any clip of the paper."""


class SpatialAttention(nn.Module):
    """Self-attention over a frame's positions and / or attention to text, added to the input."""

    def __init__(self, level: LevelSpec, head_width: int, text_width: int | None) -> None:
        """Build the projections that the level asks for."""
        super().__init__()
        channels = level.channels
        self.num_heads = max(1, channels // head_width)
        self.self_attention = level.spatial_attention
        self.norm = make_norm(level.norm, channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1) if self.self_attention else None
        with_text = level.text_attention and text_width is not None
        self.text_norm = nn.LayerNorm(text_width) if with_text and text_width is not None else None
        self.text_key_value = (
            nn.Linear(text_width, 2 * channels) if with_text and text_width is not None else None
        )
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, text: tuple[Tensor, Tensor] | None, num_frames: int) -> Tensor:
        """Add attention to x `(b f, c, h, w)`.

        Text is states `(b, f or 1, l, w)` and mask `(b, f or 1, l)`.
        """
        _, _, height, width = x.shape
        normed = self.norm(x)
        query = self._heads(_to_tokens(self.query(normed)))
        keys: list[Tensor] = []
        values: list[Tensor] = []
        mask = None
        if self.key_value is not None:
            key, value = _to_tokens(self.key_value(normed)).chunk(2, dim=-1)
            keys.append(self._heads(key))
            values.append(self._heads(value))
        if self.text_key_value is not None and self.text_norm is not None and text is not None:
            states, text_mask = text
            key, value = self.text_key_value(self.text_norm(states)).chunk(2, dim=-1)
            keys.append(self._heads(fold_frames(key, num_frames)))
            values.append(self._heads(fold_frames(value, num_frames)))
            mask = fold_frames(text_mask, num_frames)
            if self.key_value is not None:
                mask = functional.pad(mask, (height * width, 0), value=True)
            mask = mask[:, None, None, :]
        if not keys:
            return x
        attended = _attend(query, torch.cat(keys, dim=2), torch.cat(values, dim=2), mask)
        attended = _from_tokens(attended.transpose(1, 2).flatten(2), height, width)
        return self.out(attended).add_(x)

    def _heads(self, tokens: Tensor) -> Tensor:
        n, length, channels = tokens.shape
        return tokens.view(n, length, self.num_heads, channels // self.num_heads).transpose(1, 2)


class TemporalAttention(nn.Module):
    """Self-attention of each position over frames, with relative bias, added to the input."""

    def __init__(self, level: LevelSpec, head_width: int) -> None:
        """Build the projections and the bias table."""
        super().__init__()
        channels = level.channels
        self.num_heads = max(1, channels // head_width)
        self.norm = make_norm(level.norm, channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.bias = nn.Parameter(torch.zeros(self.num_heads, 2 * MAX_FRAME_DISTANCE + 1))
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, num_frames: int, is_image: Tensor | None) -> Tensor:
        """Mix the frames of x `(b f, c, h, w)`; frames of `is_image` `(b,)` see only themselves."""
        n, channels, height, width = x.shape
        batch, positions = n // num_frames, height * width
        qkv = _to_tokens(self.query_key_value(self.norm(x)))
        # (b, f, p, 3, heads, d) -> three of (b p, heads, f, d)
        qkv = qkv.view(batch, num_frames, positions, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(3, 0, 2, 4, 1, 5).flatten(1, 2).unbind(0)
        bias = self._bias(batch, num_frames, positions, is_image, query.dtype)
        attended = _attend(query, key, value, bias)
        attended = attended.view(batch, positions, self.num_heads, num_frames, -1).permute(
            0, 3, 1, 2, 4
        )
        attended = _from_tokens(attended.reshape(n, positions, channels), height, width)
        return self.out(attended).add_(x)

    def _bias(
        self,
        batch: int,
        num_frames: int,
        positions: int,
        is_image: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        frames = torch.arange(num_frames, device=self.bias.device)
        distance = (frames[None, :] - frames[:, None]).clamp(
            -MAX_FRAME_DISTANCE, MAX_FRAME_DISTANCE
        )
        bias = self.bias[:, distance + MAX_FRAME_DISTANCE].to(dtype)[None]
        if is_image is None:
            return bias
        others = is_image.view(batch, 1, 1, 1) & ~torch.eye(
            num_frames, dtype=torch.bool, device=bias.device
        )
        bias = bias.masked_fill(others, float("-inf"))
        return bias.repeat_interleave(positions, dim=0)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(d) + mask) v, for `(n, heads, l, d)`; a mask is boolean or added.

    On a CPU, PyTorch's fused kernel takes several times as long as the formula in its backward pass
    (benchmarks/attention.py), so it is used there for inference only.
    """
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attention_formula(query, key, value, mask)


def attention_formula(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(d) + mask) v in separate operations, the softmax in at least fp32."""
    wide = torch.promote_types(query.dtype, torch.float32)
    logits = (query @ key.transpose(-1, -2)).to(wide) * query.shape[-1] ** -0.5
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, float("-inf"))
    elif mask is not None:
        logits = logits + mask
    return logits.softmax(dim=-1).to(value.dtype) @ value


def _to_tokens(x: Tensor) -> Tensor:
    """`(n, c, h, w)` channels-last to `(n, h w, c)`: a view."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _from_tokens(tokens: Tensor, height: int, width: int) -> Tensor:
    """`(n, h w, c)` to `(n, c, h, w)` channels-last: a view."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)
