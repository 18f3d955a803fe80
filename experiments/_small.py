"""The small stages that the experiments train: minutes on one core, a quarter of the demo's size.

    base    8x12x20 at 3 fps       text at both levels, attention over frames
    ssr     8x12x20 to 8x24x40     temporal convolution, trained on 4 of the 8 frames

Frames are 8 source frames (24 fps) apart, as in the base of the `emoji` preset.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.models.spec import LevelSpec, Temporal, UNetSpec
from imagen_video.presets.emoji import MINILM_WIDTH, TEXT_ENCODER

STRIDE = 8
"""Source frames between two frames."""
LOW = Clip(frames=8, height=12, width=20, fps=3.0)
HIGH = Clip(frames=8, height=24, width=40, fps=3.0)


def base(
    widths: tuple[int, int] = (64, 128), *, output: Clip = LOW, text_width: int = MINILM_WIDTH
) -> StageSpec:
    """Build a base stage of two levels."""
    return StageSpec(
        name="base",
        kind="base",
        output=output,
        unet=UNetSpec(
            levels=tuple(
                LevelSpec(
                    channels=width,
                    num_blocks=1 + depth,
                    spatial_attention=depth == 1,
                    text_attention=True,
                    temporal="attention",
                )
                for depth, width in enumerate(widths)
            ),
            text_width=text_width,
        ),
        sampling=SamplingSpec(sampler="ddim", steps=24, guidance_weight=3.0, threshold="dynamic"),
    )


def ssr(
    *, temporal: Temporal = "convolution", text: bool = True, residual: bool = True, **changes: Any
) -> StageSpec:
    """Build a spatial super-resolution stage.

    Args:
        temporal: how frames mix; `none` makes every frame by itself.
        text: whether it hears the caption.
        residual: predict what the low-res video leaves open (`models.prior`), as `emoji` does;
            False is the paper's plain v.
        changes: further fields of the stage.
    """
    values: dict[str, Any] = {
        "name": "ssr1",
        "kind": "ssr",
        "output": HIGH,
        "train_frames": 4,
        "augmentation_max_t": 0.5,
        "sampling": SamplingSpec(
            sampler="ddim", steps=16, threshold="static", augmentation_logsnr=3.0
        ),
        "unet": UNetSpec(
            levels=(
                LevelSpec(channels=32, num_blocks=1, temporal=temporal),
                LevelSpec(channels=64, num_blocks=2, temporal=temporal, text_attention=text),
            ),
            text_width=MINILM_WIDTH if text else None,
            low_res=True,
            residual_std=0.2 if residual else None,
        ),
    }
    return StageSpec(**{**values, **changes})


def cascade(*stages: StageSpec) -> CascadeSpec:
    """Join stages, for what wants a cascade."""
    return CascadeSpec(name="small", text_encoder=TEXT_ENCODER, stages=stages)


def sampled(stage: StageSpec, **changes: Any) -> SamplingSpec:
    """Change how a stage is sampled."""
    return dataclasses.replace(stage.sampling, **changes)
