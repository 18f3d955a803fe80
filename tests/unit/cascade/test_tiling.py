from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imagen_video.cascade.memory import PROCESS, RESERVE
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cascade.tiling import (
    TilePlan,
    plan_for_memory,
    spans,
    tile_plan,
    whole,
    window_bytes,
)
from imagen_video.errors import InputError, ResourceError
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.presets.emoji import emoji
from imagen_video.text.base import TextEmbedding
from unit.cascade.small_cascades import awake, local_unet, random_video, small_cascade

EMOJI = emoji()
SSR3 = EMOJI.stage("ssr3")
_Z, _LOW_RES = 4 * 3 * 128 * 768 * 1280, 4 * 3 * 128 * 192 * 320
SMALL_MEMORY = 4 * 10**9 - PROCESS - RESERVE - _Z - _LOW_RES
"""What a 4 GB process has for activations in the last stage."""


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 80))
def test_spans_make_every_position_once_and_see_their_halo(
    length: int, tile: int, halo: int
) -> None:
    cut = spans(length, tile, halo)
    assert [i for span in cut for i in range(span.start, span.stop)] == list(range(length))
    for span in cut:
        assert span.stop - span.start <= tile
        assert span.low == max(0, span.start - halo)
        assert min(length, span.stop + halo) <= span.high <= length
        axis = torch.arange(length)
        assert torch.equal(axis[span.window][span.inner], axis[span.made])


def test_a_plan_visits_every_position_of_the_clip_once() -> None:
    plan = tile_plan(local_unet(), Clip(frames=5, height=10, width=14), 2, 4, 6)
    count = torch.zeros(5, 10, 14)
    for frames, rows, columns in plan:
        count[frames.made, rows.made, columns.made] += 1
    assert torch.equal(count, torch.ones_like(count))
    assert len(plan) == 3 * 3 * 3
    assert plan.recomputed > 0
    assert whole(Clip(frames=5, height=10, width=14)).recomputed == 0


def test_a_plan_for_memory_fits_its_budget_and_computes_less_the_more_there_is() -> None:
    clip, unet, before = Clip(frames=8, height=32, width=32), local_unet(), float("inf")
    whole_bytes = window_bytes(unet, clip, whole(clip))
    for share in (0.6, 0.8, 1.0):
        plan = plan_for_memory("here", unet, clip, int(share * whole_bytes))
        assert window_bytes(unet, clip, plan) <= share * whole_bytes
        assert plan.recomputed <= before
        before = plan.recomputed
    assert before == 0


def test_too_little_memory_is_said_with_what_is_needed() -> None:
    unet, clip = local_unet(), Clip(frames=8, height=32, width=32)
    with pytest.raises(ResourceError, match=r"0\.00 GB.*at least 0\.1 GB"):
        plan_for_memory("stage 'x'", unet, clip, 1000)
    # what the process needs besides counts as well: it is the whole bound that is to be raised
    with pytest.raises(ResourceError, match=r"3\.00 GB.*at least 3\.1 GB"):
        plan_for_memory("stage 'x'", unet, clip, 3 * 10**9, besides=3 * 10**9)


def test_the_last_stage_computes_less_than_twice_in_four_gigabytes() -> None:
    plan = plan_for_memory("ssr3", SSR3.unet, SSR3.output, SMALL_MEMORY)
    assert len(plan) > 1
    assert plan.recomputed < 0.8


def test_networks_that_see_the_whole_plane_are_not_cut() -> None:
    unet = EMOJI.stage("base").unet
    with pytest.raises(InputError, match="attention"):
        tile_plan(unet, EMOJI.stage("base").output, 4, 8, 8)
    with pytest.raises(ResourceError):
        plan_for_memory("base", unet, EMOJI.stage("base").output, 1000)


def test_tiles_lie_on_the_grid_of_the_network() -> None:
    with pytest.raises(InputError, match="tile size"):
        tile_plan(SSR3.unet, SSR3.output, 4, 30, 32)


def run(
    stage: StageSpec, clip: Clip, low_res: Tensor, plan: TilePlan, sampling: SamplingSpec
) -> Tensor:
    text = TextEmbedding(
        states=torch.randn(1, 3, stage.unet.text_width or 1, generator=torch.Generator()),
        mask=torch.ones(1, 3, dtype=torch.bool),
    )
    request = StageInput(seeds=[7], clip=clip, low_res=low_res, text=text)
    return sample_stage(stage, awake(stage.unet), request, sampling, tiles=plan)


@pytest.mark.parametrize(
    ("sampler", "guidance_weight"), [("ddim", 0.0), ("ddim", 2.0), ("ancestral", 1.0)]
)
def test_the_last_stage_in_ragged_tiles_equals_the_whole(
    sampler: str, guidance_weight: float
) -> None:
    clip = Clip(frames=5, height=72, width=56)
    low_res = random_video(1, 5, 3, 18, 14)
    sampling = SamplingSpec(
        sampler=sampler,  # pyright: ignore[reportArgumentType]
        steps=3,
        guidance_weight=guidance_weight,
        threshold="static",
    )
    plan = tile_plan(SSR3.unet, clip, 3, 32, 48)
    assert len(plan) == 2 * 3 * 2
    tiled = run(SSR3, clip, low_res, plan, sampling)
    whole_clip = run(SSR3, clip, low_res, whole(clip), sampling)
    assert whole_clip.std() > 0.2
    assert torch.allclose(tiled, whole_clip, atol=1e-4)


def test_a_halo_that_is_too_small_is_noticed() -> None:
    """The comparison above can fail: the law is not true of any tiling."""
    clip = Clip(frames=5, height=72, width=56)
    low_res = random_video(1, 5, 3, 18, 14)
    sampling = SamplingSpec(sampler="ddim", steps=2, threshold="static")
    short = TilePlan(spans(5, 5, 0), spans(72, 32, 4), spans(56, 56, 0))
    tiled = run(SSR3, clip, low_res, short, sampling)
    assert not torch.allclose(tiled, run(SSR3, clip, low_res, whole(clip), sampling), atol=1e-4)


@pytest.mark.parametrize("fill", ["repeat", "blank"])
def test_a_temporal_stage_in_ragged_tiles_equals_the_whole(fill: str) -> None:
    stage = dataclasses.replace(small_cascade().stage("tsr1"), temporal_fill=fill)
    clip = Clip(frames=10, height=20, width=28)
    sampling = SamplingSpec(sampler="ancestral", steps=3, threshold="static")
    low_res = random_video(1, 5, 3, 20, 28)
    plan = tile_plan(stage.unet, clip, 3, 8, 12)
    tiled = run(stage, clip, low_res, plan, sampling)
    assert torch.allclose(tiled, run(stage, clip, low_res, whole(clip), sampling), atol=1e-4)


def test_a_deeper_tileable_network_in_tiles_equals_the_whole() -> None:
    levels = tuple(
        LevelSpec(channels=8, num_blocks=1, temporal="convolution", norm="layer") for _ in range(2)
    )
    unet = UNetSpec(levels=levels, embedding_width=16, low_res=True)
    stage = StageSpec(name="s", kind="ssr", output=Clip(frames=9, height=48, width=64), unet=unet)
    sampling = SamplingSpec(sampler="ddim", steps=2, threshold="static")
    low_res = random_video(1, 9, 3, 24, 32)
    plan = tile_plan(unet, stage.output, 4, 16, 18)
    tiled = run(stage, stage.output, low_res, plan, sampling)
    whole_clip = run(stage, stage.output, low_res, whole(stage.output), sampling)
    assert torch.allclose(tiled, whole_clip, atol=1e-4)


def test_dynamic_thresholding_over_tiles_stays_within_its_bound() -> None:
    """The streamed percentile is within 0.1 %, and so is the first step's result."""
    stage = small_cascade().stage("ssr1")
    clip = Clip(frames=6, height=24, width=28)
    low_res = random_video(1, 6, 3, 12, 14) * 3
    sampling = SamplingSpec(sampler="ddim", steps=1, threshold="dynamic", percentile=90)
    tiled = run(stage, clip, low_res, tile_plan(stage.unet, clip, 4, 8, 12), sampling)
    whole_clip = run(stage, clip, low_res, whole(clip), sampling)
    assert (tiled - whole_clip).abs().max() <= 1.1e-3
    static = dataclasses.replace(sampling, threshold="static")
    assert not torch.allclose(whole_clip, run(stage, clip, low_res, whole(clip), static), atol=0.05)
