from __future__ import annotations

import itertools

import torch

from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.models.cost import num_parameters
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.emoji import TEXT_ENCODER
from imagen_video.presets.paper import paper
from imagen_video.presets.tiny import tiny
from imagen_video.text.base import TextEmbedding


def test_it_has_the_papers_stages_and_scale_factors() -> None:
    small, large = tiny().stages, paper().stages
    assert [(s.name, s.kind) for s in small] == [(s.name, s.kind) for s in large]
    for (a, b), (c, d) in zip(itertools.pairwise(small), itertools.pairwise(large), strict=True):
        assert b.output.frames // a.output.frames == d.output.frames // c.output.frames
        assert b.output.height // a.output.height == d.output.height // c.output.height
        assert b.output.fps == d.output.fps


def test_it_has_less_than_a_million_parameters() -> None:
    assert sum(num_parameters(stage.unet) for stage in tiny().stages) < 1_000_000


def test_its_stages_use_every_kind_of_layer_and_setting() -> None:
    stages = tiny().stages
    levels = [level for stage in stages for level in stage.unet.levels]
    assert {level.norm for level in levels} == {"group", "layer"}
    assert {level.temporal for level in levels} == {"attention", "convolution"}
    assert {level.spatial_attention for level in levels} == {True, False}
    assert {level.text_attention for level in levels} == {True, False}
    assert {stage.unet.patch_size for stage in stages} >= {1, 2, 4}
    assert {stage.sampling.sampler for stage in stages} == {"ancestral", "ddim", "few_step"}
    assert {stage.sampling.guidance for stage in stages} == {"constant", "oscillating"}
    assert {stage.sampling.threshold for stage in stages} == {"static", "dynamic"}
    assert {stage.temporal_fill for stage in stages} == {"repeat", "blank"}
    assert {stage.unet.residual_std is None for stage in stages[1:]} == {True, False}
    assert {stage.crop is None for stage in stages} == {True, False}
    assert tiny().stage("base").unet.given_frames
    assert [s.name for s in stages if s.unet.tileable] == ["tsr2", "tsr3", "ssr3"]


def test_it_runs_without_an_encoder_from_any_states_of_its_width() -> None:
    cascade = tiny()
    assert cascade.text_encoder == TEXT_ENCODER
    states = torch.randn(1, 3, 384, generator=torch.Generator().manual_seed(0))
    text = TextEmbedding(states=states, mask=torch.ones(1, 3, dtype=torch.bool))
    video: torch.Tensor | None = None
    for stage in cascade.stages:
        request = StageInput(seeds=[0], clip=stage.output, text=text, low_res=video)
        video = sample_stage(stage, VideoUNet(stage.unet).eval(), request)
        clip = stage.output
        assert video.shape == (1, clip.frames, 3, clip.height, clip.width)
        assert video.isfinite().all()
        assert video.abs().max() <= 1
        if stage.name == "tsr3":
            break  # the last stage is most of the time and has no other kind of layer
