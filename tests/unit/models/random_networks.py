"""Small networks with random weights everywhere, and inputs for them.

A new network is silent: its output and its residual branches are zero. Most laws hold trivially for
it, so the tests wake it up first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imagen_video.models.conditions import Conditions
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.models.unet import VideoUNet

TEXT_WIDTH = 12
TOKENS = 5


def _spec(*levels: LevelSpec, **conditions: Any) -> UNetSpec:
    return UNetSpec(
        levels=levels, embedding_width=16, head_width=8, text_width=TEXT_WIDTH, **conditions
    )


ATTENTION = _spec(
    LevelSpec(channels=8, num_blocks=1, text_attention=True, temporal="attention"),
    LevelSpec(
        channels=16,
        num_blocks=2,
        spatial_attention=True,
        text_attention=True,
        temporal="attention",
    ),
    given_frames=True,
)
"""Like the base: attention over positions, text and frames."""

CONVOLUTION = _spec(
    LevelSpec(channels=8, num_blocks=1, temporal="convolution"),
    LevelSpec(
        channels=16,
        num_blocks=1,
        spatial_attention=True,
        text_attention=True,
        temporal="convolution",
    ),
    low_res=True,
)
"""Like the first spatial stages: temporal convolution, attention at the coarsest level."""

LOCAL = _spec(
    LevelSpec(channels=8, num_blocks=1, temporal="convolution", norm="layer"),
    LevelSpec(channels=16, num_blocks=1, text_attention=True, temporal="convolution", norm="layer"),
    patch_size=2,
    low_res=True,
    residual_std=0.2,
)
"""Like the last stages: everything is local."""

EVERYTHING = dataclasses.replace(
    ATTENTION,
    low_res=True,
    residual_std=0.5,
    num_classes=7,
    vector_width=3,
    frame_rate=True,
    guidance_weight=True,
    frame_position=True,
)
"""Every condition there is."""

SPECS: Mapping[str, UNetSpec] = {
    "attention": ATTENTION,
    "convolution": CONVOLUTION,
    "local": LOCAL,
    "everything": EVERYTHING,
}


def fresh(spec: UNetSpec, seed: int = 0) -> VideoUNet:
    """Build a network as a training run starts with it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VideoUNet(spec).eval()


def awake(spec: UNetSpec, seed: int = 0) -> VideoUNet:
    """Build a network in which no weight is zero."""
    network = fresh(spec, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2, generator=generator)
    return network


def random(*shape: int, seed: int = 0) -> Tensor:
    """Draw normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(
    spec: UNetSpec, batch: int = 2, frames: int = 3, height: int = 8, width: int = 12, seed: int = 0
) -> tuple[Tensor, Tensor, Conditions]:
    """Draw a noisy video, log SNRs, and every condition that the spec names."""
    shape = (batch, frames, spec.channels, height, width)
    mask = torch.zeros(batch, frames, dtype=torch.bool)
    mask[:, 0] = True
    conditions = Conditions(
        text_states=None if spec.text_width is None else random(batch, TOKENS, spec.text_width),
        text_mask=None if spec.text_width is None else torch.ones(batch, TOKENS, dtype=torch.bool),
        low_res=random(*shape, seed=seed + 1) if spec.low_res else None,
        low_res_logsnr=torch.linspace(2.0, 4.0, batch) if spec.low_res else None,
        class_id=None if spec.num_classes is None else torch.arange(batch) % spec.num_classes,
        vector=None if spec.vector_width is None else random(batch, spec.vector_width),
        given_frames=random(*shape, seed=seed + 2) if spec.given_frames else None,
        given_mask=mask if spec.given_frames else None,
        frame_rate=torch.full((batch,), 24.0) if spec.frame_rate else None,
        guidance_weight=torch.full((batch,), 3.0) if spec.guidance_weight else None,
    )
    return random(*shape, seed=seed + 3), torch.linspace(-3.0, 3.0, batch), conditions
