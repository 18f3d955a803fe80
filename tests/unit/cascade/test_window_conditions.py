"""What a network is told about a window: drawn once, where it computes, given frames kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from imagen_video.cascade import stage as stage_module
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cascade.tiling import Span, TilePlan, tile_plan, whole
from imagen_video.cascade.window_conditions import WindowConditions
from imagen_video.diffusion.noise import video_noise
from unit.cascade.small_cascades import WordEncoder, awake, random_video, small_cascade

SPEC = small_cascade()
BASE, SSR = SPEC.stage("base"), SPEC.stage("ssr1")
CLIP = Clip(frames=8, height=16, width=24)
ENCODER = WordEncoder()


def upscaling(**changes: Any) -> StageInput:
    low_res = random_video(1, 8, 3, 8, 12)
    request = StageInput(seeds=[1], clip=CLIP, low_res=low_res, text=ENCODER.encode(["a"]))
    return dataclasses.replace(request, **changes)


def frames_drawn(
    monkeypatch: pytest.MonkeyPatch, tiles: TilePlan, sampler: str = "ddim", steps: int = 3
) -> dict[str, int]:
    """Count the frames of noise that a run draws, by purpose."""
    drawn: dict[str, int] = {}

    def noted(*args: Any) -> Tensor:
        drawn[args[2]] = drawn.get(args[2], 0) + len(args[4])
        return video_noise(*args)

    monkeypatch.setattr(stage_module, "video_noise", noted)
    sampling = SamplingSpec(sampler=sampler, steps=steps, threshold="static")  # pyright: ignore[reportArgumentType]
    sample_stage(SSR, awake(SSR.unet), upscaling(), sampling, tiles=tiles)
    return drawn


def test_the_input_of_a_clip_that_is_not_cut_in_time_is_noised_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert frames_drawn(monkeypatch, whole(CLIP)) == {"initial": 8, "augmentation": 8}
    plane = tile_plan(SSR.unet, CLIP, 8, 8, 12)
    assert frames_drawn(monkeypatch, plane) == {"initial": 8, "augmentation": 8}


def test_the_noise_of_a_step_is_drawn_once_for_all_tiles_of_the_plane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plane = tile_plan(SSR.unet, CLIP, 8, 8, 12)
    assert len(plane) == 4
    drawn = frames_drawn(monkeypatch, plane, "ancestral", steps=3)
    assert drawn["step"] == 2 * 8  # the last step adds none


def test_several_frames_at_once_are_noised_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for threads in (1, 3, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        conditions = conditions_on("cpu", upscaling())
        made.append(conditions.of(Span(1, 7, 0, 8)).low_res)
    assert made[0] is not None
    assert all(torch.equal(made[0], other) for other in made[1:])


def conditions_on(device: str, request: StageInput) -> WindowConditions:
    return WindowConditions(
        SSR,
        request,
        SSR.sampling,
        torch.device(device),
        lambda frames: video_noise([1], "ssr1", "augmentation", 0, frames, (3, 16, 24)).to(device),
    )


@pytest.mark.parametrize("lies", ["cpu", "meta"])
def test_everything_is_brought_to_the_networks_device(lies: str) -> None:
    """The meta device stands in for a GPU: mixing it with the CPU is an error as well."""
    text = ENCODER.encode(["a cat"]).to(lies)
    request = upscaling(
        text=text,
        negative=ENCODER.encode(["fog and rain"]).to(lies),
        given_frames=torch.zeros(1, 8, 3, 16, 24, device=lies),
        given_mask=torch.ones(1, 8, dtype=torch.bool, device=lies),
        class_id=torch.tensor([3], device=lies),
        vector=torch.tensor([[0.5]], device=lies),
    )
    conditions = conditions_on("meta", request)
    one = conditions.of(Span(0, 8, 0, 8))
    for told in (one, conditions.merged(one)):
        values = [getattr(told, field.name) for field in dataclasses.fields(told)]
        assert {v.device.type for v in values if isinstance(v, Tensor)} == {"meta"}


def test_given_frames_have_no_part_in_the_dynamic_threshold() -> None:
    """Whatever an untrained network says at given frames, the new ones are scaled by their own."""

    class Loud(torch.nn.Module):
        """Says something huge at the first frame and 0.5 elsewhere."""

        def __init__(self, at_given: float) -> None:
            super().__init__()
            self.at_given = torch.nn.Parameter(torch.tensor(at_given))

        def forward(self, z: Tensor, logsnr: Tensor, conditions: Any) -> Tensor:
            alpha2 = torch.sigmoid(logsnr)[:, None, None, None, None]
            x = torch.full_like(z, 0.5)
            x[:, 0] = self.at_given
            return (alpha2.sqrt() * z - x) / (1 - alpha2).sqrt()  # the v of x

    given = torch.zeros(1, 4, 3, 4, 6)
    mask = torch.tensor([[True, False, False, False]])
    request = StageInput(
        seeds=[1], clip=BASE.output, text=ENCODER.encode(["a"]), given_frames=given, given_mask=mask
    )
    dynamic = SamplingSpec(sampler="ddim", steps=2, threshold="dynamic", percentile=95.0)
    quiet, loud = (sample_stage(BASE, Loud(value), request, dynamic) for value in (0.5, 100.0))
    assert torch.allclose(loud, quiet, atol=1e-5)
    assert torch.allclose(quiet[:, 1:], torch.tensor(0.5), atol=1e-4)
    assert torch.equal(loud[:, 0], given[:, 0])
