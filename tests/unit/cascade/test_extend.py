"""Longer clips: windows of the base that go on from one another, joined without a seam."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imagen_video.cascade.calls import extend_request
from imagen_video.cascade.memory import PROCESS, RESERVE
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Progress
from imagen_video.cascade.run_plan import plan_run
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import InputError
from imagen_video.media.frames import to_uint8
from imagen_video.media.video_io import write_video
from imagen_video.models.conditions import Conditions
from imagen_video.models.cost import inference_bytes, num_parameters
from unit.cascade.small_cascades import (
    WordEncoder,
    random_video,
    small_cascade,
    small_networks,
    small_pipeline,
)

STEP = 0.02


class Ramp(nn.Module):
    """Answers that every frame is brighter than the one before by STEP, from the given ones on."""

    def __init__(self) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.windows: list[tuple[int, int]] = []

    def forward(self, z: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
        given, mask = conditions.given_frames, conditions.given_mask
        assert given is not None
        assert mask is not None
        last = int(mask[0].sum()) - 1
        self.windows.append((last + 1, z.shape[1]))
        start = given[:, last : last + 1].mean((2, 3, 4), keepdim=True)
        ahead = torch.arange(z.shape[1]) - last
        x = (start + STEP * ahead[None, :, None, None, None]).expand_as(z)
        level = logsnr.view(-1, 1, 1, 1, 1)
        return (level.sigmoid().sqrt() * z - x) / (-level).sigmoid().sqrt()


def ramp_pipeline() -> tuple[ImagenVideoPipeline, Ramp]:
    spec = small_cascade()
    base = spec.stages[0]
    plain = dataclasses.replace(
        base, sampling=dataclasses.replace(base.sampling, guidance_weight=0.0)
    )
    spec = dataclasses.replace(spec, stages=(plain, *spec.stages[1:]))
    ramp = Ramp()
    networks = {**small_networks(spec), "base": ramp}
    return ImagenVideoPipeline(spec, networks.__getitem__, WordEncoder()), ramp


def start_of_ramp(frames: int) -> Tensor:
    return (-0.5 + STEP * torch.arange(frames))[:, None, None, None].expand(-1, 3, 4, 6)


@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_a_motion_goes_on_over_every_seam(overlap: int) -> None:
    pipeline, ramp = ramp_pipeline()
    given = start_of_ramp(5)
    result = pipeline.extend(
        given, "a cat", 2, fps=6, overlap=overlap, until="base", output_type="pt"
    )
    video = result.frames[0]
    assert torch.equal(video[:5], given)
    assert video.shape == (5 + 12, 3, 4, 6)
    steps = (video[1:] - video[:-1]).mean((1, 2, 3))
    assert torch.allclose(steps, torch.full_like(steps, STEP), atol=1e-3)  # noise of the last step
    assert (video - video.mean((1, 2, 3), keepdim=True)).abs().max() < 1e-3
    assert set(ramp.windows) == {(overlap, 4)}  # what is given of each window of the base


def test_the_given_frames_stay_exactly_in_the_base() -> None:
    given = random_video(6, 3, 4, 6)
    result = small_pipeline().extend(
        given, "a cat", 0.6, fps=6, until="base", seed=3, output_type="pt"
    )
    assert torch.equal(result.frames[0, :6], given)
    assert result.frames.shape[1] == 6 + 4  # 3.6 frames, and two windows of 3 cut
    assert result.fps == 6


def test_the_whole_clip_passes_the_stages_after_the_base() -> None:
    pipeline = small_pipeline()
    clip = pipeline("a cat", seed=3)
    longer = pipeline.extend(clip.frames[0], "a cat", 1, keep=("base",), seed=3)
    assert [str(report.clip) for report in longer.reports] == ["10x4x6", "20x4x6", "20x8x12"]
    assert (longer.frames[0].shape, longer.fps) == ((20, 8, 12, 3), 12)
    assert longer.stages["base"].shape == (1, 10, 3, 4, 6)


def test_a_longer_clip_begins_as_the_shorter_one_does() -> None:
    pipeline = small_pipeline()
    given = random_video(2, 3, 4, 6)
    options: dict[str, Any] = {"fps": 6, "seed": 3, "until": "base", "output_type": "pt"}
    short = pipeline.extend(given, "a cat", 0.5, **options).frames
    long = pipeline.extend(given, "a cat", 2, **options).frames
    assert torch.equal(long[:, : short.shape[1]], short)
    new = long[0, 2:]
    assert all((a - b).abs().max() > 0.05 for a, b in zip(new[:6], new[3:], strict=False))


def test_one_overlapping_frame_is_a_quarter_of_the_small_base_and_noise_goes_on() -> None:
    request = extend_request(small_cascade(), random_video(2, 3, 4, 6), "a cat", 1, fps=6)
    assert request.overlap == 1
    assert request.num_frames == 2 * (2 + 6)


def test_a_file_is_taken_by_time_and_goes_on_after_its_end(tmp_path: Path) -> None:
    frames = to_uint8(random_video(9, 3, 8, 12))
    write_video(tmp_path / "a.mp4", frames, 12)
    request = extend_request(small_cascade(), tmp_path / "a.mp4", "a cat", 1.01)
    assert request.given_frames is not None
    assert request.given_frames.shape == (1, 5, 3, 4, 6)  # at 0, 1/6, ... 4/6 of 9/12 seconds
    assert request.num_frames == 2 * (5 + 7)


def test_a_batch_is_extended_as_each_clip_alone() -> None:
    pipeline = small_pipeline()
    clips = [random_video(3, 3, 4, 6, seed=1), random_video(3, 3, 4, 6, seed=2)]
    options: dict[str, Any] = {"fps": 6, "output_type": "pt"}
    texts, nots = ["a cat", "two dogs"], ["a dog", "a cat"]
    both = pipeline.extend(clips, texts, 1, nots, seed=[5, 9], **options).frames
    alone = pipeline.extend(clips[1], texts[1], 1, nots[1], seed=9, **options).frames
    assert torch.allclose(both[1], alone[0], atol=1e-4)
    assert len(pipeline.extend(clips[0], texts, 1, **options).frames) == 2


def test_progress_runs_once_through_all_windows() -> None:
    seen: list[Progress] = []
    small_pipeline().extend(
        random_video(2, 3, 4, 6), "a cat", 1, fps=6, until="base", callback_on_step_end=seen.append
    )
    assert [p.done for p in seen] == [1, 2, 3, 4]  # two windows of two steps
    assert {p.total for p in seen} == {4}


def test_memory_is_planned_for_a_window_of_the_base_and_not_for_all_of_it() -> None:
    spec = small_cascade()
    base = spec.stages[0]
    request = extend_request(spec, random_video(2, 3, 4, 6), "a cat", 40, fps=6, until="base")
    plan = plan_run(spec, request)
    clip = plan.clips["base"]
    window = inference_bytes(base.unet, 2, 4, 4, 6)
    state = 4 * 3 * clip.frames * clip.height * clip.width
    assert inference_bytes(base.unet, 2, clip.frames, 4, 6) > 10 * window
    plan.check_memory(PROCESS + RESERVE + 4 * num_parameters(base.unet) + state + 2 * window)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0}, "seconds: got 0; expected a number above 0"),
        ({"seconds": -1.5}, "seconds"),
        ({"seconds": float("nan")}, "seconds: got nan"),
        ({"seconds": float("inf")}, "seconds: got inf"),
        ({"seconds": "long"}, "seconds"),
        ({"seconds": 1e5}, "at most 16384 frames"),
        ({"overlap": 0}, "overlap: got 0; expected 1 to 3"),
        ({"overlap": 4}, "overlap"),
        ({"fps": -1}, "fps"),
        ({"until": "ssr9"}, "ssr9"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", "b", "c"], "video": [np.zeros((2, 4, 6, 3), np.uint8)] * 2}, "3 texts"),
        ({"video": np.zeros((0, 4, 6, 3), np.uint8)}, "no frames"),
    ],
)
def test_extensions_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    call = {"video": random_video(2, 3, 4, 6), "prompt": "a cat", "seconds": 1, **changes}
    with pytest.raises(InputError, match=message):
        small_pipeline().extend(**call)


def test_a_base_without_given_frames_cannot_go_on() -> None:
    spec = small_cascade()
    base = dataclasses.replace(
        spec.stages[0], unet=dataclasses.replace(spec.stages[0].unet, given_frames=False)
    )
    deaf: CascadeSpec = dataclasses.replace(spec, stages=(base, *spec.stages[1:]))
    with pytest.raises(InputError, match="takes no given frames"):
        small_pipeline(deaf).extend(random_video(2, 3, 4, 6), "a cat", 1)
    with pytest.raises(InputError, match="takes no given frames"):
        small_pipeline(deaf)("a cat", image=random_video(3, 4, 6))
