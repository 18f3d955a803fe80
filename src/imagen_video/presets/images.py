"""Cascades for still images: a video of one frame is an image, so nothing else is needed.

`text_to_image` is Imagen (2205.11487, appendix F), `imagenet` is the class-conditional cascade of
CDM (2106.15282). Neither mixes frames, so temporal="none" everywhere. Assumption:
the guidance weights; Imagen's 8 at 256x256 is 7 here, where 0 and not 1 is off.
"""

from __future__ import annotations

from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.models.spec import LevelSpec, Norm, UNetSpec
from imagen_video.presets.paper import EMBEDDING_WIDTH, T5_XXL, T5_XXL_WIDTH

IMAGENET_CLASSES = 1000


def text_to_image() -> CascadeSpec:
    """Imagen: 64x64, 256x256 and 1024x1024 from T5-XXL text; about 2B, 600M and 400M parameters."""
    return CascadeSpec(
        name="text_to_image",
        text_encoder=T5_XXL,
        stages=(
            StageSpec(
                name="base",
                kind="base",
                output=Clip(frames=1, height=64, width=64),
                # Imagen attends at 32, 16 and 8 rows: at all levels but the first.
                unet=_text_unet((512, 1024, 1536, 2048), (3, 3, 3, 11), attend_from=1),
                sampling=SamplingSpec(steps=256, guidance_weight=6.0),
            ),
            StageSpec(
                name="ssr1",
                kind="ssr",
                output=Clip(frames=1, height=256, width=256),
                unet=_text_unet((64, 128, 256, 512, 1024), (1, 2, 4, 8, 14), low_res=True),
                sampling=SamplingSpec(steps=128, guidance_weight=7.0),
            ),
            StageSpec(
                name="ssr2",
                kind="ssr",
                output=Clip(frames=1, height=1024, width=1024),
                # Deviation: layer norm of each position, so that tiles are exact.
                unet=_text_unet(
                    (64, 128, 256, 512, 1024),
                    (1, 2, 4, 8, 8),
                    low_res=True,
                    spatial_attention=False,
                    norm="layer",
                ),
                crop=(256, 256),
                sampling=SamplingSpec(steps=128, guidance_weight=1.0, threshold="static"),
            ),
        ),
    )


def imagenet() -> CascadeSpec:
    """CDM: 32x32, 64x64 and 256x256 from one of 1000 classes. Assumption: the widths and depths."""
    return CascadeSpec(
        name="imagenet",
        stages=(
            StageSpec(
                name="base",
                kind="base",
                output=Clip(frames=1, height=32, width=32),
                unet=_class_unet((256, 512, 768), (3, 3, 6), attend_from=1),
                sampling=SamplingSpec(steps=256, guidance_weight=0.5),
            ),
            StageSpec(
                name="ssr1",
                kind="ssr",
                output=Clip(frames=1, height=64, width=64),
                unet=_class_unet((256, 512, 768, 1024), (2, 3, 3, 6), attend_from=2, low_res=True),
                sampling=SamplingSpec(steps=128),
            ),
            StageSpec(
                name="ssr2",
                kind="ssr",
                output=Clip(frames=1, height=256, width=256),
                unet=_class_unet((64, 128, 256, 512, 512), (1, 2, 2, 4, 8), low_res=True),
                sampling=SamplingSpec(steps=128),
            ),
        ),
    )


def _text_unet(
    channels: tuple[int, ...],
    num_blocks: tuple[int, ...],
    *,
    attend_from: int | None = None,
    low_res: bool = False,
    spatial_attention: bool = True,
    norm: Norm = "group",
) -> UNetSpec:
    """A U-Net that attends to text (and positions) from a level on; by default at the coarsest."""
    first = len(channels) - 1 if attend_from is None else attend_from
    return UNetSpec(
        levels=tuple(
            LevelSpec(
                channels=width,
                num_blocks=blocks,
                spatial_attention=spatial_attention and depth >= first,
                text_attention=depth >= first,
                norm=norm,
            )
            for depth, (width, blocks) in enumerate(zip(channels, num_blocks, strict=True))
        ),
        embedding_width=EMBEDDING_WIDTH,
        text_width=T5_XXL_WIDTH,
        low_res=low_res,
    )


def _class_unet(
    channels: tuple[int, ...],
    num_blocks: tuple[int, ...],
    *,
    attend_from: int | None = None,
    low_res: bool = False,
) -> UNetSpec:
    """A U-Net for class ids; positions attend from a level on, by default at the coarsest."""
    first = len(channels) - 1 if attend_from is None else attend_from
    return UNetSpec(
        levels=tuple(
            LevelSpec(channels=width, num_blocks=blocks, spatial_attention=depth >= first)
            for depth, (width, blocks) in enumerate(zip(channels, num_blocks, strict=True))
        ),
        embedding_width=EMBEDDING_WIDTH,
        num_classes=IMAGENET_CLASSES,
        low_res=low_res,
    )
