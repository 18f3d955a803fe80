"""One sampling step of a stage in tiles of a given size; says how long and how much memory."""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import torch

from imagen_video.cascade.memory import give_back_freed, peak_bytes, resident_bytes
from imagen_video.cascade.spec import Clip
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cascade.tiling import tile_plan, whole, window_bytes
from imagen_video.models.unet import VideoUNet
from imagen_video.presets import preset
from imagen_video.text.base import TextEmbedding


def main() -> None:
    """Read the settings, sample, print JSON."""
    given = json.loads(sys.argv[1])
    torch.set_num_threads(given["threads"])
    cascade = preset("emoji")
    stage = cascade.stage("ssr3")
    source = cascade.input_of("ssr3")
    assert source is not None
    clip = Clip(**given["clip"], fps=stage.output.fps)
    factor = stage.output.height // source.height
    network = VideoUNet(stage.unet).eval()
    plan = tile_plan(stage.unet, clip, *given["tile"]) if given["tile"] else whole(clip)
    low_res = torch.rand(1, clip.frames, 3, clip.height // factor, clip.width // factor) * 2 - 1
    width = stage.unet.text_width
    assert width is not None
    text = TextEmbedding(states=torch.randn(1, 16, width), mask=torch.ones(1, 16, dtype=torch.bool))
    request = StageInput(seeds=[0], clip=clip, text=text, low_res=low_res)
    sampling = dataclasses.replace(stage.sampling, steps=1)
    give_back_freed()
    before, started = resident_bytes(), time.perf_counter()
    sample_stage(stage, network, request, sampling, tiles=plan, bf16=given["bf16"])
    answer = {
        "seconds": time.perf_counter() - started,
        "peak_bytes": peak_bytes(),
        "grown_bytes": peak_bytes() - before,
        "predicted_bytes": window_bytes(stage.unet, clip, plan),
        "tiles": len(plan),
        "recomputed": plan.recomputed,
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
