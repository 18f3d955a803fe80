"""Scalars and text become one conditioning vector per frame.

    u = arctan(exp(-logsnr / 2)) / (pi / 2)     roughly t in [0, 1] (Salimans & Ho 2022, released
    code)

The vector is the sum of the embeddings of the noise level, the augmentation level, pooled text,
class, numeric vector, frame rate, guidance weight and place in the clip, whichever the spec names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from imagen_video.models.conditions import Conditions
from imagen_video.models.layers import zero_init
from imagen_video.models.spec import UNetSpec

CLEAN_LOGSNR = 20.0
"""Noise level of a low-resolution video without augmentation: the schedule's upper bound."""


def noise_level(logsnr: Tensor) -> Tensor:
    """Map log SNR to the bounded noise level u in [0, 1], 1 = pure noise."""
    return torch.atan(torch.exp(-logsnr.clamp(-20.0, 20.0) / 2)) / (math.pi / 2)


def sinusoidal(values: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Embed scalars `(...)` as sines and cosines `(..., width)` of geometric frequencies."""
    half = width // 2
    exponents = torch.arange(half, device=values.device, dtype=torch.float32) / half
    angles = values.float()[..., None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(values.dtype)


class ScalarEmbedding(nn.Module):
    """Sinusoidal features of a scalar, then a two-layer MLP with swish."""

    def __init__(self, width: int, scale: float, *, silent: bool = False) -> None:
        """Build the MLP; `scale` maps the scalar's range to about 0..1000.

        `silent` zeroes its last layer: a trained network that gains the embedding (`models.growth`)
        goes on as it was.
        """
        super().__init__()
        self.scale = scale
        self.features = min(256, width)
        last = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(self.features, width), nn.SiLU(), zero_init(last) if silent else last
        )

    def forward(self, values: Tensor) -> Tensor:
        """Embed `(...)` as `(..., width)`."""
        features = sinusoidal(values * self.scale, self.features)
        return self.mlp(features.to(next(self.mlp.parameters()).dtype))


class TextPooling(nn.Module):
    """Attention pooling of text tokens with one learned query (Imagen, appendix F)."""

    def __init__(self, text_width: int, width: int) -> None:
        """Build the query, the value projection and the output layer."""
        super().__init__()
        self.norm = nn.LayerNorm(text_width)
        self.key = nn.Linear(text_width, 1)
        self.value = nn.Linear(text_width, width)
        self.out = nn.Sequential(nn.SiLU(), nn.Linear(width, width))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool `(..., l, w)` under `(..., l)` to `(..., width)`; every row needs one True."""
        states = self.norm(states)
        scores = self.key(states).squeeze(-1).float().masked_fill(~mask, float("-inf"))
        weights = scores.softmax(dim=-1).to(states.dtype)
        return self.out(torch.einsum("...l,...lw->...w", weights, self.value(states)))


class TextContext(nn.Module):
    """Text tokens as the network sees them: a learned null token in front, padding erased.

    The null token makes attention well defined when every token is masked (the unconditional
    branch), and erasing padded states makes the output independent of padding even where they hold
    garbage.
    """

    def __init__(self, text_width: int) -> None:
        """Create the learned null token."""
        super().__init__()
        self.null_token = nn.Parameter(torch.zeros(text_width))

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return states `(b, f or 1, 1 + l, w)` and mask `(b, f or 1, 1 + l)`."""
        if states.ndim == 3:
            states, mask = states[:, None], mask[:, None]
        states = torch.where(
            mask[..., None], states, torch.zeros((), dtype=states.dtype, device=states.device)
        )
        null = self.null_token.to(states.dtype).expand(*states.shape[:2], 1, -1)
        present = torch.ones_like(mask[..., :1])
        return torch.cat([null, states], dim=2), torch.cat([present, mask], dim=2)


class ConditionEmbedding(nn.Module):
    """The sum of all scalar, pooled and label embeddings, `(b, f or 1, width)`."""

    def __init__(self, spec: UNetSpec) -> None:
        """Build one embedding for each condition that the spec names."""
        super().__init__()
        width = spec.embedding_width
        self.spec = spec
        self.noise_level = ScalarEmbedding(width, 1000.0)
        self.low_res_level = ScalarEmbedding(width, 1000.0) if spec.low_res else None
        self.text_pooling = (
            TextPooling(spec.text_width, width) if spec.text_width is not None else None
        )
        # one more row for "no class"; id -1 reads the last row
        self.class_table = (
            nn.Embedding(spec.num_classes + 1, width) if spec.num_classes is not None else None
        )
        self.vector = (
            nn.Sequential(
                nn.Linear(2 * spec.vector_width, width), nn.SiLU(), nn.Linear(width, width)
            )
            if spec.vector_width is not None
            else None
        )
        self.frame_rate = ScalarEmbedding(width, 20.0) if spec.frame_rate else None
        self.guidance_weight = (
            ScalarEmbedding(width, 50.0, silent=True) if spec.guidance_weight else None
        )
        self.frame_position = (
            ScalarEmbedding(width, 10.0, silent=True) if spec.frame_position else None
        )
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, width))

    def forward(
        self,
        logsnr: Tensor,
        conditions: Conditions,
        text: tuple[Tensor, Tensor] | None,
        num_frames: int = 1,
    ) -> Tensor:
        """Embed log SNR `(b,)` or `(b, f)` and the conditions; a missing one is the null one."""
        total = self.noise_level(per_frame(noise_level(logsnr)))
        if self.low_res_level is not None:
            level = conditions.low_res_logsnr
            level = logsnr.new_full((1,), CLEAN_LOGSNR) if level is None else level
            total = total + self.low_res_level(per_frame(noise_level(level)))
        if self.text_pooling is not None and text is not None:
            total = total + self.text_pooling(*text)
        if self.class_table is not None:
            total = total + self.class_table(self._class_rows(conditions.class_id))
        if self.vector is not None:
            total = total + self.vector(self._known_vector(conditions.vector).to(total.dtype))
        if self.frame_rate is not None and conditions.frame_rate is not None:
            total = total + self.frame_rate(per_frame(conditions.frame_rate))
        if self.guidance_weight is not None and conditions.guidance_weight is not None:
            total = total + self.guidance_weight(per_frame(conditions.guidance_weight))
        if self.frame_position is not None:
            total = total + self._places(num_frames, conditions.is_image)
        return functional.silu(self.mlp(total))

    def _places(self, num_frames: int, is_image: Tensor | None) -> Tensor:
        """Embed the places of the frames, `(b or 1, f, width)`; zeros for images."""
        assert self.frame_position is not None
        device = next(self.parameters()).device
        places = self.frame_position(torch.arange(num_frames, device=device).float()[None])
        if num_frames == 1:
            return places * 0  # not left out: DDP waits for the gradient of every weight
        return places if is_image is None else places * (~is_image)[:, None, None]

    def _class_rows(self, class_id: Tensor | None) -> Tensor:
        """Rows of the class table, `(b or 1, f or 1)`; an id past the classes is an index error."""
        assert self.class_table is not None
        null = self.class_table.num_embeddings - 1
        if class_id is None:
            return torch.full((1, 1), null, device=self.class_table.weight.device)
        ids = per_frame(class_id)
        # the null row lies behind the classes: an id of `num_classes` must not read it unnoticed
        return torch.where(ids < 0, null, torch.where(ids >= null, null + 1, ids))

    def _known_vector(self, vector: Tensor | None) -> Tensor:
        """The vector with zeros where it is NaN, and which numbers are known."""
        assert self.spec.vector_width is not None
        if vector is None:
            device = next(self.parameters()).device
            return torch.zeros(1, 1, 2 * self.spec.vector_width, device=device)
        vector = vector if vector.ndim == 3 else vector[:, None]
        return torch.cat([torch.nan_to_num(vector), (~vector.isnan()).to(vector.dtype)], dim=-1)


def per_frame(values: Tensor) -> Tensor:
    """Give values `(b,)` an axis of frames, `(b, 1)`; those that have one, `(b, f)`, stay."""
    return values if values.ndim == 2 else values[:, None]
