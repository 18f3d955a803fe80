"""One contender of sampling.py in a process of its own, driven over its standard input.

Usage: `python _sampling_worker.py CONTENDER sample THREADS STEPS FRAMESxSIDE`. It speaks like
`_network_worker.py` and runs in the peers' environment too.

The plan is the same for all: 8 frames at 8x8, 16x16 and 32x32 pixels, a network of about 15M
parameters a stage, an ancestral sampler with dynamic thresholding, guidance w = 3 in every stage.
"""

from __future__ import annotations

import dataclasses
import sys
import time
import types
from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from _network_worker import (
    LUCIDRAINS,
    OURS,
    TEXT_WIDTH,
    TOKENS,
    Call,
    bare_package,
    peak_bytes,
    say,
    version,
)

WEIGHT = 3.0
"""The paper's w; imagen-pytorch's cond_scale is w + 1."""
STAGES = 3


def ours(patch_size: int, steps: int, frames: int, side: int) -> tuple[int, Call]:
    """Three stages with the layout of the `emoji` base; the last two take a low-res video."""
    from imagen_video.cascade.pipeline import ImagenVideoPipeline
    from imagen_video.cascade.sampling_spec import SamplingSpec
    from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
    from imagen_video.models.unet import VideoUNet
    from imagen_video.presets import preset
    from imagen_video.text.base import TextEmbedding

    class RandomText:
        width, max_tokens = TEXT_WIDTH, TOKENS
        identity: dict[str, Any] = {"encoder": "random"}  # noqa: RUF012

        def encode(self, prompts: Sequence[str]) -> TextEmbedding:
            states = torch.randn(len(prompts), TOKENS, TEXT_WIDTH)
            mask = torch.ones(len(prompts), TOKENS, dtype=torch.bool)
            return TextEmbedding(states=states, mask=mask)

    unet = preset("emoji").stages[0].unet

    def stage(index: int) -> StageSpec:
        levels = tuple(
            dataclasses.replace(
                level,
                channels=width,
                num_blocks=blocks,
                temporal="convolution" if index else "attention",
            )
            for level, width, blocks in zip(unet.levels, *OURS["M"], strict=True)
        )
        return StageSpec(
            name=f"ssr{index}" if index else "base",
            kind="ssr" if index else "base",
            output=Clip(frames=frames, height=side << index, width=side << index, fps=8.0),
            unet=dataclasses.replace(
                unet,
                levels=levels,
                patch_size=patch_size,
                text_width=TEXT_WIDTH,
                given_frames=False,
                low_res=index > 0,
            ),
            sampling=SamplingSpec(
                sampler="ancestral", steps=steps, guidance_weight=WEIGHT, threshold="dynamic"
            ),
        )

    spec = CascadeSpec(
        name="plan",
        stages=tuple(stage(index) for index in range(STAGES)),
        text_encoder=RandomText.identity,
    )
    networks = {each.name: VideoUNet(each.unet).eval() for each in spec.stages}
    pipe = ImagenVideoPipeline(spec, networks.__getitem__, RandomText())
    count = sum(p.numel() for network in networks.values() for p in network.parameters())
    return count, lambda: pipe("a sentence", output_type="pt", progress=False).frames


def imagen_pytorch(steps: int, frames: int, side: int) -> tuple[int, Call]:
    """Imagen of imagen-pytorch with three Unet3D, past what it imports for training and the hub."""
    import transformers

    class Width:
        d_model = TEXT_WIDTH

    transformers.T5Config.from_pretrained = lambda *_args, **_kwargs: Width()  # pyright: ignore[reportAttributeAccessIssue]
    # used for PIL pictures and random crops alone
    for name in ("torchvision", "torchvision.transforms", "kornia", "kornia.augmentation"):
        module = types.ModuleType(name)
        module.__getattr__ = lambda attribute: mock.MagicMock(name=attribute)  # pyright: ignore[reportAttributeAccessIssue]
        sys.modules[name] = module
    bare_package("imagen_pytorch")
    from imagen_pytorch.imagen_pytorch import Imagen  # pyright: ignore[reportMissingImports]
    from imagen_pytorch.imagen_video import Unet3D  # pyright: ignore[reportMissingImports]

    unets = [Unet3D(lowres_cond=index > 0, **LUCIDRAINS["M"]) for index in range(STAGES)]
    cascade = Imagen(
        unets,
        image_sizes=tuple(side << index for index in range(STAGES)),
        timesteps=steps,
        text_embed_dim=TEXT_WIDTH,
        temporal_downsample_factor=(1,) * STAGES,
    ).eval()
    text = torch.randn(1, TOKENS, TEXT_WIDTH)

    def sample() -> torch.Tensor:
        return cascade.sample(
            text_embeds=text, video_frames=frames, cond_scale=WEIGHT + 1, use_tqdm=False
        )

    return sum(parameter.numel() for unet in unets for parameter in unet.parameters()), sample


CONTENDERS = ("imagen-video", "imagen-video, patch 1", "imagen-pytorch")


def build(name: str, steps: int, frames: int, side: int) -> tuple[int, Call]:
    """Return the parameters of a contender's networks, and what samples one clip."""
    if name == "imagen-pytorch":
        return imagen_pytorch(steps, frames, side)
    return ours(1 if name.endswith("patch 1") else 2, steps, frames, side)


def main() -> None:
    """Build the contender and sample a clip for every line that comes in."""
    name, threads, steps = sys.argv[1], int(sys.argv[3]), int(sys.argv[4])
    frames, side = map(int, sys.argv[5].split("x"))
    sys.stdout = sys.stderr  # peers print advice while they are built
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    parameters, sample = build(name, steps, frames, side)
    with torch.no_grad():
        made = sample()
        assert made.shape[-1] == side << (STAGES - 1), made.shape
        package = "imagen-pytorch" if name == "imagen-pytorch" else "imagen-video"
        say(parameters=parameters, versions={each: version(each) for each in ("torch", package)})
        for _ in sys.stdin:
            started = time.perf_counter()
            sample()
            say(seconds=time.perf_counter() - started)
    say(peak_bytes=peak_bytes())


if __name__ == "__main__":
    main()
