"""The shipped cascade: the paper's own geometry with networks that a laptop trains and runs.

Seven stages, 16x24x40 at 3 fps up to 128x768x1280 at 24 fps, text by the frozen MiniLM encoder,
fewer than 31 million parameters together. Deviation: patches of 4x4 pixels and layer norm
of each position in the four stages from 192x320 on, so that they are exactly tileable and
128x768x1280 fits a few gigabytes.
"""

from __future__ import annotations

from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.text.minilm import PACKAGE, WEIGHTS_SHA256

MINILM_WIDTH = 384
TEXT_ENCODER = {
    "encoder": "minilm",
    "package": PACKAGE,
    "weights_sha256": WEIGHTS_SHA256,
    "width": MINILM_WIDTH,
    "max_tokens": 64,
}
GUIDED = SamplingSpec(sampler="ddim", steps=16, guidance_weight=3.0, threshold="static")
"""Of the base. Clipped: dynamic thresholding makes flat grounds pale (docs/experiments)."""


def emoji() -> CascadeSpec:
    """Build the spec of the shipped cascade."""
    return CascadeSpec(
        name="emoji",
        text_encoder=TEXT_ENCODER,
        stages=(
            StageSpec(
                name="base",
                kind="base",
                output=Clip(frames=16, height=24, width=40, fps=3.0),
                unet=_base(),
                sampling=GUIDED,
            ),
            StageSpec(
                name="tsr1",
                kind="tsr",
                output=Clip(frames=32, height=24, width=40, fps=6.0),
                unet=_pyramid((48, 96, 192), (1, 1, 2), residual_std=0.25),
                augmentation_max_t=0.3,
                sampling=_few(1),
            ),
            StageSpec(
                name="ssr1",
                kind="ssr",
                output=Clip(frames=32, height=48, width=80, fps=6.0),
                unet=_pyramid(
                    (64, 128, 192),
                    (1, 2, 2),
                    patch_size=2,
                    residual_std=0.15,
                    spatial_attention=True,
                ),
                augmentation_max_t=0.5,
                train_frames=8,
                sampling=_few(4),
            ),
            StageSpec(
                name="ssr2",
                kind="ssr",
                output=Clip(frames=32, height=192, width=320, fps=6.0),
                unet=_local((128,), (5,), patch_size=4, residual_std=0.15),
                augmentation_max_t=0.3,
                crop=(96, 96),
                train_frames=8,
                sampling=_few(2),
            ),
            StageSpec(
                name="tsr2",
                kind="tsr",
                output=Clip(frames=64, height=192, width=320, fps=12.0),
                unet=_local((96,), (3,), patch_size=4, residual_std=0.15),
                augmentation_max_t=0.1,
                crop=(96, 96),
                train_frames=8,
                sampling=_few(1),
            ),
            StageSpec(
                name="tsr3",
                kind="tsr",
                output=Clip(frames=128, height=192, width=320, fps=24.0),
                unet=_local((96,), (3,), patch_size=4, residual_std=0.1),
                augmentation_max_t=0.1,
                crop=(96, 96),
                train_frames=8,
                sampling=_few(1),
            ),
            StageSpec(
                name="ssr3",
                kind="ssr",
                output=Clip(frames=128, height=768, width=1280, fps=24.0),
                unet=_local((80,), (2,), patch_size=4, residual_std=0.1),
                augmentation_max_t=0.1,
                crop=(128, 128),
                train_frames=4,
                sampling=_few(1),
            ),
        ),
    )


def _few(steps: int) -> SamplingSpec:
    """Few steps, from zeros, without augmentation. Deviation: temperature and log SNR.

    Networks that are trained this briefly hand on a part of all noise that they are given, from the
    input and from z, as grain of plain grounds. Measured (docs/lab-notes.md): without any, their
    features are nearer to those of real renders at every stage, at some several times.
    """
    return SamplingSpec(
        sampler="ddim",
        steps=steps,
        guidance_weight=0.0,
        threshold="static",
        augmentation_logsnr=20.0,
        temperature=0.0,
    )


def _base() -> UNetSpec:
    """16x24x40 in patches of 2x2; text and positions from 6x10 on, frames at every level."""
    return UNetSpec(
        levels=(
            LevelSpec(channels=64, num_blocks=2, temporal="attention"),
            LevelSpec(
                channels=128,
                num_blocks=2,
                spatial_attention=True,
                text_attention=True,
                temporal="attention",
            ),
            LevelSpec(
                channels=256,
                num_blocks=3,
                spatial_attention=True,
                text_attention=True,
                temporal="attention",
            ),
        ),
        patch_size=2,
        text_width=MINILM_WIDTH,
        given_frames=True,
        frame_position=True,
    )


def _pyramid(
    channels: tuple[int, ...],
    num_blocks: tuple[int, ...],
    *,
    residual_std: float,
    patch_size: int = 1,
    spatial_attention: bool = False,
) -> UNetSpec:
    """A U-Net with temporal convolution; text (and positions, if asked) at the lowest level."""
    last = len(channels) - 1
    return UNetSpec(
        levels=tuple(
            LevelSpec(
                channels=width,
                num_blocks=blocks,
                temporal="convolution",
                text_attention=depth == last,
                spatial_attention=spatial_attention and depth == last,
            )
            for depth, (width, blocks) in enumerate(zip(channels, num_blocks, strict=True))
        ),
        patch_size=patch_size,
        text_width=MINILM_WIDTH,
        low_res=True,
        residual_std=residual_std,
    )


def _local(
    channels: tuple[int, ...],
    num_blocks: tuple[int, ...],
    *,
    residual_std: float,
    patch_size: int,
) -> UNetSpec:
    """A network of local operations only, conditioned on pooled text: exactly tileable."""
    return UNetSpec(
        levels=tuple(
            LevelSpec(
                channels=width,
                num_blocks=blocks,
                temporal="convolution",
                norm="layer",
            )
            for width, blocks in zip(channels, num_blocks, strict=True)
        ),
        patch_size=patch_size,
        text_width=MINILM_WIDTH,
        low_res=True,
        residual_std=residual_std,
    )
