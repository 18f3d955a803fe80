"""A cascade for tests: the paper's seven stages and scale factors, in seconds on one core.

4x6x10 at 3 fps up to 32x192x320 at 24 fps. Between them the stages use every kind of layer, norm,
sampler and guidance that there is.
"""

from __future__ import annotations

from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.presets.emoji import MINILM_WIDTH, TEXT_ENCODER


def tiny() -> CascadeSpec:
    """Build the spec of the test cascade; its text is MiniLM's, or any states of the same width."""
    fast = SamplingSpec(sampler="ddim", steps=2, threshold="static")
    return CascadeSpec(
        name="tiny",
        text_encoder=TEXT_ENCODER,
        stages=(
            StageSpec(
                name="base",
                kind="base",
                output=Clip(frames=4, height=6, width=10, fps=3),
                unet=_base(),
                sampling=SamplingSpec(
                    sampler="ancestral", steps=4, guidance="oscillating", guidance_weight=15.0
                ),
            ),
            StageSpec(
                name="tsr1",
                kind="tsr",
                output=Clip(frames=8, height=6, width=10, fps=6),
                unet=_upscaler((16, 32), text_attention=True),
                sampling=SamplingSpec(sampler="few_step", steps=2, guidance_weight=1.0),
                temporal_fill="blank",
            ),
            StageSpec(
                name="ssr1",
                kind="ssr",
                output=Clip(frames=8, height=12, width=20, fps=6),
                unet=_upscaler(
                    (16, 32),
                    patch_size=2,
                    spatial_attention=True,
                    text_attention=True,
                    residual_std=0.2,
                ),
                sampling=SamplingSpec(sampler="ancestral", steps=2, guidance_weight=1.0),
            ),
            StageSpec(
                name="ssr2",
                kind="ssr",
                output=Clip(frames=8, height=48, width=80, fps=6),
                unet=_upscaler((16, 32), patch_size=4, residual_std=0.2),
                sampling=SamplingSpec(sampler="ddim", steps=2),
                train_frames=4,
            ),
            StageSpec(
                name="tsr2",
                kind="tsr",
                output=Clip(frames=16, height=48, width=80, fps=12),
                unet=_local((16, 16), patch_size=4, text_attention=True, residual_std=0.2),
                sampling=SamplingSpec(sampler="ancestral", steps=2),
                crop=(24, 24),
            ),
            StageSpec(
                name="tsr3",
                kind="tsr",
                output=Clip(frames=32, height=48, width=80, fps=24),
                unet=_local((16,), patch_size=4),
                sampling=fast,
                crop=(24, 24),
                train_frames=8,
            ),
            StageSpec(
                name="ssr3",
                kind="ssr",
                output=Clip(frames=32, height=192, width=320, fps=24),
                unet=_local((16,), patch_size=8, residual_std=0.1),
                sampling=fast,
                crop=(64, 64),
                train_frames=4,
            ),
        ),
    )


def _base() -> UNetSpec:
    """Every kind of attention, group norm, given frames, patches of one pixel."""
    return UNetSpec(
        levels=(
            LevelSpec(channels=16, num_blocks=1, text_attention=True, temporal="attention"),
            LevelSpec(
                channels=32,
                num_blocks=1,
                spatial_attention=True,
                text_attention=True,
                temporal="attention",
            ),
        ),
        embedding_width=32,
        head_width=16,
        text_width=MINILM_WIDTH,
        given_frames=True,
    )


def _upscaler(
    channels: tuple[int, ...],
    *,
    patch_size: int = 1,
    spatial_attention: bool = False,
    text_attention: bool = False,
    residual_std: float | None = None,
) -> UNetSpec:
    """Temporal convolution and group norm, attention at the coarsest level: runs whole."""
    last = len(channels) - 1
    return UNetSpec(
        levels=tuple(
            LevelSpec(
                channels=width,
                num_blocks=1,
                spatial_attention=spatial_attention and depth == last,
                text_attention=text_attention and depth == last,
                temporal="convolution",
            )
            for depth, width in enumerate(channels)
        ),
        patch_size=patch_size,
        embedding_width=32,
        head_width=16,
        text_width=MINILM_WIDTH,
        low_res=True,
        residual_std=residual_std,
    )


def _local(
    channels: tuple[int, ...],
    *,
    patch_size: int,
    text_attention: bool = False,
    residual_std: float | None = None,
) -> UNetSpec:
    """Local operations only: can be cut into tiles."""
    last = len(channels) - 1
    return UNetSpec(
        levels=tuple(
            LevelSpec(
                channels=width,
                num_blocks=1,
                text_attention=text_attention and depth == last,
                temporal="convolution",
                norm="layer",
            )
            for depth, width in enumerate(channels)
        ),
        patch_size=patch_size,
        embedding_width=32,
        head_width=16,
        text_width=MINILM_WIDTH,
        low_res=True,
        residual_std=residual_std,
    )
