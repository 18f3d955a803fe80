"""A cascade of three stages that runs in milliseconds, networks with random weights, an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.models.unet import VideoUNet
from imagen_video.text.base import TextEmbedding, checked_prompts

TEXT_WIDTH = 8


class WordEncoder:
    """Every word has a random state of its own."""

    width = TEXT_WIDTH
    max_tokens = 16

    @property
    def identity(self) -> dict[str, Any]:
        return {"encoder": "words"}

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        return TextEmbedding.from_rows(
            [torch.stack([_state(word) for word in p.split()]) for p in checked_prompts(prompts)]
        )


def _state(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
    return torch.randn(TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))


def local_unet(**changes: Any) -> UNetSpec:
    levels = (LevelSpec(channels=8, num_blocks=1, temporal="convolution", norm="layer"),)
    values: dict[str, Any] = {
        "levels": levels,
        "patch_size": 2,
        "embedding_width": 16,
        "text_width": TEXT_WIDTH,
        "low_res": True,
    }
    return UNetSpec(**{**values, **changes})


def base_unet() -> UNetSpec:
    level = LevelSpec(channels=8, num_blocks=1, text_attention=True, temporal="attention")
    return UNetSpec(
        levels=(level,), embedding_width=16, head_width=8, text_width=TEXT_WIDTH, given_frames=True
    )


def small_cascade() -> CascadeSpec:
    """Build base 4x4x6, tsr 8x4x6, ssr 8x8x12."""
    fast = SamplingSpec(sampler="ddim", steps=2, threshold="static")
    guided = SamplingSpec(sampler="ancestral", steps=2, guidance_weight=2.0, threshold="static")
    return CascadeSpec(
        name="small",
        text_encoder={"encoder": "words"},
        stages=(
            StageSpec(
                name="base",
                kind="base",
                output=Clip(frames=4, height=4, width=6, fps=6.0),
                unet=base_unet(),
                sampling=guided,
            ),
            StageSpec(
                name="tsr1",
                kind="tsr",
                output=Clip(frames=8, height=4, width=6, fps=12.0),
                unet=local_unet(),
                sampling=fast,
                train_frames=4,
            ),
            StageSpec(
                name="ssr1",
                kind="ssr",
                output=Clip(frames=8, height=8, width=12, fps=12.0),
                unet=local_unet(residual_std=0.2),
                sampling=fast,
                crop=(4, 8),
            ),
        ),
    )


def awake(spec: UNetSpec, seed: int = 0) -> VideoUNet:
    """Build a network in which no weight is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VideoUNet(spec).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                fan = parameter[0].numel() if parameter.ndim > 1 else 25
                parameter.normal_(std=fan**-0.5, generator=generator)
    return network


def small_networks(spec: CascadeSpec) -> dict[str, nn.Module]:
    return {stage.name: awake(stage.unet, i) for i, stage in enumerate(spec.stages)}


def small_pipeline(spec: CascadeSpec | None = None) -> ImagenVideoPipeline:
    spec = spec or small_cascade()
    networks = small_networks(spec)
    return ImagenVideoPipeline(spec, networks.__getitem__, WordEncoder())


def random_video(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
