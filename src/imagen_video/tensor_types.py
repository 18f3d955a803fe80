"""Names for the tensors that cross module borders, with their shapes.

One layout everywhere: a video batch is `b f c h w` (batch, frames, channels, height, width), float,
in [-1, 1] when clean. Time is given to networks as `logsnr`, one value per example `(b,)` or, for
images packed as frames, one per frame `(b, f)`. The shapes are checked at run time in tests only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Bool, Float
from torch import Tensor

Video: TypeAlias = Float[Tensor, "b f c h w"]
"""A batch of videos: clean in [-1, 1], noisy at unit variance, or a prediction for them."""

LogSNR: TypeAlias = Float[Tensor, "b"] | Float[Tensor, "b f"]
"""log(alpha^2 / sigma^2), natural logarithm, per example or per frame."""

PerExample: TypeAlias = Float[Tensor, "b"]
"""One number per example."""

PerFrame: TypeAlias = Float[Tensor, "b f"]
"""One number per frame of each example."""

FrameMask: TypeAlias = Bool[Tensor, "b f"] | Float[Tensor, "b f"]
"""Which frames count (True or a weight)."""

ExampleMask: TypeAlias = Bool[Tensor, "b"]
"""One yes or no per example."""

Tokens: TypeAlias = Float[Tensor, "b l w"]
"""Text encoder states: batch, tokens, width."""

TokenMask: TypeAlias = Bool[Tensor, "b l"]
"""True at real tokens, False at padding."""

AnyShape: TypeAlias = Float[Tensor, "..."]
"""Elementwise functions take and return any shape."""

Denoiser: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`(z, logsnr) -> x_hat`: the one contract between networks and samplers."""
