"""The paper's 11.6B cascade: seven stages, T5-XXL text, no autoencoder (Imagen Video, Fig. 6).

    stage  kind  frames x height x width   fps   parameters   paper   difference
    base   base   16 x  24 x   40            3        5.58B    5.6B       -0.4 %
    tsr1   tsr    32 x  24 x   40            6        1.71B    1.7B       +0.5 %
    ssr1   ssr    32 x  48 x   80            6        1.43B    1.4B       +1.8 %
    ssr2   ssr    32 x 192 x  320            6        1.20B    1.2B       +0.2 %
    tsr2   tsr    64 x 192 x  320           12         772M    780M       -1.1 %
    tsr3   tsr   128 x 192 x  320           24         633M    630M       +0.5 %
    ssr3   ssr   128 x 768 x 1280           24         343M    340M       +0.9 %

The paper gives shapes, parameter counts and the kinds of layers of each stage, but no widths and no
depths. Assumption: all of those in this file. They follow the published networks that these were
made from, and the number of blocks at the coarsest level is what meets the parameter count:

- base and tsr1: three levels of 24, 12 and 6 rows, widths 1, 2, 4 times a base width, attention at
  every level (UniPi, 2302.00111, which reuses tsr1 at 512 channels and 3 blocks). The base has
  "more channels and more depth".
- the others: the Efficient U-Net of Imagen (2205.11487, appendix F), widths 1, 2, 4, 8 times a base
  width, 2, 4, 8 and 8 blocks. Our coarsest level has its blocks once and not down and up again, so
  Imagen's 8 there are 16 here.

Everything that is not named here is a default of `StageSpec` and `SamplingSpec`: loss "v", repeated
frames, dynamic thresholding at 99.5 percent.
"""

from __future__ import annotations

from imagen_video.cascade.sampling_spec import SamplingSpec, ThresholdName
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.models.spec import LevelSpec, Norm, Temporal, UNetSpec

T5_XXL_WIDTH = 4096
T5_XXL = {
    "encoder": "t5",
    "source": "google/t5-v1_1-xxl",
    "dtype": "bfloat16",
    "width": T5_XXL_WIDTH,
    "max_tokens": 128,  # Assumption: Imagen's; the paper does not say.
}
"""The text encoder to load; its fingerprint is added when its weights are there."""

EMBEDDING_WIDTH = 1024
"""Assumption: VDM's (2204.03458)."""


def paper(*, tsr1_spatial_attention: bool = False) -> CascadeSpec:
    """Build the spec of the paper's cascade.

    Args:
        tsr1_spatial_attention: give the first temporal stage spatial attention. The paper names the
            base and the first two spatial stages only; UniPi's use of the same network suggests
            otherwise. One block less then keeps the parameter count.
    """
    return CascadeSpec(
        name="paper",
        text_encoder=T5_XXL,
        stages=(
            StageSpec(
                name="base",
                kind="base",
                output=Clip(frames=16, height=24, width=40, fps=3),
                unet=_three_levels(768, (5, 5, 16), temporal="attention", spatial_attention=True),
                sampling=_oscillating(steps=256),
            ),
            StageSpec(
                name="tsr1",
                kind="tsr",
                output=Clip(frames=32, height=24, width=40, fps=6),
                unet=_three_levels(
                    512,
                    (3, 4, 10) if tsr1_spatial_attention else (3, 4, 11),
                    temporal="convolution",
                    spatial_attention=tsr1_spatial_attention,
                ),
                sampling=_oscillating(steps=128),
            ),
            StageSpec(
                name="ssr1",
                kind="ssr",
                output=Clip(frames=32, height=48, width=80, fps=6),
                unet=_efficient(192, (2, 4, 8, 15), stem=False, spatial_attention=True),
                sampling=_oscillating(steps=128),
            ),
            StageSpec(
                name="ssr2",
                kind="ssr",
                output=Clip(frames=32, height=192, width=320, fps=6),
                unet=_efficient(192, (2, 4, 8, 12), spatial_attention=True),
                sampling=_constant(6.0),
            ),
            StageSpec(
                name="tsr2",
                kind="tsr",
                output=Clip(frames=64, height=192, width=320, fps=12),
                unet=_efficient(128, (2, 4, 8, 18), norm="layer"),
                sampling=_constant(6.0),
            ),
            StageSpec(
                name="tsr3",
                kind="tsr",
                output=Clip(frames=128, height=192, width=320, fps=24),
                unet=_efficient(128, (2, 4, 8, 14), norm="layer"),
                sampling=_constant(6.0),
            ),
            StageSpec(
                name="ssr3",
                kind="ssr",
                output=Clip(frames=128, height=768, width=1280, fps=24),
                unet=_efficient(128, (2, 4, 7, 6), norm="layer"),
                # Assumption: the size of the crops; Imagen's for the same factor of four.
                crop=(256, 256),
                # Deviation: a static clip, because the percentile of 377M values is not local.
                sampling=_constant(1.0, threshold="static"),
            ),
        ),
    )


def _three_levels(
    width: int, num_blocks: tuple[int, int, int], *, temporal: Temporal, spatial_attention: bool
) -> UNetSpec:
    """The U-Net of the two 24x40 stages, text at every level; only the base mixes by attention."""
    is_base = temporal == "attention"
    return UNetSpec(
        levels=tuple(
            LevelSpec(
                channels=width * factor,
                num_blocks=blocks,
                spatial_attention=spatial_attention,
                text_attention=True,
                temporal=temporal,
            )
            for factor, blocks in zip((1, 2, 4), num_blocks, strict=True)
        ),
        embedding_width=EMBEDDING_WIDTH,
        text_width=T5_XXL_WIDTH,
        low_res=not is_base,
        # Deviation: the base takes given frames, for image-to-video and longer clips.
        given_frames=is_base,
    )


def _efficient(
    width: int,
    num_blocks: tuple[int, int, int, int],
    *,
    stem: bool = True,
    spatial_attention: bool = False,
    norm: Norm = "group",
) -> UNetSpec:
    """An Efficient U-Net with temporal convolutions, text (and positions) at the coarsest level.

    Imagen halves the resolution before each of its four levels. So does this with `stem`, a thin
    level at full resolution; 48x80 is too small for that.
    Deviation: norm="layer" where the paper is fully convolutional, so that tiles are exact.
    """
    levels = [
        LevelSpec(
            channels=width * factor,
            num_blocks=blocks,
            spatial_attention=spatial_attention and factor == 8,
            text_attention=factor == 8,
            temporal="convolution",
            norm=norm,
        )
        for factor, blocks in zip((1, 2, 4, 8), num_blocks, strict=True)
    ]
    if stem:
        levels.insert(0, LevelSpec(channels=64, num_blocks=1, temporal="convolution", norm=norm))
    return UNetSpec(
        levels=tuple(levels),
        embedding_width=EMBEDDING_WIDTH,
        text_width=T5_XXL_WIDTH,
        low_res=True,
    )


def _oscillating(steps: int) -> SamplingSpec:
    """Guidance of the base and the first two super-resolution stages: weights 15 and 1 in turn."""
    return SamplingSpec(
        sampler="ancestral",
        steps=steps,
        gamma=0.3,
        guidance="oscillating",
        guidance_weight=15.0,
        guidance_low=1.0,
        augmentation_logsnr=3.0,
    )


def _constant(guidance_weight: float, *, threshold: ThresholdName = "dynamic") -> SamplingSpec:
    """Constant guidance of the later stages."""
    return SamplingSpec(
        sampler="ancestral",
        steps=128,
        gamma=0.3,
        guidance="constant",
        # Assumption: 6 in stages 4 to 6, the paper's only constant weight (Table 1, for the base);
        # 1 in the last, where text adds little and a static clip saturates at large weights.
        guidance_weight=guidance_weight,
        threshold=threshold,
        augmentation_logsnr=3.0,
    )
